// The kernels of the brackets, in the order in which they run: similarity_range, count_bins, begin_ranks,
// fill_brackets, classify, collect_open_bins, resolve, settle, and add_open_pairs.
//
// Numbers reach the lists in whatever order the threads do. What is computed from a list does not depend on
// it: counts, signs, and sums of integers. All other sums are taken in one order.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "block_sums.cuh"
#include "bracket.h"
#include "dynamic_shared.cuh"
#include "order_keys.cuh"
#include "quantiles.cuh"
#include "similarities.cuh"

namespace sdc::cuda {

constexpr unsigned kScanThreads = 1024;
constexpr unsigned kBinsPerWarp = 8, kBinsPerBlock = kBinsPerWarp * kBlockWarps;
constexpr float kEpsilon = 1.1920929e-7f;

// All zero at first.
struct BracketState {
  std::uint32_t high;         // the largest of the teacher's order keys
  std::uint32_t inverse_low;  // the complement of the smallest
  std::uint32_t n_open, n_collected;
  unsigned long long comparisons;  // that ranking the open numbers takes
  long long correction;            // what exact distances add to those to the means, in fixed point
  std::int32_t undecided;
};

// The mean of the quantiles at a bin's ranks, and the largest distance of one of them from it.
struct Bracket {
  float mean, reach;
};

// A number whose sign its bin leaves open; later s is the sign.
struct Open {
  float s, t;
  std::uint32_t index;
};

struct Limits {
  std::uint32_t open, collected;
  unsigned long long comparisons;
};

// What the kernels share, on the device.
struct BracketMemory {
  BracketState* state;
  std::uint32_t n_bins;
  std::uint32_t* counts;  // of each bin; then open numbers
  std::uint32_t* opened;
  std::uint32_t* taken;   // numbers of open bins that are collected
  std::uint32_t* begins;  // (n_bins + 1,): the first rank of each bin
  std::uint32_t* starts;  // where an open bin's numbers are collected
  Bracket* brackets;
  double* variances;  // of each block of fill_brackets
  double* sums;       // of each block of classify
  Open* open;
  unsigned long long* collected;
  Limits limits;
};

// Equal bins over what the teacher's similarities span.
struct Bins {
  float low, scale;
  std::uint32_t count;

  // False where no histogram can tell them apart.
  __device__ bool choose(const BracketState& state, std::uint32_t n_bins) {
    if (state.high == kNanKey32) return false;
    low = number_of_key(~state.inverse_low);
    count = n_bins;
    scale = static_cast<float>(n_bins) / (number_of_key(state.high) - low);
    return fabsf(low) < 3e38f && scale > 0 && scale < 3e38f;
  }

  __device__ std::uint32_t of(float t) const {
    const float place = fminf(fmaxf((t - low) * scale, 0.0f), static_cast<float>(count - 1));
    return static_cast<std::uint32_t>(place);
  }
};

__global__ void similarity_range(Similarities block, BracketState* state) {
  std::uint32_t high = 0, inverse_low = 0;
  Place(block).each([&](std::int64_t, float t) {
    const std::uint32_t key = order_key(t);
    high = max(high, key);
    inverse_low = max(inverse_low, ~key);
  });
#pragma unroll
  for (unsigned bits = kLanes / 2; bits != 0; bits /= 2) {
    high = max(high, __shfl_xor_sync(kAllLanes, high, bits));
    inverse_low = max(inverse_low, __shfl_xor_sync(kAllLanes, inverse_low, bits));
  }
  if (threadIdx.x % kLanes != 0 || high == 0) return;
  atomicMax(&state->high, high);
  atomicMax(&state->inverse_low, inverse_low);
}

__global__ void count_bins(Similarities block, BracketMemory memory) {
  Bins bins;
  if (!bins.choose(*memory.state, memory.n_bins)) return;
  Place(block).each([&](std::int64_t, float t) { atomicAdd(&memory.counts[bins.of(t)], 1u); });
}

// begins[bin] = the sum of the counts before it. One block of kScanThreads; each of them a run of bins.
// Shared memory: 2 * kLanes words.
__global__ void begin_ranks(BracketMemory memory) {
  Bins bins;
  if (!bins.choose(*memory.state, memory.n_bins)) {
    if (threadIdx.x == 0) memory.state->undecided = 1;
    return;
  }
  auto* sums = dynamic_shared<std::uint32_t>();
  const unsigned warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const std::uint32_t run = memory.n_bins / kScanThreads, first = threadIdx.x * run;
  std::uint32_t total = 0;
  for (std::uint32_t i = 0; i < run; i += 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(memory.counts + first + i);
    total += four.x + four.y + four.z + four.w;
  }
  std::uint32_t sum = total;
#pragma unroll
  for (unsigned offset = 1; offset < kLanes; offset *= 2) {
    const std::uint32_t before = __shfl_up_sync(kAllLanes, sum, offset);
    if (lane >= offset) sum += before;
  }
  if (lane == kLanes - 1) sums[warp] = sum;
  __syncthreads();
  std::uint32_t begin = sum - total;
  for (unsigned i = 0; i < warp; ++i) begin += sums[i];
  for (std::uint32_t i = 0; i < run; i += 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(memory.counts + first + i);
    const std::uint32_t a = begin, b = a + four.x, c = b + four.y, d = c + four.z;
    *reinterpret_cast<uint4*>(memory.begins + first + i) = {a, b, c, d};
    begin = d + four.w;
  }
  if (threadIdx.x == kScanThreads - 1) memory.begins[memory.n_bins] = begin;
}

// What the ranks [begin, end) say about the quantiles, found by a warp.
struct Part {
  double lowest, highest, mean;
  bool ascending;
};

__device__ inline double mean_of_ranks(const Quantiles<float>& quantiles, std::int64_t begin,
                                       std::int64_t end) {
  double sum = 0;
  for (std::int64_t rank = begin + threadIdx.x % kLanes; rank < end; rank += kLanes)
    sum += quantile_at(quantiles, rank);
  return sum_of_warp(sum) / static_cast<double>(end - begin);
}

__device__ inline Part part_of_table(const Quantiles<float>& quantiles, std::int64_t begin,
                                     std::int64_t end) {
  double sum = 0;
  bool ascending = true;
  for (std::int64_t rank = begin + threadIdx.x % kLanes; rank < end; rank += kLanes) {
    const float value = quantiles.table[rank];
    sum += static_cast<double>(value);
    ascending &= rank + 1 < quantiles.n ? value <= quantiles.table[rank + 1] : fabsf(value) < 3.4e38f;
    ascending &= rank != 0 || fabsf(value) < 3.4e38f;
  }
  return {static_cast<double>(quantiles.table[begin]), static_cast<double>(quantiles.table[end - 1]),
          sum_of_warp(sum) / static_cast<double>(end - begin), __ballot_sync(kAllLanes, !ascending) == 0};
}

// As in csrc/bracket.cpp: the quantile function half a rank beyond the ranks bounds them, and Simpson's rule
// gives the mean, but at both ends, where the function may be steep, and at the floor.
__device__ inline Part part_of_spline(const Quantiles<float>& quantiles, std::int64_t begin,
                                      std::int64_t end) {
  constexpr std::int64_t kEnd = 256;
  const double n = static_cast<double>(quantiles.n), first = static_cast<double>(begin),
               last = static_cast<double>(end), floor = quantiles.spline.floor;
  const double lowest = spline_at(quantiles.spline, first, n);
  const double highest = spline_at(quantiles.spline, last, n);
  if (highest <= floor) return {highest, highest, highest, true};
  if (min(begin, quantiles.n - end) < kEnd || lowest <= floor || end - begin == 1)
    return {lowest, highest, mean_of_ranks(quantiles, begin, end), true};
  const double middle = spline_at(quantiles.spline, (first + last) / 2, n);
  return {lowest, highest, (lowest + 4 * middle + highest) / 6, true};
}

// A warp takes kBinsPerWarp bins. Shared memory: kBlockWarps doubles.
__global__ void fill_brackets(BracketMemory memory, Quantiles<float> quantiles) {
  Bins bins;
  if (!bins.choose(*memory.state, memory.n_bins)) return;
  const unsigned warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  // A warp would take long over a bin with many of the numbers, which would leave their signs open.
  const std::int64_t most = max(quantiles.n / 16, std::int64_t{4096});
  double variance = 0;
  for (unsigned i = 0; i < kBinsPerWarp; ++i) {
    const std::uint32_t bin = (blockIdx.x * kBlockWarps + warp) * kBinsPerWarp + i;
    const std::int64_t begin = memory.begins[bin], end = memory.begins[bin + 1];
    if (begin == end) continue;
    if (end - begin > most) {
      if (lane == 0) memory.state->undecided = 1;
      continue;
    }
    const Part part = quantiles.table != nullptr ? part_of_table(quantiles, begin, end)
                                                 : part_of_spline(quantiles, begin, end);
    if (lane != 0) continue;
    if (!part.ascending) memory.state->undecided = 1;
    const auto count = static_cast<double>(end - begin);
    const auto lowest = static_cast<float>(part.lowest), highest = static_cast<float>(part.highest),
               mean = static_cast<float>(part.mean);
    // A little more than the roundings here and in the subtraction from s can come to.
    const float slack = 4 * kEpsilon * fmaxf(fabsf(lowest), fabsf(highest));
    memory.brackets[bin] = {mean, fmaxf(mean - lowest, highest - mean) + slack};
    if (count > 1) {
      // The variance of a rank sum (Wilcoxon's) of half the numbers, in units of the quantiles' step.
      const double step = (part.highest - part.lowest) / (count - 1);
      variance += step * step * (count * count / 4) * (count + 1) / 12;
    }
  }
  const double sum = sum_of_block(variance, dynamic_shared<double>());
  if (threadIdx.x == 0) memory.variances[blockIdx.x] = sum;
}

// Shared memory: kBlockWarps doubles.
__global__ void classify(Similarities block, const float* codes, std::int64_t first_sum, float unit,
                         BracketMemory memory, float* out) {
  Bins bins;
  if (memory.state->undecided != 0 || !bins.choose(*memory.state, memory.n_bins)) return;
  const Place place(block);
  double sum = 0;
#pragma unroll
  for (unsigned v = 0; v < kVectors; ++v) {
    float s[4], t[4], signs[4];
    place.load(block.data, v, t);
    place.load(codes, v, s);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::int64_t column = place.column(v) + i;
      const bool counts = place.counts(column);
      std::uint32_t bin = 0;
      bool open = false;
      signs[i] = 0;
      if (counts) {
        bin = bins.of(t[i]);
        const Bracket bracket = memory.brackets[bin];
        const float distance = s[i] - bracket.mean;
        const float magnitude = fabsf(distance);
        sum += static_cast<double>(magnitude);
        open = magnitude <= bracket.reach;
        if (magnitude > bracket.reach) signs[i] = distance > 0 ? unit : -unit;
      }
      const unsigned all_open = __ballot_sync(kAllLanes, open);
      if (all_open == 0) continue;
      const unsigned lane = threadIdx.x % kLanes;
      std::uint32_t slot = 0;
      if (lane == 0) slot = atomicAdd(&memory.state->n_open, static_cast<std::uint32_t>(__popc(all_open)));
      slot = __shfl_sync(kAllLanes, slot, 0u) +
             static_cast<std::uint32_t>(__popc(all_open & ((1u << lane) - 1)));
      if (!open || slot >= memory.limits.open) continue;
      memory.open[slot] = {s[i], t[i], place.index(column)};
      const std::uint32_t count = memory.begins[bin + 1] - memory.begins[bin];
      if (atomicAdd(&memory.opened[bin], 1u) == 0)
        memory.starts[bin] = atomicAdd(&memory.state->n_collected, count);
      atomicAdd(&memory.state->comparisons, static_cast<unsigned long long>(count));
    }
    if (out != nullptr) place.store(signs, v, out);
  }
  sum = sum_of_block(sum, dynamic_shared<double>());
  if (threadIdx.x == 0) memory.sums[first_sum + blockIdx.x] = sum;
}

// Whether the open numbers can be ranked: known after classify.
__device__ inline bool within_limits(const BracketMemory& memory) {
  const BracketState& state = *memory.state;
  return state.undecided == 0 && state.n_open <= memory.limits.open &&
         state.n_collected <= memory.limits.collected && state.comparisons <= memory.limits.comparisons;
}

// The same where there are any, with the bins that they lie in.
__device__ inline bool choose_open(const BracketMemory& memory, Bins& bins) {
  return memory.state->n_open != 0 && within_limits(memory) && bins.choose(*memory.state, memory.n_bins);
}

// Orders numbers as a stable sort does.
__device__ inline unsigned long long stable_key(float t, std::uint32_t index) {
  return static_cast<unsigned long long>(order_key(t)) << 32 | index;
}

__global__ void collect_open_bins(Similarities block, BracketMemory memory) {
  Bins bins;
  if (!choose_open(memory, bins)) return;
  const Place place(block);
  place.each([&](std::int64_t column, float t) {
    const std::uint32_t bin = bins.of(t);
    if (memory.opened[bin] == 0) return;
    const std::uint32_t slot = memory.starts[bin] + atomicAdd(&memory.taken[bin], 1u);
    memory.collected[slot] = stable_key(t, place.index(column));
  });
}

// Units of the correction: of n numbers it cannot overflow, since each adds at most what the quantiles span.
__device__ inline double correction_scale(const Quantiles<float>& quantiles) {
  const double low = quantile_at(quantiles, 0), high = quantile_at(quantiles, quantiles.n - 1);
  const double most = high - low + 1e-5 * fmax(fabs(low), fabs(high)) + 1e-30;
  return 1e18 / (static_cast<double>(quantiles.n) * most);
}

// Ranks the open numbers, a warp each in turn. Writes signs * unit to `out` and signs to the list.
__global__ void resolve(BracketMemory memory, Quantiles<float> quantiles, float unit, float* out) {
  Bins bins;
  if (!choose_open(memory, bins)) return;
  const unsigned lane = threadIdx.x % kLanes;
  const std::uint32_t n_open = memory.state->n_open, warps = gridDim.x * kBlockWarps;
  const double scale = correction_scale(quantiles);
  for (std::uint32_t i = blockIdx.x * kBlockWarps + threadIdx.x / kLanes; i < n_open; i += warps) {
    const Open open = memory.open[i];
    const std::uint32_t bin = bins.of(open.t);
    const std::uint32_t begin = memory.begins[bin], count = memory.begins[bin + 1] - begin;
    const unsigned long long key = stable_key(open.t, open.index);
    std::uint32_t before = 0;
    for (std::uint32_t other = lane; other < count; other += kLanes)
      before += memory.collected[memory.starts[bin] + other] < key;
    before = sum_of_warp(before);
    if (lane != 0) continue;
    const float distance = open.s - static_cast<float>(quantile_at(quantiles, begin + before));
    const float sign = static_cast<float>((distance > 0) - (distance < 0));
    const double more =
        static_cast<double>(fabsf(distance)) - static_cast<double>(fabsf(open.s - memory.brackets[bin].mean));
    atomicAdd(reinterpret_cast<unsigned long long*>(&memory.state->correction),
              static_cast<unsigned long long>(llrint(more * scale)));
    memory.open[i].s = sign;
    if (out != nullptr) out[open.index] = sign * unit;
  }
}

// The loss, or that it is not known well enough. One block. Shared memory: kBlockWarps doubles.
__global__ void settle(BracketMemory memory, Quantiles<float> quantiles, std::int64_t n_sums,
                       double tolerance, float* loss) {
  if (!within_limits(memory)) {
    if (threadIdx.x == 0) memory.state->undecided = 1;
    return;
  }
  double sum = 0, variance = 0;
  for (std::int64_t i = threadIdx.x; i < n_sums; i += kBlockThreads) sum += memory.sums[i];
  for (std::int64_t i = threadIdx.x; i < memory.n_bins / kBinsPerBlock; i += kBlockThreads)
    variance += memory.variances[i];
  sum = sum_of_block(sum, dynamic_shared<double>());
  variance = sum_of_block(variance, dynamic_shared<double>());
  if (threadIdx.x != 0) return;
  sum += static_cast<double>(memory.state->correction) / correction_scale(quantiles);
  // Four standard deviations; moving a number from the negative to the positive signs counts twice.
  const double error = 4 * 2 * sqrt(variance);
  if (error <= tolerance * sum)
    *loss = static_cast<float>(sum / static_cast<double>(quantiles.n));
  else
    memory.state->undecided = 1;
}

// A warp takes an open pair in turn.
__global__ void add_open_pairs(BracketMemory memory, std::int64_t n_items, const float* directions,
                               std::int64_t k, long long* sums) {
  if (memory.state->undecided != 0) return;
  constexpr float kUnit = 4294967296.0f;
  const unsigned lane = threadIdx.x % kLanes;
  const std::uint32_t n_open = memory.state->n_open, warps = gridDim.x * kBlockWarps;
  for (std::uint32_t number = blockIdx.x * kBlockWarps + threadIdx.x / kLanes; number < n_open;
       number += warps) {
    const Open open = memory.open[number];
    std::int64_t i = 0, beyond = n_items - 1;  // the pair lies in row i, before that of `beyond`
    while (beyond - i > 1) {
      const std::int64_t middle = (i + beyond) / 2;
      if (pair_index(n_items, middle, middle + 1) <= open.index)
        i = middle;
      else
        beyond = middle;
    }
    const std::int64_t j = open.index - pair_index(n_items, i, i + 1) + i + 1;
    for (std::int64_t c = lane; c < k; c += kLanes) {
      const auto add = [&](std::int64_t to, std::int64_t from) {
        atomicAdd(reinterpret_cast<unsigned long long*>(sums + to * k + c),
                  static_cast<unsigned long long>(llrintf(open.s * directions[from * k + c] * kUnit)));
      };
      add(i, j);
      add(j, i);
    }
  }
}

}  // namespace sdc::cuda
