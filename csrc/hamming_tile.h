// The queries that pass over a database together, as the kernels take them. Internal.
#pragma once

#include <cstdint>
#include <vector>

#include "hamming.h"
#include "hamming_kernels.h"

namespace sdc {

// Throws std::invalid_argument when codes or the number of queries are beyond the limits of hamming.h.
void check_codes(const HammingCodes& codes, std::int64_t n_queries);

// The class that codes of n_bytes are padded to.
int width_class_of(std::int64_t n_bytes);

// One tile's queries, padded and, for the sliced methods, encoded.
struct QueryTile {
  QueryTile(const HammingKernels& level, HammingPlan::Method method, int code_class, std::int64_t n_bytes,
            const std::uint8_t* queries, const std::vector<std::int64_t>& chosen);

  const std::uint8_t* code(std::size_t q) const { return &codes[q * bytes]; }

  // The rows' codes as a block for the sliced kernels: where they are fewer, copied to `padded`, which has
  // room for a block, with zero bytes behind them.
  const std::uint8_t* whole_block(const std::uint8_t* rows, std::size_t n_rows, std::uint8_t* padded) const;

  const HammingKernels& kernels;
  const DirectKernel& direct;
  const SlicedKernel* sliced;  // null: all the direct way
  int width_class;
  std::size_t bytes;
  std::size_t n;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint16_t> records;  // without thresholds, which are each worker's own
};

}  // namespace sdc
