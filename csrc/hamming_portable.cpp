#include <bit>
#include <cstring>

#include "hamming_kernels.h"

namespace sdc {
namespace {

std::int32_t distance(const std::uint8_t* a, const std::uint8_t* b, int n_bytes) {
  std::int32_t sum = 0;
  int i = 0;
  for (; i + 8 <= n_bytes; i += 8) {
    std::uint64_t x, y;
    std::memcpy(&x, a + i, 8);
    std::memcpy(&y, b + i, 8);
    sum += std::popcount(x ^ y);
  }
  for (; i < n_bytes; ++i) sum += std::popcount(static_cast<std::uint8_t>(a[i] ^ b[i]));
  return sum;
}

void distances(const std::uint8_t* query, const std::uint8_t* codes, std::int64_t n, int n_bytes,
               std::int32_t* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = distance(query, codes + i * n_bytes, n_bytes);
}

}  // namespace

const HammingKernels kPortableHamming = {distances};

}  // namespace sdc
