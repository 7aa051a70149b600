// The calibration loss of rows whose order is known.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "quantiles.cuh"
#include "row_costs_kernels.cuh"

namespace sdc::cuda {

// The costs of a row's codes, in the order of its teacher, and their slopes * unit. sums (rows,
// row_blocks(n)). Quantiles that are not finite and ascending make the row bad. row_blocks(n) blocks a row.
// Shared memory: kBlockWarps doubles.
template <class T>
__global__ void cost_ranks(const T* codes, const std::uint32_t* order, Quantiles<T> quantiles,
                           std::int64_t quantile_stride, Cost<T> cost, T unit, const std::int32_t* needed,
                           double* sums, std::int32_t* bad, T* gradient) {
  if (needed != nullptr && *needed == 0) return;
  const std::int64_t n = quantiles.n, blocks = row_blocks(n), row = blockIdx.x / blocks;
  if (quantiles.table != nullptr) quantiles.table += row * quantile_stride;
  double sum = 0;
  bool ascending = true;
#pragma unroll 4
  for (unsigned i = 0; i < kRowItems; ++i) {
    const std::int64_t rank = blockIdx.x % blocks * kRowBlock + i * kBlockThreads + threadIdx.x;
    if (rank >= n) break;
    const T quantile = static_cast<T>(quantile_at(quantiles, rank));
    if (quantiles.table != nullptr) {
      const T next = rank + 1 < n ? quantiles.table[rank + 1] : quantile;
      ascending &= quantile <= next;
      if (rank == 0 || rank + 1 == n) ascending &= quantile - quantile == 0;
    }
    const std::int64_t at = row * n + order[row * n + rank];
    const T distance = codes[at] - quantile;
    sum += static_cast<double>(cost.of(distance));
    if (gradient != nullptr) gradient[at] = unit * cost.slope(distance);
  }
  if (!ascending) bad[row] = 1;
  sum = sum_of_block(sum, dynamic_shared<double>());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

}  // namespace sdc::cuda
