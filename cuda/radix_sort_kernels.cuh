// The kernels of a stable sort of rows of real numbers: least significant digit first, 8 bits a pass.
//
//   sort_rows_in_blocks   a row that fits the shared memory of a block: all passes there
//   count_digits          longer rows: how often each digit occurs, for all passes at once
//   sort_pass             one pass: each tile ranks its numbers by their digit, learns from the tiles before
//   it
//                         how many of each digit they hold, and moves its numbers to their places
//
// A tile learns that by looking back (Merrill & Garland, "Single-pass parallel prefix scan with decoupled
// look-back", 2016): tiles take their numbers in the order in which they start, so that those before one are
// running or done, and it may wait for them. What a tile publishes is one word, so that no fence is needed.
//
// With `needed`, a kernel returns at once where *needed is 0: the sort may be launched before it is known
// whether it will be wanted.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "block_sums.cuh"
#include "dynamic_shared.cuh"
#include "order_keys.cuh"
#include "radix_sort.h"

namespace sdc::cuda {

constexpr unsigned kDigitBits = 8, kDigits = 1 << kDigitBits;
static_assert(kDigits == kBlockThreads, "a thread looks after one digit");

template <class Real>
constexpr unsigned kPasses = 8 * sizeof(Real) / kDigitBits;
// Of a thread in a tile: as many as shared memory holds.
template <class Real>
constexpr unsigned kTileItems = 64 / sizeof(Real);
template <class Real>
constexpr unsigned kTile = kBlockThreads * kTileItems<Real>;

// What a block keeps of its tile.
template <class Key, unsigned kItems>
struct Tile {
  Key keys[kBlockThreads * kItems];
  std::uint32_t order[kBlockThreads * kItems];
  std::uint32_t counts[kBlockWarps][kDigits];  // of each warp; later where its numbers of a digit go
  std::uint32_t starts[kDigits];
  std::uint32_t sums[kBlockWarps];
};

template <class Key>
__device__ inline unsigned digit_of(Key key, unsigned pass) {
  return static_cast<unsigned>(key >> (kDigitBits * pass)) % kDigits;
}

// Item i of a thread lies at place_of(i) of the tile: warp by warp, a warp's items side by side.
template <unsigned kItems>
__device__ inline unsigned place_of(unsigned i) {
  return (threadIdx.x / kLanes * kItems + i) * kLanes + threadIdx.x % kLanes;
}

// Where the items go when the tile is ordered by one digit, stably. tile.starts[digit] becomes the first
// place of a digit; the count of digit threadIdx.x is returned.
template <class Key, unsigned kItems>
__device__ inline std::uint32_t rank_by_digit(const Key (&keys)[kItems], unsigned pass,
                                              Tile<Key, kItems>& tile, std::uint32_t (&ranks)[kItems]) {
  const unsigned warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  std::uint32_t* counts = tile.counts[warp];
  for (unsigned digit = lane; digit < kDigits; digit += kLanes) counts[digit] = 0;
  __syncwarp();
#pragma unroll
  for (unsigned i = 0; i < kItems; ++i) {
    const unsigned digit = digit_of(keys[i], pass);
    const unsigned equal = __match_any_sync(kAllLanes, digit);
    const auto before = static_cast<unsigned>(__popc(equal & ((1u << lane) - 1)));
    const std::uint32_t counted = counts[digit];
    __syncwarp();
    if (before == 0) counts[digit] = counted + static_cast<unsigned>(__popc(equal));
    __syncwarp();
    ranks[i] = counted + before;
  }
  __syncthreads();
  std::uint32_t count = 0;
#pragma unroll
  for (unsigned w = 0; w < kBlockWarps; ++w) {
    const std::uint32_t own = tile.counts[w][threadIdx.x];
    tile.counts[w][threadIdx.x] = count;
    count += own;
  }
  std::uint32_t total;
  tile.starts[threadIdx.x] = exclusive_sum_of_block(count, tile.sums, &total);
  __syncthreads();
#pragma unroll
  for (unsigned i = 0; i < kItems; ++i) {
    const unsigned digit = digit_of(keys[i], pass);
    ranks[i] += tile.starts[digit] + counts[digit];
  }
  return count;
}

template <class Key, unsigned kItems>
__device__ inline void place_in_tile(const Key (&keys)[kItems], const std::uint32_t (&order)[kItems],
                                     const std::uint32_t (&ranks)[kItems], Tile<Key, kItems>& tile) {
#pragma unroll
  for (unsigned i = 0; i < kItems; ++i) {
    tile.keys[ranks[i]] = keys[i];
    tile.order[ranks[i]] = order[i];
  }
}

// One block a row, of at most kBlockThreads * kItems numbers. Shared memory: a Tile.
template <class Real, unsigned kItems>
__global__ void sort_rows_in_blocks(const Real* values, std::int64_t n, const std::int32_t* needed,
                                    KeyOf<Real>* sorted, std::uint32_t* sorted_order, std::int32_t* has_nan) {
  if (needed != nullptr && *needed == 0) return;
  auto& tile = *dynamic_shared<Tile<KeyOf<Real>, kItems>>();
  const std::int64_t first = blockIdx.x * n;
  KeyOf<Real> keys[kItems];
#pragma unroll
  for (unsigned i = 0; i < kItems; ++i) {
    const unsigned place = place_of<kItems>(i);
    // What is beyond the row comes last: its keys are the largest, and the sort is stable.
    keys[i] = place < n ? order_key(values[first + place]) : ~KeyOf<Real>{0};
    if (place < n && keys[i] == ~KeyOf<Real>{0}) has_nan[blockIdx.x] = 1;
    tile.order[place] = place;
  }
#pragma unroll 1  // which would want more registers than there are
  for (unsigned pass = 0; pass < kPasses<Real>; ++pass) {
    std::uint32_t order[kItems], ranks[kItems];
    rank_by_digit(keys, pass, tile, ranks);
#pragma unroll
    for (unsigned i = 0; i < kItems; ++i) order[i] = tile.order[place_of<kItems>(i)];
    __syncthreads();
    place_in_tile(keys, order, ranks, tile);
    __syncthreads();
#pragma unroll
    for (unsigned i = 0; i < kItems; ++i) keys[i] = tile.keys[place_of<kItems>(i)];
  }
#pragma unroll
  for (unsigned i = 0; i < kItems; ++i) {
    const unsigned place = place_of<kItems>(i);
    if (place >= n) continue;
    sorted[first + place] = keys[i];
    sorted_order[first + place] = tile.order[place];
  }
}

// Adds up histograms (rows, passes, kDigits), and clears what the passes publish, progress (passes, blocks,
// kDigits). One block a tile. Shared memory: kPasses * kDigits words.
template <class Real>
__global__ void count_digits(const Real* values, std::int64_t n, unsigned tiles, const std::int32_t* needed,
                             std::uint32_t* histograms, unsigned long long* progress, std::int32_t* has_nan) {
  if (needed != nullptr && *needed == 0) return;
  auto* counts = dynamic_shared<std::uint32_t>();
  const std::int64_t row = blockIdx.x / tiles, begin = blockIdx.x % tiles * std::int64_t{kTile<Real>};
  for (unsigned pass = 0; pass < kPasses<Real>; ++pass) {
    counts[pass * kDigits + threadIdx.x] = 0;
    progress[(static_cast<std::int64_t>(pass) * gridDim.x + blockIdx.x) * kDigits + threadIdx.x] = 0;
  }
  __syncthreads();
  const std::int64_t end = min(n, begin + std::int64_t{kTile<Real>});
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kBlockThreads) {
    const KeyOf<Real> key = order_key(values[row * n + i]);
    if (key == ~KeyOf<Real>{0}) has_nan[row] = 1;
#pragma unroll
    for (unsigned pass = 0; pass < kPasses<Real>; ++pass)
      atomicAdd(&counts[pass * kDigits + digit_of(key, pass)], 1u);
  }
  __syncthreads();
  for (unsigned pass = 0; pass < kPasses<Real>; ++pass) {
    const std::uint32_t count = counts[pass * kDigits + threadIdx.x];
    if (count != 0) atomicAdd(&histograms[(row * kPasses<Real> + pass) * kDigits + threadIdx.x], count);
  }
}

constexpr unsigned long long kOwnCount = 1ull << 62, kCountWithAllBefore = 2ull << 62;

// How many numbers of this thread's digit the tiles before hold, after saying how many this one does.
__device__ inline std::uint32_t count_before(unsigned long long* own, unsigned tile, std::uint32_t count) {
  if (tile == 0) {
    atomicExch(own, kCountWithAllBefore | count);
    return 0;
  }
  atomicExch(own, kOwnCount | count);
  std::uint32_t before = 0;
  for (const volatile unsigned long long* other = own - kDigits;;) {
    const unsigned long long word = *other;
    if (word == 0) continue;  // it is still counting
    before += static_cast<std::uint32_t>(word);
    if (word >= kCountWithAllBefore) break;
    other -= kDigits;
  }
  atomicExch(own, kCountWithAllBefore | (before + count));
  return before;
}

// Moves numbers and their indices to where one digit wants them; the first pass takes them from `values`. One
// block a tile. Shared memory: a Tile.
template <class Real, bool first_pass>
__global__ void sort_pass(const Real* values, const KeyOf<Real>* keys_in, const std::uint32_t* order_in,
                          std::int64_t n, unsigned tiles, unsigned pass, const std::int32_t* needed,
                          const std::uint32_t* histograms, unsigned long long* progress, unsigned* tickets,
                          KeyOf<Real>* keys_out, std::uint32_t* order_out) {
  if (needed != nullptr && *needed == 0) return;
  constexpr unsigned kItems = kTileItems<Real>;
  auto& tile = *dynamic_shared<Tile<KeyOf<Real>, kItems>>();
  if (threadIdx.x == 0) tile.sums[0] = atomicAdd(&tickets[pass], 1u);
  __syncthreads();
  const unsigned number = tile.sums[0];
  __syncthreads();
  const std::int64_t row = number / tiles, begin = number % tiles * std::int64_t{kTile<Real>};
  const std::int64_t size = min(n - begin, std::int64_t{kTile<Real>});

  KeyOf<Real> keys[kItems];
  std::uint32_t order[kItems], ranks[kItems];
#pragma unroll
  for (unsigned i = 0; i < kItems; ++i) {
    const std::int64_t place = place_of<kItems>(i), at = row * n + begin + place;
    keys[i] = ~KeyOf<Real>{0};
    order[i] = 0;
    if (place >= size) continue;
    keys[i] = first_pass ? order_key(values[at]) : keys_in[at];
    order[i] = first_pass ? static_cast<std::uint32_t>(begin + place) : order_in[at];
  }
  const std::uint32_t count = rank_by_digit(keys, pass, tile, ranks);
  // The last tile counts what is beyond the row, but nobody comes after it.
  unsigned long long* own = progress + static_cast<std::int64_t>(number) * kDigits + threadIdx.x;
  const std::uint32_t before = count_before(own, number % tiles, count);
  std::uint32_t total;
  const std::uint32_t start = exclusive_sum_of_block(
      histograms[(row * kPasses<Real> + pass) * kDigits + threadIdx.x], tile.sums, &total);
  tile.starts[threadIdx.x] = start + before - tile.starts[threadIdx.x];
  place_in_tile(keys, order, ranks, tile);
  __syncthreads();
  for (unsigned place = threadIdx.x; place < size; place += kBlockThreads) {
    const KeyOf<Real> key = tile.keys[place];
    const std::int64_t at = row * n + (tile.starts[digit_of(key, pass)] + place);
    keys_out[at] = key;
    order_out[at] = tile.order[place];
  }
}

}  // namespace sdc::cuda
