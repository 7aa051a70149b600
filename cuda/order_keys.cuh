// Real numbers as unsigned keys of the same order: -0 and +0 are one key, and NaN is the largest.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace sdc::cuda {

constexpr std::uint32_t kNanKey32 = 0xffffffffu;
constexpr std::uint64_t kNanKey64 = 0xffffffffffffffffu;

__device__ inline std::uint32_t order_key(float value) {
  if (value != value) return kNanKey32;
  const std::uint32_t bits = __float_as_uint(value + 0.0f);
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}

__device__ inline std::uint64_t order_key(double value) {
  if (value != value) return kNanKey64;
  const auto bits = static_cast<std::uint64_t>(__double_as_longlong(value + 0.0));
  return bits ^ ((bits >> 63) != 0 ? ~std::uint64_t{0} : std::uint64_t{1} << 63);
}

__device__ inline float number_of_key(std::uint32_t key) {
  return __uint_as_float(key ^ ((key >> 31) != 0 ? 0x80000000u : 0xffffffffu));
}

__device__ inline double number_of_key(std::uint64_t key) {
  return __longlong_as_double(
      static_cast<long long>(key ^ ((key >> 63) != 0 ? std::uint64_t{1} << 63 : ~std::uint64_t{0})));
}

}  // namespace sdc::cuda
