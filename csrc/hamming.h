// Exact Hamming search over packed binary codes.
//
// Layout: `codes` is n rows of `n_bytes` consecutive bytes, `queries` is n_queries such rows; no alignment is
// required and nothing beyond the last byte is read. 1 <= n_bytes <= 256, so a distance is at most 2,048 and
// fits an int32. All pointers belong to the caller; no function keeps one.
//
// Every level of every function gives the same bytes for the same input, whatever the number of threads.
#pragma once

#include <cstdint>

namespace sdc {

inline constexpr int kMaxCodeBytes = 256;
inline constexpr std::int32_t kNoDistance = 2147483647;  // fills the places that no item takes
inline constexpr std::int64_t kNoId = -1;

// Writes to `distances` (n_queries, n) the Hamming distance of every query to every code.
void hamming_distance(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries,
                      std::int64_t n_queries, int n_bytes, int threads, std::int32_t* distances);

// Writes to `distances` and `ids` (n_queries, k) each query's k nearest codes, ordered by (distance, row).
// k >= 1. Where k > n the rest of a row is (kNoDistance, kNoId).
void hamming_topk(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries,
                  std::int64_t n_queries, int n_bytes, std::int64_t k, int threads, std::int32_t* distances,
                  std::int64_t* ids);

}  // namespace sdc
