// One-dimensional optimal transport between sorted samples x of n and y of m numbers.
//
// Number i of x holds the mass between the end of the one before and its own end. Mass moves to the numbers
// of y that hold the same part; each number finds them itself: those of x the costs and their gradient, those
// of y theirs, so that nothing is added up in an order that could change.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "order_keys.cuh"
#include "radix_sort.h"
#include "row_costs_kernels.cuh"

namespace sdc::cuda {

// Where the mass of numbers ends when all weigh the same: number i of n covers [i m, (i + 1) m) of n m, so
// that all ends are integers.
struct EvenEnds {
  std::int64_t n, m;

  using Position = std::int64_t;
  __device__ Position of_x(std::int64_t, std::int64_t i) const { return (i + 1) * m; }
  __device__ Position of_y(std::int64_t, std::int64_t j) const { return (j + 1) * n; }
  __device__ std::int64_t first_y(std::int64_t, Position begin) const { return begin / n; }
  __device__ std::int64_t first_x(std::int64_t, Position begin) const { return begin / m; }
  __device__ double mass(Position amount) const {
    return static_cast<double>(amount) / (static_cast<double>(n) * static_cast<double>(m));
  }
};

// The first of n ends that lies beyond a position; n without one.
__device__ inline std::int64_t first_beyond(const double* ends, std::int64_t n, double position) {
  std::int64_t low = 0, high = n;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (ends[middle] > position)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// The same from cumulated weights, (rows, n) and (rows, m); the last of each row is 1.
struct WeightedEnds {
  std::int64_t n, m;
  const double* x;
  const double* y;

  using Position = double;
  __device__ Position of_x(std::int64_t row, std::int64_t i) const { return x[row * n + i]; }
  __device__ Position of_y(std::int64_t row, std::int64_t j) const { return y[row * m + j]; }
  __device__ std::int64_t first_y(std::int64_t row, Position begin) const {
    return first_beyond(y + row * m, m, begin);
  }
  __device__ std::int64_t first_x(std::int64_t row, Position begin) const {
    return first_beyond(x + row * n, n, begin);
  }
  __device__ double mass(Position amount) const { return amount; }
};

template <class T>
struct Sample {
  const KeyOf<T>* sorted;
  const std::uint32_t* order;
  T* gradient;  // null: not wanted
};

// One sample's part in the transport: row_blocks(n / kLanes * threads) blocks a row, whose threads take a
// number each, or warps where there are many partners to each (`by_warp`). With costs, sums (rows, blocks of
// a row). Shared memory: kBlockWarps doubles.
template <class T, class Ends, bool from_x, bool by_warp>
__global__ void transport(Sample<T> own, Sample<T> other, Ends ends, Cost<T> cost, std::int64_t blocks,
                          double* sums) {
  constexpr unsigned kStep = by_warp ? kLanes : 1;
  const std::int64_t n_own = from_x ? ends.n : ends.m, n_other = from_x ? ends.m : ends.n;
  const std::int64_t row = blockIdx.x / blocks;
  const unsigned part = threadIdx.x % kStep;
  own.sorted += row * n_own;
  other.sorted += row * n_other;
  const auto end_of = [&](std::int64_t i) { return from_x ? ends.of_x(row, i) : ends.of_y(row, i); };
  const auto end_of_other = [&](std::int64_t j) { return from_x ? ends.of_y(row, j) : ends.of_x(row, j); };
  double sum = 0;
  for (unsigned item = 0; item < kRowItems; ++item) {
    const std::int64_t i =
        (blockIdx.x % blocks * kRowItems + item) * (kBlockThreads / kStep) + threadIdx.x / kStep;
    if (i >= n_own) break;
    const T value = number_of_key(own.sorted[i]);
    const typename Ends::Position begin = i == 0 ? 0 : end_of(i - 1), end = end_of(i);
    T slope = 0;
    const std::int64_t first = from_x ? ends.first_y(row, begin) : ends.first_x(row, begin);
    for (std::int64_t j = first + part; j < n_other; j += kStep) {
      const typename Ends::Position from = j == first ? begin : max(begin, end_of_other(j - 1));
      if (from >= end) break;
      const double mass = ends.mass(min(end, end_of_other(j)) - from);
      // A number without weight must not bring an infinite distance times 0 into the sum.
      if (!(mass > 0)) continue;
      const T distance = value - number_of_key(other.sorted[j]);
      sum += mass * static_cast<double>(cost.of(distance));
      slope += static_cast<T>(mass) * cost.slope(distance);
    }
    if (by_warp) slope = sum_of_warp(slope);
    if (own.gradient != nullptr && part == 0) own.gradient[row * n_own + own.order[row * n_own + i]] = slope;
  }
  if (sums == nullptr) return;
  sum = sum_of_block(sum, dynamic_shared<double>());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The sums of weights of the blocks of rows, in the order of the samples; a weight of null is 1 for all. A
// row with a negative weight is bad. row_blocks(n) blocks a row. Shared memory: kBlockWarps doubles.
template <class T>
__global__ void sum_weights(const T* weights, const std::uint32_t* order, std::int64_t n, double* sums,
                            std::int32_t* bad) {
  const std::int64_t blocks = row_blocks(n), row = blockIdx.x / blocks;
  const std::int64_t begin = blockIdx.x % blocks * kRowBlock, end = min(n, begin + std::int64_t{kRowBlock});
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kBlockThreads) {
    const double weight =
        weights == nullptr ? 1.0 : static_cast<double>(weights[row * n + order[row * n + i]]);
    if (!(weight >= 0)) bad[row] = 1;
    sum += weight;
  }
  sum = sum_of_block(sum, dynamic_shared<double>());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// ends[i] = the sum of the weights up to number i over that of all. A row without a positive, finite sum is
// bad. row_blocks(n) blocks a row. Shared memory: kBlockWarps doubles.
template <class T>
__global__ void cumulate_weights(const T* weights, const std::uint32_t* order, std::int64_t n,
                                 const double* sums, std::int32_t* bad, double* ends) {
  auto* shared = dynamic_shared<double>();
  const std::int64_t blocks = row_blocks(n), row = blockIdx.x / blocks, own = blockIdx.x % blocks;
  double before = 0, all = 0;
  for (std::int64_t i = threadIdx.x; i < blocks; i += kBlockThreads) {
    const double sum = sums[row * blocks + i];
    if (i < own) before += sum;
    all += sum;
  }
  before = sum_of_block(before, shared);
  all = sum_of_block(all, shared);
  if (threadIdx.x == 0 && own == 0 && !(all > 0 && all < static_cast<double>(INFINITY))) bad[row] = 1;
  for (unsigned item = 0; item < kRowItems; ++item) {
    const std::int64_t i = own * kRowBlock + item * kBlockThreads + threadIdx.x;
    const double weight = i >= n               ? 0.0
                          : weights == nullptr ? 1.0
                                               : static_cast<double>(weights[row * n + order[row * n + i]]);
    double total;
    const double sum = before + exclusive_sum_of_block(weight, shared, &total) + weight;
    before += total;
    if (i < n) ends[row * n + i] = i + 1 == n ? 1.0 : fmin(sum / all, 1.0);
  }
}

}  // namespace sdc::cuda
