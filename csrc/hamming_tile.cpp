#include "hamming_tile.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace sdc {

using Method = HammingPlan::Method;

void check_codes(const HammingCodes& codes, std::int64_t n_queries) {
  if (codes.n_bytes < 1 || codes.n_bytes > kMaxCodeBytes) {
    throw std::invalid_argument("codes must have from 1 to 256 bytes, got " + std::to_string(codes.n_bytes));
  }
  if (codes.n < 0 || codes.n >= (std::int64_t{1} << 48)) {
    throw std::invalid_argument("the number of codes must be from 0 to 2^48 - 1, got " +
                                std::to_string(codes.n));
  }
  if (n_queries < 0) throw std::invalid_argument("the number of queries must not be negative");
}

int width_class_of(std::int64_t n_bytes) {
  int width_class = 0;
  while (class_bytes(width_class) < n_bytes) ++width_class;
  return width_class;
}

QueryTile::QueryTile(const HammingKernels& level, Method method, int code_class, std::int64_t n_bytes,
                     const std::uint8_t* queries, const std::vector<std::int64_t>& chosen)
    : kernels(level),
      direct(level.direct[code_class]),
      sliced(method == Method::direct        ? nullptr
             : method == Method::sliced_by_3 ? &level.sliced_by_3[code_class]
                                             : &level.sliced_by_7[code_class]),
      width_class(code_class),
      bytes(static_cast<std::size_t>(class_bytes(code_class))),
      n(chosen.size()),
      codes(n * bytes) {
  for (std::size_t q = 0; q < n; ++q) {
    level.pad[code_class](queries + chosen[q] * n_bytes, 1, static_cast<std::size_t>(n_bytes),
                          &codes[q * bytes]);
  }
  if (sliced == nullptr) return;
  records.resize(n * sliced->record_length);
  for (std::size_t q = 0; q < n; ++q) sliced->encode(code(q), &records[q * sliced->record_length]);
}

const std::uint8_t* QueryTile::whole_block(const std::uint8_t* rows, std::size_t n_rows,
                                           std::uint8_t* padded) const {
  const std::size_t block = static_cast<std::size_t>(kernels.block_codes());
  if (n_rows >= block) return rows;
  std::copy_n(rows, n_rows * bytes, padded);
  std::fill_n(padded + n_rows * bytes, (block - n_rows) * bytes, std::uint8_t{0});
  return padded;
}

}  // namespace sdc
