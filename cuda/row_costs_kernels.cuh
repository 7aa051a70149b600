// What the losses of rows share: costs of distances, and what makes a row's loss of the sums of its blocks.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "block_sums.cuh"
#include "dynamic_shared.cuh"

namespace sdc::cuda {

constexpr unsigned kRowItems = 16;                         // that a thread takes
constexpr unsigned kRowBlock = kBlockThreads * kRowItems;  // numbers of a row that a block takes

__host__ __device__ inline std::int64_t row_blocks(std::int64_t n) { return (n + kRowBlock - 1) / kRowBlock; }

// |distance|^p and its derivative, which is 0 at 0.
template <class T>
struct Cost {
  T p;

  __device__ T of(T distance) const {
    if (p == 1) return distance < 0 ? -distance : distance;
    if (p == 2) return distance * distance;
    return static_cast<T>(pow(distance < 0 ? -distance : distance, p));
  }
  __device__ T slope(T distance) const {
    const T sign = static_cast<T>((distance > 0) - (distance < 0));
    if (p == 1) return sign;
    if (p == 2) return 2 * distance;
    return sign * p * static_cast<T>(pow(distance < 0 ? -distance : distance, p - 1));
  }
};

// losses[row] = the row's `blocks` sums over n, its p-th root if `root`, NaN for a bad row; scales[row] is
// what its gradients must still be multiplied with. One block a row. Shared memory: kBlockWarps doubles.
template <class T>
__global__ void finish_rows(const double* sums, std::int64_t blocks, double n, double p, bool root,
                            const std::int32_t* bad, const std::int32_t* needed, T* losses, T* scales) {
  if (needed != nullptr && *needed == 0) return;
  const std::int64_t row = blockIdx.x;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < blocks; i += kBlockThreads) sum += sums[row * blocks + i];
  sum = sum_of_block(sum, dynamic_shared<double>());
  if (threadIdx.x != 0) return;
  double loss = bad[row] != 0 ? static_cast<double>(NAN) : sum / n, scale = 1;
  if (loss != loss) {
    scale = loss;
  } else if (root && p != 1) {
    const double power = loss;
    loss = pow(power, 1 / p);
    scale = power > 0 ? loss / (p * power) : 0;
  }
  losses[row] = static_cast<T>(loss);
  scales[row] = static_cast<T>(scale);
}

// Multiplies the rows of a gradient by what is still missing. row_blocks(n) blocks a row.
template <class T>
__global__ void scale_rows(std::int64_t n, const T* scales, const std::int32_t* needed, T* gradient) {
  if (needed != nullptr && *needed == 0) return;
  const std::int64_t blocks = row_blocks(n), row = blockIdx.x / blocks;
  const T scale = scales[row];
  if (scale == 1) return;
  const std::int64_t begin = blockIdx.x % blocks * kRowBlock, end = min(n, begin + std::int64_t{kRowBlock});
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kBlockThreads) gradient[row * n + i] *= scale;
}

}  // namespace sdc::cuda
