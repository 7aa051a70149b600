// Sums over the threads of a block of kBlockThreads, always in the same order.
#pragma once

#include <cuda_runtime.h>

namespace sdc::cuda {

constexpr unsigned kLanes = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr unsigned kBlockThreads = 256;
constexpr unsigned kBlockWarps = kBlockThreads / kLanes;

// The sum over a warp, in every lane.
template <class T>
__device__ inline T sum_of_warp(T value) {
#pragma unroll
  for (unsigned bits = kLanes / 2; bits != 0; bits /= 2) value += __shfl_xor_sync(kAllLanes, value, bits);
  return value;
}

// What the threads before this one have, summed; *total is the sum of all. `shared` has room for kBlockWarps,
// which may be used for something else afterwards.
template <class T>
__device__ inline T exclusive_sum_of_block(T value, T* shared, T* total) {
  const unsigned warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  T sum = value;
#pragma unroll
  for (unsigned offset = 1; offset < kLanes; offset *= 2) {
    const T before = __shfl_up_sync(kAllLanes, sum, offset);
    if (lane >= offset) sum += before;
  }
  if (lane == kLanes - 1) shared[warp] = sum;
  __syncthreads();
  T before_warp = 0;
  *total = 0;
#pragma unroll
  for (unsigned i = 0; i < kBlockWarps; ++i) {
    if (i == warp) before_warp = *total;
    *total += shared[i];
  }
  __syncthreads();
  const T before_lane = __shfl_up_sync(kAllLanes, sum, 1u);
  return lane == 0 ? before_warp : before_warp + before_lane;
}

// The sum over a block, in every thread; `shared` as above.
template <class T>
__device__ inline T sum_of_block(T value, T* shared) {
  const T sum = sum_of_warp(value);
  if (threadIdx.x % kLanes == 0) shared[threadIdx.x / kLanes] = sum;
  __syncthreads();
  T total = 0;
#pragma unroll
  for (unsigned i = 0; i < kBlockWarps; ++i) total += shared[i];
  __syncthreads();
  return total;
}

}  // namespace sdc::cuda
