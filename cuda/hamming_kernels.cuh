// The kernels of exact Hamming search. What they compute together is a counting sort by distance that is cut
// off after k rows:
//
//   histogram   distances of a sample of the rows            bound      an upper bound on the k-th distance
//   scan<count> rows within the bound, by query, distance    place      counts → the position of the first of
//   them
//               and chunk                                               in the result, and the k-th distance
//               itself
//   scan<emit>  each row within it to its position
//
// scan_matrix does what scan does for many queries, with matrix units.
//
// A *chunk* is a run of rows that one warp walks in order, and rows of one distance are counted chunk by
// chunk, so that ties come out by row without a sort. Each (query, chunk) belongs to one warp alone: its
// counters are never shared, and the result does not depend on which warp is faster.
//
// Codes are held in words of 32 bits, W of them, a power of two; missing bytes are zero, which changes no
// distance.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "dynamic_shared.cuh"
#include "matrix_unit.cuh"

namespace sdc::cuda {

constexpr unsigned kLanes = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr unsigned kScanWarps = 8;                  // of a block
constexpr unsigned kQueriesPerWarp = 16;            // at most
constexpr unsigned kQueriesPerBlock = 64;           // at most, with matrix units
constexpr unsigned kColumns = 8, kMatrixRows = 16;  // of one product
constexpr unsigned kPlaceThreads = 256;
constexpr std::int32_t kNoDistance = 2147483647;

enum class Load : int { vectors, words, bytes };  // how rows can be read, by their width and alignment

struct Rows {
  const std::uint8_t* codes;
  std::int64_t n;
  int n_bytes;
  Load load;
  const std::uint8_t* mask;  // null: none
  bool packed;
};

// Query i of group g is row g * per_group + i; the chunk c has rows from c * chunk_rows on.
struct Split {
  unsigned n_queries, groups, per_group;
  unsigned chunks;
  std::int64_t chunk_rows;  // a multiple of kLanes
  bool matrix;              // a group is a block's, for scan_matrix; else a warp's, for scan
};

__device__ inline bool is_allowed(const Rows& rows, std::int64_t row) {
  if (row >= rows.n) return false;
  if (rows.mask == nullptr) return true;
  if (!rows.packed) return rows.mask[row] != 0;
  return ((rows.mask[row / 8] >> (7 - row % 8)) & 1) != 0;
}

// All offsets into `words` are known at compile time, so that it stays in registers.
template <int W>
__device__ inline void load_code(const std::uint8_t* code, int n_bytes, Load load,
                                 std::uint32_t (&words)[W]) {
  if (load == Load::vectors) {
    if constexpr (W == 1) {
      words[0] = *reinterpret_cast<const std::uint32_t*>(code);
    } else if constexpr (W == 2) {
      const uint2 pair = *reinterpret_cast<const uint2*>(code);
      words[0] = pair.x;
      words[1] = pair.y;
    } else {
#pragma unroll
      for (int i = 0; i < W; i += 4) {
        const uint4 four = reinterpret_cast<const uint4*>(code)[i / 4];
        words[i] = four.x;
        words[i + 1] = four.y;
        words[i + 2] = four.z;
        words[i + 3] = four.w;
      }
    }
  } else if (load == Load::words) {
#pragma unroll
    for (int i = 0; i < W; ++i)
      words[i] = 4 * i < n_bytes ? reinterpret_cast<const std::uint32_t*>(code)[i] : 0;
  } else {
#pragma unroll
    for (int i = 0; i < W; ++i) {
      words[i] = 0;
#pragma unroll
      for (int b = 0; b < 4; ++b)
        if (4 * i + b < n_bytes) words[i] |= static_cast<std::uint32_t>(code[4 * i + b]) << (8 * b);
    }
  }
}

// Copies a query into memory that the warp shares.
template <int W>
__device__ inline void share_query(const std::uint8_t* query, int n_bytes, std::uint32_t* shared) {
  for (int i = static_cast<int>(threadIdx.x % kLanes); i < W; i += static_cast<int>(kLanes)) {
    std::uint32_t word = 0;
    for (int b = 0; b < 4 && 4 * i + b < n_bytes; ++b)
      word |= static_cast<std::uint32_t>(query[4 * i + b]) << (8 * b);
    shared[i] = word;
  }
}

template <int W>
__device__ inline int distance_of(const std::uint32_t (&code)[W], const std::uint32_t* query) {
  int distance = 0;
  if constexpr (W >= 4) {
#pragma unroll
    for (int i = 0; i < W; i += 4) {
      const uint4 four = *reinterpret_cast<const uint4*>(query + i);
      distance += __popc(code[i] ^ four.x) + __popc(code[i + 1] ^ four.y) + __popc(code[i + 2] ^ four.z) +
                  __popc(code[i + 3] ^ four.w);
    }
  } else if constexpr (W == 2) {
    const uint2 pair = *reinterpret_cast<const uint2*>(query);
    distance = __popc(code[0] ^ pair.x) + __popc(code[1] ^ pair.y);
  } else {
    distance = __popc(code[0] ^ query[0]);
  }
  return distance;
}

// Adds the distances of every step-th tile of kLanes rows to histogram (n_queries, bins). One warp takes one
// query and one of `slices` of these tiles. Shared memory: bins, rounded up to four, + W words a warp.
template <int W>
__global__ void histogram(Rows rows, const std::uint8_t* queries, unsigned n_queries, int bins, unsigned step,
                          unsigned slices, std::uint32_t* counts) {
  const unsigned warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const unsigned unit = blockIdx.x * (blockDim.x / kLanes) + warp;
  if (unit >= n_queries * slices) return;
  const unsigned query = unit % n_queries, slice = unit / n_queries;
  const unsigned counters = (static_cast<unsigned>(bins) + 3) / 4 * 4;
  std::uint32_t* own = dynamic_shared<std::uint32_t>() + warp * (counters + W);
  std::uint32_t* shared_query = own + counters;
  for (unsigned i = lane; i < counters; i += kLanes) own[i] = 0;
  share_query<W>(queries + static_cast<std::int64_t>(query) * rows.n_bytes, rows.n_bytes, shared_query);
  __syncwarp();

  const std::int64_t stride = static_cast<std::int64_t>(step) * slices * kLanes;
  for (std::int64_t row = static_cast<std::int64_t>(slice) * step * kLanes + lane; row < rows.n;
       row += stride) {
    if (!is_allowed(rows, row)) continue;
    std::uint32_t code[W];
    load_code<W>(rows.codes + row * rows.n_bytes, rows.n_bytes, rows.load, code);
    atomicAdd(&own[distance_of<W>(code, shared_query)], 1u);
  }
  __syncwarp();
  for (unsigned i = lane; i < static_cast<unsigned>(bins); i += kLanes)
    if (own[i] != 0) atomicAdd(&counts[static_cast<std::int64_t>(query) * bins + i], own[i]);
}

__device__ inline std::uint32_t inclusive_sum_of_warp(std::uint32_t value) {
  const unsigned lane = threadIdx.x % kLanes;
#pragma unroll
  for (unsigned offset = 1; offset < kLanes; offset *= 2) {
    const std::uint32_t before = __shfl_up_sync(kAllLanes, value, offset);
    if (lane >= offset) value += before;
  }
  return value;
}

// bounds[q] = the smallest distance within which query q has k rows of the sample, and so at least k in all;
// the largest distance where the sample has fewer. One warp a query.
__global__ void bound(const std::uint32_t* counts, unsigned n_queries, int bins, std::uint32_t k,
                      std::int32_t* bounds) {
  const unsigned query = blockIdx.x * (blockDim.x / kLanes) + threadIdx.x / kLanes,
                 lane = threadIdx.x % kLanes;
  if (query >= n_queries) return;
  const std::uint32_t* own = counts + static_cast<std::int64_t>(query) * bins;
  std::uint32_t before = 0;
  int found = bins - 1;
  for (int first = 0; first < bins; first += static_cast<int>(kLanes)) {
    const int bin = first + static_cast<int>(lane);
    const std::uint32_t sum = before + inclusive_sum_of_warp(bin < bins ? own[bin] : 0);
    const unsigned enough = __ballot_sync(kAllLanes, sum >= k);
    if (enough != 0) {
      found = min(found, first + __ffs(static_cast<int>(enough)) - 1);
      break;
    }
    before = __shfl_sync(kAllLanes, sum, kLanes - 1);
  }
  if (lane == 0) bounds[query] = found;
}

enum class Pass { count, emit, distances };

// Where the results of emit and distances go; query q's begin at q * stride, or first[q].
struct Results {
  std::int32_t* distances;
  std::int64_t* ids;
  const std::int64_t* first;  // null: q * stride
  std::int64_t stride;
  std::uint32_t limit;  // positions from here on are dropped
};

// Counts the rows that are hits, or writes them to their positions. All lanes of a warp call it, each with a
// row and a query; those with the same query must have rows that rise with the lane. own_query counts from
// first_query.
template <Pass pass>
__device__ inline void record(bool hit, int distance, unsigned own_query, unsigned first_query,
                              std::int64_t row, int bins, unsigned chunks, std::int64_t chunk,
                              std::uint32_t* places, const Results& results) {
  constexpr unsigned kDistances = 4096;
  const unsigned lane = threadIdx.x % kLanes;
  const unsigned key = own_query * kDistances + static_cast<unsigned>(distance);
  const unsigned equal = __match_any_sync(kAllLanes, hit ? key : 0xffffffffu);
  if (!hit) return;
  const unsigned leader = static_cast<unsigned>(__ffs(static_cast<int>(equal))) - 1;
  const std::int64_t query = static_cast<std::int64_t>(first_query) + own_query;
  std::uint32_t* place = places + (query * bins + distance) * chunks + chunk;
  std::uint32_t position = 0;
  if (lane == leader) position = atomicAdd(place, static_cast<std::uint32_t>(__popc(equal)));
  if constexpr (pass == Pass::emit) {
    position =
        __shfl_sync(equal, position, leader) + static_cast<std::uint32_t>(__popc(equal & ((1u << lane) - 1)));
    if (position >= results.limit) return;
    const std::int64_t at =
        (results.first == nullptr ? query * results.stride : results.first[query]) + position;
    results.distances[at] = distance;
    results.ids[at] = row;
  }
}

// One warp takes one group of queries and one chunk of rows, a row a lane.
//
// count      places[q][d][c] += the rows of chunk c at distance d from query q, for d <= bounds[q]
// emit       writes each of them to its position, which places[q][d][c] tells for the first
// distances  writes every distance
//
// Shared memory: kScanWarps * per_group * W words.
template <int W, Pass pass>
__global__ void scan(Rows rows, const std::uint8_t* queries, Split split, int bins,
                     const std::int32_t* bounds, std::uint32_t* places, Results results) {
  const unsigned warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  // The warps of a block share a chunk where there are enough groups, so that rows are read from memory once.
  const std::int64_t unit = static_cast<std::int64_t>(blockIdx.x) * kScanWarps + warp;
  const unsigned group = static_cast<unsigned>(unit % split.groups);
  const std::int64_t chunk = unit / split.groups;
  if (chunk >= split.chunks) return;
  const unsigned first_query = group * split.per_group;
  if (first_query >= split.n_queries) return;
  const unsigned n_queries = min(split.per_group, split.n_queries - first_query);

  std::uint32_t* own = dynamic_shared<std::uint32_t>() + warp * split.per_group * W;
  for (unsigned i = 0; i < n_queries; ++i)
    share_query<W>(queries + static_cast<std::int64_t>(first_query + i) * rows.n_bytes, rows.n_bytes,
                   own + i * W);
  // Lane i keeps the bound of query i.
  int own_bound = -1;
  if constexpr (pass != Pass::distances)
    if (lane < n_queries) own_bound = bounds[first_query + lane];
  __syncwarp();

  const std::int64_t begin = chunk * split.chunk_rows;
  const std::int64_t end = min(begin + split.chunk_rows, rows.n);
  for (std::int64_t first_row = begin; first_row < end; first_row += kLanes) {
    const std::int64_t row = first_row + lane;
    const bool allowed = is_allowed(rows, row);
    std::uint32_t code[W] = {};
    if (allowed) load_code<W>(rows.codes + row * rows.n_bytes, rows.n_bytes, rows.load, code);
    for (unsigned i = 0; i < n_queries; ++i) {
      const int distance = distance_of<W>(code, own + i * W);
      if constexpr (pass == Pass::distances) {
        if (allowed)
          results.distances[(static_cast<std::int64_t>(first_query) + i) * results.stride + row] = distance;
      } else {
        const int query_bound = __shfl_sync(kAllLanes, own_bound, i);
        const bool hit = allowed && distance <= query_bound;
        if (__any_sync(kAllLanes, hit))
          record<pass>(hit, distance, i, first_query, row, bins, split.chunks, chunk, places, results);
      }
    }
  }
}

// The code's word i, zero beyond its end.
__device__ inline std::uint32_t load_word(const std::uint8_t* code, int i, int n_bytes, Load load) {
  if (load != Load::bytes) return 4 * i < n_bytes ? reinterpret_cast<const std::uint32_t*>(code)[i] : 0;
  std::uint32_t word = 0;
#pragma unroll
  for (int b = 0; b < 4; ++b)
    if (4 * i + b < n_bytes) word |= static_cast<std::uint32_t>(code[4 * i + b]) << (8 * b);
  return word;
}

// What scan does, for many queries: the matrix units count the ones that codes a and queries b have in
// common, and their distance is |a| + |b| - 2 |a and b|. A block takes one group of queries, a multiple of
// kColumns, each of its warps one chunk of rows, and 16 rows of it at a time.
//
// Shared memory: per_group * (matrix_stride<W>() + 2) words.
template <int W>
__host__ __device__ constexpr int matrix_words() {
  return W < 4 ? 4 : W;
}
template <int W>
__host__ __device__ constexpr int matrix_stride() {
  return matrix_words<W>() + 4;  // so that the lanes of a warp read from different banks
}

template <int W, Pass pass>
__global__ void scan_matrix(Rows rows, const std::uint8_t* queries, Split split, int bins,
                            const std::int32_t* bounds, std::uint32_t* places, Results results) {
  constexpr int kWords = matrix_words<W>(), kStride = matrix_stride<W>();
  constexpr int K = kWords >= 8 ? 256 : 128;
  constexpr int kSteps = 32 * kWords / K, kHalves = K / 128;
  constexpr int kNever = 1 << 20;  // ones of a row that may not be returned: more than any distance
  const unsigned warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const unsigned part = lane % 4;
  const unsigned group = blockIdx.x % split.groups;
  const std::int64_t chunk = static_cast<std::int64_t>(blockIdx.x / split.groups) * kScanWarps + warp;
  const unsigned first_query = group * split.per_group;
  const unsigned n_queries =
      first_query < split.n_queries ? min(split.per_group, split.n_queries - first_query) : 0;

  std::uint32_t* words = dynamic_shared<std::uint32_t>();
  int* ones = reinterpret_cast<int*>(words + split.per_group * kStride);  // of each query
  int* within = ones + split.per_group;                                   // each query's bound
  for (unsigned i = warp; i < split.per_group; i += kScanWarps) {
    const std::uint8_t* query = queries + (static_cast<std::int64_t>(first_query) + i) * rows.n_bytes;
    int count = 0;
    for (int word = static_cast<int>(lane); word < kWords; word += static_cast<int>(kLanes)) {
      const std::uint32_t value = i < n_queries ? load_word(query, word, rows.n_bytes, Load::bytes) : 0;
      words[i * kStride + word] = value;
      count += __popc(value);
    }
#pragma unroll
    for (unsigned bits = 16; bits != 0; bits /= 2) count += __shfl_xor_sync(kAllLanes, count, bits);
    if (lane == 0) {
      ones[i] = count;
      within[i] = i < n_queries ? bounds[first_query + i] : -1;
    }
  }
  __syncthreads();
  if (chunk >= split.chunks) return;

  const std::int64_t begin = chunk * split.chunk_rows;
  const std::int64_t end = min(begin + split.chunk_rows, rows.n);
  for (std::int64_t first_row = begin; first_row < end; first_row += kMatrixRows) {
    std::uint32_t a[kSteps][2 * kHalves];
    int row_ones[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t row = first_row + lane / 4 + 8 * half;
      const bool allowed = is_allowed(rows, row);
      const std::uint8_t* code = rows.codes + row * rows.n_bytes;
      int count = 0;
#pragma unroll
      for (int i = 0; i < kSteps * kHalves; ++i) {
        const std::uint32_t word =
            allowed ? load_word(code, 4 * i + static_cast<int>(part), rows.n_bytes, rows.load) : 0;
        a[i / kHalves][i % kHalves * 2 + half] = word;
        count += __popc(word);
      }
      count += __shfl_xor_sync(kAllLanes, count, 1u);
      count += __shfl_xor_sync(kAllLanes, count, 2u);
      row_ones[half] = allowed ? count : kNever;
    }
    for (unsigned column = 0; column < n_queries; column += kColumns) {
      int common[4] = {0, 0, 0, 0};
      const std::uint32_t* query = words + (column + lane / 4) * kStride + part;
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        std::uint32_t b[kHalves];
#pragma unroll
        for (int half = 0; half < kHalves; ++half) b[half] = query[(step * kHalves + half) * 4];
        add_common_ones<K, (W < 64)>(common, a[step], b);
      }
      const unsigned own = column + 2 * part;
      int distance[4];
      bool hit[4];
#pragma unroll
      for (unsigned i = 0; i < 4; ++i) {
        distance[i] = row_ones[i / 2] + ones[own + i % 2] - 2 * common[i];
        hit[i] = distance[i] <= within[own + i % 2];
      }
      if (!__any_sync(kAllLanes, hit[0] || hit[1] || hit[2] || hit[3])) continue;
#pragma unroll
      for (unsigned i = 0; i < 4; ++i)  // rows r before rows r + 8
        record<pass>(hit[i], distance[i], own + i % 2, first_query, first_row + lane / 4 + i / 2 * 8, bins,
                     split.chunks, chunk, places, results);
      __syncwarp();  // a product needs its lanes together again
    }
  }
}

// Turns the counts of query blockIdx.x into positions: places[d][c] = the number of rows counted at smaller
// distances, or at d in chunks before c. Lowers the query's bound to the distance of the row at position
// limit - 1. Writes the number of rows within limit to totals, if given, and fills the rest of distances and
// ids, if given. Shared memory: kPlaceThreads / kLanes + 1 words.
__global__ void place(std::uint32_t* places, int bins, unsigned chunks, std::int32_t* bounds,
                      std::int64_t* totals, Results results) {
  constexpr unsigned kWarps = kPlaceThreads / kLanes;
  const unsigned query = blockIdx.x, warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  std::uint32_t* sums = dynamic_shared<std::uint32_t>();
  int* last_bin = reinterpret_cast<int*>(sums + kWarps);  // with a row within the limit
  if (threadIdx.x == 0) *last_bin = -1;
  std::uint32_t* own = places + static_cast<std::int64_t>(query) * bins * chunks;
  const std::int64_t n = (static_cast<std::int64_t>(bounds[query]) + 1) * chunks;
  std::uint32_t before = 0;
  for (std::int64_t first = 0; first < n; first += kPlaceThreads) {
    const std::int64_t i = first + threadIdx.x;
    const std::uint32_t count = i < n ? own[i] : 0;
    const std::uint32_t inclusive = inclusive_sum_of_warp(count);
    if (lane == kLanes - 1) sums[warp] = inclusive;
    __syncthreads();
    std::uint32_t position = before + inclusive - count;
    for (unsigned w = 0; w < kWarps; ++w) {
      if (w < warp) position += sums[w];
      before += sums[w];
    }
    if (i < n) own[i] = position;
    if (count != 0 && position < results.limit) atomicMax(last_bin, static_cast<int>(i / chunks));
    __syncthreads();
    // All chunks of the last distance must have their positions before the rest can be left out.
    if (before >= results.limit &&
        first + kPlaceThreads >= (static_cast<std::int64_t>(*last_bin) + 1) * chunks)
      break;
  }
  __syncthreads();
  const std::uint32_t total = min(before, results.limit);
  if (threadIdx.x == 0) {
    bounds[query] = *last_bin;
    if (totals != nullptr) totals[query] = total;
  }
  if (results.ids == nullptr) return;
  for (std::int64_t i = static_cast<std::int64_t>(total) + threadIdx.x; i < results.stride;
       i += kPlaceThreads) {
    results.distances[query * results.stride + i] = kNoDistance;
    results.ids[query * results.stride + i] = -1;
  }
}

// bounds[i] = value.
__global__ void set_bounds(std::int32_t* bounds, unsigned n, std::int32_t value) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) bounds[i] = value;
}

}  // namespace sdc::cuda
