// The binary product of the matrix units (compute capability 8.0 and later), a warp at once.
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

template <int K>
__device__ inline void add_common_ones(int (&sums)[4], const std::uint32_t (&a)[K / 64],
                                       const std::uint32_t (&b)[K / 128]) {
  static_assert(K == 128 || K == 256);
#if !defined(__CUDACC__)
  emulator::add_common_ones<K>(sums, a, b);
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
