// Stands in for the toolkit's header of this name: the part of CUDA that the kernels use, on the emulator.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "emulator.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// One section, so that all of it can be filled before each block. Only outside of templates.
#define __shared__ static __attribute__((section("emulated_shared")))

struct uint2 {
  unsigned x, y;
} __attribute__((aligned(8)));
struct uint4 {
  unsigned x, y, z, w;
} __attribute__((aligned(16)));
struct float4 {
  float x, y, z, w;
} __attribute__((aligned(16)));
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

namespace emulator {
extern dim3 thread_index, block_index, block_size, grid_size;
}  // namespace emulator
#define threadIdx emulator::thread_index
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size

// Where in the source a thread waits: file:line.
#define EMULATOR_TEXT_OF(line) #line
#define EMULATOR_TEXT(line) EMULATOR_TEXT_OF(line)
#define EMULATOR_SITE __FILE__ ":" EMULATOR_TEXT(__LINE__)
#define __syncthreads() emulator::barrier(EMULATOR_SITE)
#define __syncwarp() static_cast<void>(emulator::exchange(0xffffffffu, 0, EMULATOR_SITE))
#define __shfl_sync(mask, value, from) emulator::shuffle(mask, value, from, EMULATOR_SITE)
#define __shfl_up_sync(mask, value, by)                                                                \
  emulator::shuffle(mask, value, emulator::lane() < (by) ? emulator::lane() : emulator::lane() - (by), \
                    EMULATOR_SITE)
#define __shfl_down_sync(mask, value, by)                                                                   \
  emulator::shuffle(mask, value, emulator::lane() + (by) > 31 ? emulator::lane() : emulator::lane() + (by), \
                    EMULATOR_SITE)
#define __shfl_xor_sync(mask, value, bits) \
  emulator::shuffle(mask, value, emulator::lane() ^ (bits), EMULATOR_SITE)
#define __ballot_sync(mask, predicate) emulator::ballot(mask, predicate, EMULATOR_SITE)
#define __any_sync(mask, predicate) (emulator::ballot(mask, predicate, EMULATOR_SITE) != 0)
#define __all_sync(mask, predicate) (emulator::ballot(mask, !(predicate), EMULATOR_SITE) == 0)
#define __match_any_sync(mask, value) emulator::match_any(mask, value, EMULATOR_SITE)

namespace emulator {

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
T shuffle(unsigned mask, T value, unsigned from, const char* site) {
  const Values& values = exchange(mask, to_bits(value), site);
  if (((mask >> (from & 31)) & 1) == 0)
    throw Error(std::string(site) + ": a shuffle reads lane " + std::to_string(from & 31) +
                ", which is not in its mask");
  T got;
  std::memcpy(&got, &values.of[from & 31], sizeof(T));
  return got;
}

inline unsigned ballot(unsigned mask, bool predicate, const char* site) {
  const Values& values = exchange(mask, predicate, site);
  unsigned set = 0;
  for (unsigned i = 0; i < 32; ++i) set |= (mask >> i & 1) && values.of[i] != 0 ? 1u << i : 0;
  return set;
}

template <class T>
unsigned match_any(unsigned mask, T value, const char* site) {
  const Values& values = exchange(mask, to_bits(value), site);
  unsigned equal = 0;
  for (unsigned i = 0; i < 32; ++i) equal |= (mask >> i & 1) && values.of[i] == to_bits(value) ? 1u << i : 0;
  return equal;
}

// The operands of a product of the matrix unit, gathered from the lanes: see matrix_unit.cuh for what lies
// where.
struct Operands {
  std::uint32_t rows[16][8], columns[8][8];

  template <int kHalves>
  static Operands of_lanes(const std::uint32_t (&a)[2 * kHalves], const std::uint32_t (&b)[kHalves]) {
    Operands all;
    for (int half = 0; half < kHalves; ++half) {
      const Values& words =
          exchange(0xffffffffu, to_bits(a[2 * half]) | to_bits(a[2 * half + 1]) << 32, EMULATOR_SITE);
      for (unsigned i = 0; i < 32; ++i) {
        all.rows[i / 4][half * 4 + i % 4] = static_cast<std::uint32_t>(words.of[i]);
        all.rows[i / 4 + 8][half * 4 + i % 4] = static_cast<std::uint32_t>(words.of[i] >> 32);
      }
      const Values& others = exchange(0xffffffffu, b[half], EMULATOR_SITE);
      for (unsigned i = 0; i < 32; ++i)
        all.columns[i / 4][half * 4 + i % 4] = static_cast<std::uint32_t>(others.of[i]);
    }
    return all;
  }

  // Adds product(word of the row, word of the column), over all words, to this lane's four sums.
  template <class Product>
  void add_to(int (&sums)[4], int n_words, Product product) const {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = lane() / 4 + i / 2 * 8, column = lane() % 4 * 2 + i % 2;
      for (int word = 0; word < n_words; ++word) sums[i] += product(rows[row][word], columns[column][word]);
    }
  }
};

// The matrix unit's m16n8k128 and m16n8k256 of bits, .and.popc.
template <int K>
void add_common_ones(int (&sums)[4], const std::uint32_t (&a)[K / 64], const std::uint32_t (&b)[K / 128]) {
  Operands::of_lanes<K / 128>(a, b).add_to(
      sums, K / 32, [](std::uint32_t x, std::uint32_t y) { return __builtin_popcount(x & y); });
}

// The matrix unit's m16n8k32 of unsigned bytes.
inline void add_products_of_bytes(int (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  Operands::of_lanes<2>(a, b).add_to(sums, 8, [](std::uint32_t x, std::uint32_t y) {
    int sum = 0;
    for (int shift = 0; shift < 32; shift += 8)
      sum += static_cast<int>((x >> shift & 255) * (y >> shift & 255));
    return sum;
  });
}

}  // namespace emulator

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __clz(int value) { return value == 0 ? 32 : __builtin_clz(static_cast<unsigned>(value)); }

template <class To, class From>
To bit_cast(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From));
  std::memcpy(&to, &from, sizeof(To));
  return to;
}
inline unsigned __float_as_uint(float value) { return bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return bit_cast<float>(bits); }
inline long long __double_as_longlong(double value) { return bit_cast<long long>(value); }
inline double __longlong_as_double(long long bits) { return bit_cast<double>(bits); }

template <class T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address += value;
  return before;
}
template <class T>
T atomicExch(T* address, T value) {
  const T before = *address;
  *address = value;
  return before;
}
template <class T>
T atomicMax(T* address, T value) {
  const T before = *address;
  if (value > before) *address = value;
  return before;
}

template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}

// The runtime: one device, which is this process.
using cudaStream_t = struct CUstream_st*;
enum cudaError_t {
  cudaSuccess,
  cudaErrorInvalidValue,
  cudaErrorNoKernelImageForDevice,
  cudaErrorUnsupportedPtxVersion
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
struct cudaDeviceProp {
  char name[32] = "emulator";
  int major = 0, minor = 0;
  std::size_t totalGlobalMem = 0;
};
inline const char* cudaGetErrorString(cudaError_t) { return "an error of the emulator"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  return *properties = cudaDeviceProp(), cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 2, cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
  return std::memset(memory, value, bytes), cudaSuccess;
}
