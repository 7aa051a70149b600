// How the threads of a block walk over similarities.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "block_sums.cuh"
#include "similarities.h"

namespace sdc::cuda {

constexpr unsigned kVectors = 4;                                  // of 4 numbers, that a thread takes
constexpr unsigned kBlockNumbers = kBlockThreads * 4 * kVectors;  // of one row

// How many blocks take a row's numbers.
__host__ __device__ inline std::int64_t blocks_of_row(std::int64_t columns) {
  return (columns + kBlockNumbers - 1) / kBlockNumbers;
}

inline unsigned blocks_of(const Similarities& block) {
  return static_cast<unsigned>(block.rows * blocks_of_row(block.columns));
}

__device__ inline std::int64_t pair_index(std::int64_t n_items, std::int64_t i, std::int64_t j) {
  return i * (2 * n_items - i - 1) / 2 + (j - i - 1);
}

// A thread's place among the similarities: a row, and columns from column(v) on for vector v.
struct Place {
  const Similarities& block;
  std::int64_t row, first_column;

  __device__ explicit Place(const Similarities& similarities)
      : block(similarities),
        row(blockIdx.x / blocks_of_row(similarities.columns)),
        first_column(blockIdx.x % blocks_of_row(similarities.columns) * kBlockNumbers + 4 * threadIdx.x) {}

  __device__ std::int64_t column(unsigned vector) const {
    return first_column + vector * (4 * kBlockThreads);
  }
  __device__ bool counts(std::int64_t column) const {
    return column < block.columns && (block.n_items == 0 || column > row);
  }
  __device__ std::uint32_t index(std::int64_t column) const {
    return static_cast<std::uint32_t>(
        block.n_items == 0 ? column : pair_index(block.n_items, block.first + row, block.first + column));
  }
  // Whether four numbers from a column on can be read and written as one vector.
  __device__ bool whole(const float* numbers, std::int64_t column) const {
    return column + 4 <= block.columns && reinterpret_cast<std::uintptr_t>(numbers) % 16 == 0;
  }
  __device__ void load(const float* matrix, unsigned vector, float (&numbers)[4]) const {
    const std::int64_t from = column(vector);
    const float* line = matrix + row * block.stride + from;
    if (whole(line, from)) {
      const float4 four = *reinterpret_cast<const float4*>(line);
      numbers[0] = four.x;
      numbers[1] = four.y;
      numbers[2] = four.z;
      numbers[3] = four.w;
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) numbers[i] = from + i < block.columns ? line[i] : 0.0f;
  }
  // Calls visit(column, number) for each of the thread's numbers that counts.
  template <class Visit>
  __device__ void each(Visit visit) const {
#pragma unroll
    for (unsigned v = 0; v < kVectors; ++v) {
      float numbers[4];
      load(block.data, v, numbers);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (counts(column(v) + i)) visit(column(v) + i, numbers[i]);
    }
  }
  __device__ void store(const float (&numbers)[4], unsigned vector, float* matrix) const {
    const std::int64_t from = column(vector);
    float* line = matrix + row * block.stride + from;
    if (whole(line, from)) {
      *reinterpret_cast<float4*>(line) = {numbers[0], numbers[1], numbers[2], numbers[3]};
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (from + i < block.columns) line[i] = numbers[i];
  }
};

}  // namespace sdc::cuda
