// Exact asymmetric search: a real-valued query against packed codes.
#pragma once

#include <cstdint>

namespace sdc {

// score(query, code) = the sum over the bits of +query[bit] where the code's bit is 1 and -query[bit] where
// it is 0, in float32 and in this order, on every machine: for each byte of the code, from 0 and the byte's
// first (most significant) bit on, one sum; then, from 0 and the first byte on, the sum of those.
//
// Layout: `codes` is n rows of ceil(n_bits / 8) bytes with zero padding bits, `queries` (n_queries, n_bits)
// finite numbers whose absolute sums are finite. `ids` are n distinct non-negative numbers in any order;
// without them a row is its own id. k >= 1.
//
// Writes to `scores` and `out_ids` (n_queries, k) each query's k highest, ordered by falling score, then by
// rising id, the same for every number of threads. Where n < k the rest is (-infinity, kNoId of hamming.h).
void asymmetric_topk(const std::uint8_t* codes, std::int64_t n, const float* queries, std::int64_t n_queries,
                     int n_bits, std::int64_t k, const std::int64_t* ids, int threads, float* scores,
                     std::int64_t* out_ids);

}  // namespace sdc
