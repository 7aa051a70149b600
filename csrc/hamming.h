// Exact Hamming search over packed binary codes.
//
// Layout: `codes` is n rows of `n_bytes` consecutive bytes, `queries` is n_queries such rows; no alignment is
// required and nothing beyond the last byte is read. 1 <= n_bytes <= 256, so a distance is at most 2,048 and
// fits an int32. All pointers belong to the caller; no function keeps one.
//
// Every level of every function gives the same bytes for the same input, whatever the number of threads.
#pragma once

#include <cstdint>
#include <vector>

namespace sdc {

inline constexpr int kMaxCodeBytes = 256;
inline constexpr std::int32_t kNoDistance = 2147483647;  // fills the places that no item takes
inline constexpr std::int64_t kNoId = -1;

// Writes to `distances` (n_queries, n) the Hamming distance of every query to every code.
void hamming_distance(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries,
                      std::int64_t n_queries, int n_bytes, int threads, std::int32_t* distances);

// Which rows may be returned: all of them without `data`; else one byte a row, or where it is packed one bit
// a row as numpy.packbits packs them.
struct Mask {
  const std::uint8_t* data = nullptr;
  bool packed = false;

  bool operator[](std::int64_t row) const {
    if (data == nullptr) return true;
    return packed ? (data[row >> 3] >> (7 - (row & 7)) & 1) != 0 : data[row] != 0;
  }
};

// Writes to `distances` and `out_ids` (n_queries, k) each query's k nearest codes, ordered by (distance, id),
// also at the cut. `ids` are n distinct non-negative numbers in any order; without them a row is its own id.
// k >= 1. Where fewer than k rows may be returned, the rest is (kNoDistance, kNoId).
void hamming_topk(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries,
                  std::int64_t n_queries, int n_bytes, std::int64_t k, Mask mask, const std::int64_t* ids,
                  int threads, std::int32_t* distances, std::int64_t* out_ids);

struct RangeHits {
  std::vector<std::int64_t> lims;  // query i has the hits from lims[i] to lims[i + 1]
  std::vector<std::int32_t> distances;
  std::vector<std::int64_t> ids;
};

// Finds each query's codes at distance <= radius, ordered by (distance, id). Masks and ids as above.
RangeHits hamming_range(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries,
                        std::int64_t n_queries, int n_bytes, std::int32_t radius, Mask mask,
                        const std::int64_t* ids, int threads);

}  // namespace sdc
