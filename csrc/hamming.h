// Exact search of packed binary codes by Hamming distance.
//
// Codes are n rows of n_bytes bytes each, row-major without gaps, no alignment required; n_bytes is from 1 to
// 256 and n below 2^48. Which bit of a byte is which does not matter here, as long as codes and queries
// agree; padding bits count like others. Nothing is kept of what the caller passes, and nothing is written
// but the results. Every function may be called from several threads at once.
//
// Results are ordered by (distance, id) and ties, also at the cut, go to the smaller id. They are the same
// bytes for every instruction set, number of threads and way of searching.
//
// `threads` is the largest number of threads to use; 0 means num_threads(). Working memory beyond codes and
// results stays under 200 MB up to some 2,000 queries at once times k = 1,000; it grows by 16 bytes for each
// further k of one query.
//
// Throws std::invalid_argument when a number is outside the limits given here, std::bad_alloc when memory
// runs out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "isa.h"

namespace sdc {

inline constexpr int kMaxCodeBytes = 256;

struct HammingCodes {
  const std::uint8_t* data;
  std::int64_t n;
  std::int64_t n_bytes;
};

// Which rows may be returned; without data, all.
struct HammingMask {
  const std::uint8_t* data = nullptr;
  bool packed =
      false;  // true: bit 7 - r % 8 of byte r / 8 (numpy.packbits), false: byte r, which must be 0 or 1
};

// The ids that rows are reported by: non-negative and without duplicates, which is not checked. Without
// `ids`, the row numbers.
struct HammingIds {
  const std::int64_t* ids = nullptr;
  bool ascending = false;  // the ids grow with the row, which saves sorting
  // The largest id, or anything above it: ids below 2^48 are read along with their rows, larger ones at
  // random at the end. INT64_MAX, unknown, is found out where so many hits are wanted that it pays.
  std::int64_t largest = INT64_MAX;
};

inline constexpr std::int32_t kNoDistance = 2147483647;
inline constexpr std::int64_t kNoId = -1;

// The k nearest rows of each query: distances and ids are (n_queries, k), row-major. Where fewer than k rows
// qualify, the rest is kNoDistance and kNoId. 0 <= k < 2^31.
void hamming_topk(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                  std::int64_t k, const HammingMask& mask, const HammingIds& ids, int threads,
                  std::int32_t* distances, std::int64_t* ids_out);

// Query q's hits are the entries [lims[q], lims[q + 1]) of distances and ids.
struct HammingRange {
  std::vector<std::int64_t> lims;
  std::vector<std::int32_t> distances;
  std::vector<std::int64_t> ids;
};

// All rows at a distance of at most `radius`. A negative radius has no hits.
HammingRange hamming_range(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                           std::int64_t radius, const HammingMask& mask, const HammingIds& ids, int threads);

// All distances: (n_queries, n), row-major.
void hamming_distance(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                      int threads, std::int32_t* distances);

// How hamming_topk would search. `n` is the number of rows that the mask lets through.
struct HammingPlan {
  enum class Method { direct, sliced_by_3, sliced_by_7 };
  Method method;
  double ns_per_pair[3];  // what the cost model expects of each method, direct first; for choosing, not for
                          // promising
  bool sampled;           // thresholds are first estimated on a sixteenth of the rows
  std::string reason() const;
};

HammingPlan hamming_plan(std::int64_t n, std::int64_t n_bytes, std::int64_t n_queries, std::int64_t k,
                         Isa isa);

}  // namespace sdc
