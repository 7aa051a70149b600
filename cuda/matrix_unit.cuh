// The binary product of the matrix units, a warp at once.
//
// Compute capabilities 8 and 9 have one instruction for it. Later ones do not: what the compiler puts in its
// place moves all bits into bytes anew at each product (24 MOVM among 107 instructions for 256 bits). There
// the product is one of bytes, 0 or 1, whose place in a word does not matter as long as it is the same on
// both sides, so that a shift and a mask make them, for the rows once for all columns.
//
// sums[0..3] += the number of ones that rows and columns have in common, for 16 rows and 8 columns of K = 128
// or 256 bits. With r = lane / 4 and p = lane % 4, lane holds of the rows r and r + 8 the words p (a[0],
// a[1]) and p + 4 (a[2], a[3]); of column r the words p (b[0]) and p + 4 (b[1]); and gets in sums[0] row r
// and column 2p, in sums[1] row r and column 2p + 1, in sums[2] and sums[3] the same of row r + 8. (PTX ISA,
// m16n8k128 and m16n8k256 of .b1, .and.popc.)
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace sdc::cuda {

// sums += the products of 16 rows and 8 columns of 32 bytes, which lie as words of m16n8k128 do: rows[0] and
// rows[2] are of row r, rows[1] and rows[3] of row r + 8, columns[0] and columns[1] of column r. (PTX ISA,
// m16n8k32 of .u8.)
__device__ inline void add_products_of_bytes(int (&sums)[4], const std::uint32_t (&rows)[4],
                                             const std::uint32_t (&columns)[2]) {
#if !defined(__CUDACC__)
  emulator::add_products_of_bytes(sums, rows, columns);
#elif defined(__CUDA_ARCH__)
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(columns[0]), "r"(columns[1]));
#endif
}

// Where registers have no room for the bytes of all rows (!kKeepBytes), they are made anew at each product;
// else the compiler would keep and spill them.
template <int K, bool kKeepBytes>
__device__ inline void add_common_ones_by_bytes(int (&sums)[4], const std::uint32_t (&a)[K / 64],
                                                const std::uint32_t (&b)[K / 128]) {
  constexpr std::uint32_t kFirstBits = 0x01010101u;
#pragma unroll
  for (int half = 0; half < K / 128; ++half) {
    std::uint32_t upper = a[2 * half], lower = a[2 * half + 1];
#if defined(__CUDA_ARCH__)
    if constexpr (!kKeepBytes) asm volatile("" : "+r"(upper), "+r"(lower));
#endif
#pragma unroll
    for (int bit = 0; bit < 8; bit += 2) {
      const std::uint32_t rows[4] = {(upper >> bit) & kFirstBits, (lower >> bit) & kFirstBits,
                                     (upper >> (bit + 1)) & kFirstBits, (lower >> (bit + 1)) & kFirstBits};
      const std::uint32_t columns[2] = {(b[half] >> bit) & kFirstBits, (b[half] >> (bit + 1)) & kFirstBits};
      add_products_of_bytes(sums, rows, columns);
    }
  }
}

template <int K, bool kKeepBytes>
__device__ inline void add_common_ones(int (&sums)[4], const std::uint32_t (&a)[K / 64],
                                       const std::uint32_t (&b)[K / 128]) {
  static_assert(K == 128 || K == 256);
#if !defined(__CUDACC__)
  if (emulator::has_binary_product)
    emulator::add_common_ones<K>(sums, a, b);
  else
    add_common_ones_by_bytes<K, kKeepBytes>(sums, a, b);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
  add_common_ones_by_bytes<K, kKeepBytes>(sums, a, b);
#elif defined(__CUDA_ARCH__)
  if constexpr (K == 128) {
    asm volatile(
        "mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, "
        "%1, %2, "
        "%3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
        "%9}, "
        "{%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#endif
}

}  // namespace sdc::cuda
