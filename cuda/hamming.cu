#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "hamming.h"
#include "hamming_kernels.cuh"
#include "launch.cuh"

namespace sdc::cuda {
namespace {

// A warp for each of these and more would only make the counters larger.
constexpr std::int64_t kWarpsPerMultiprocessor = 64;
constexpr std::int64_t kMinChunkRows = 256;
constexpr std::int64_t kMaxCounters = std::int64_t{1} << 26;  // 256 MB
// A sample of every 16th tile bounds the k-th distance well; of fewer rows than 8 k it would not.
constexpr std::int64_t kSampleStep = 16;
constexpr std::int64_t kSampleRowsPerNeighbour = 8;
constexpr std::size_t kSharedBytes = 48 * 1024;  // what a block gets on every device without asking

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

int bins_of(int n_bytes) { return 8 * n_bytes + 1; }

int multiprocessors(int device) {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

void check_sizes(std::int64_t n, int n_bytes, std::int64_t n_queries) {
  if (n < 0 || n >= std::int64_t{1} << 31) throw std::invalid_argument("n must be below 2^31");
  if (n_bytes < 1 || n_bytes > kMaxCodeBytes) throw std::invalid_argument("n_bytes must be from 1 to 256");
  if (n_queries < 0 || n_queries > max_queries(n_bytes))
    throw std::invalid_argument("there may be at most " + std::to_string(max_queries(n_bytes)) + " queries");
}

// From here on the matrix units are expected to win: they multiply 8 queries at once, and POPC is slow.
constexpr int kMatrixQueries = 48;

Split split_of(std::int64_t n, int n_bytes, int n_queries, int device, bool may_use_matrix) {
  const bool matrix = may_use_matrix && n_queries >= kMatrixQueries;
  const std::int64_t groups = ceil_div(n_queries, matrix ? kQueriesPerBlock : kQueriesPerWarp);
  const std::int64_t columns = matrix ? kColumns : 1;
  const std::int64_t per_group = ceil_div(ceil_div(n_queries, groups), columns) * columns;
  const std::int64_t wanted = ceil_div(kWarpsPerMultiprocessor * multiprocessors(device), groups);
  const std::int64_t most =
      std::min(ceil_div(n, kMinChunkRows), kMaxCounters / (bins_of(n_bytes) * n_queries));
  const std::int64_t chunks = std::max<std::int64_t>(1, std::min(wanted, most));
  const std::int64_t rows = std::max<std::int64_t>(1, ceil_div(ceil_div(n, chunks), kLanes)) * kLanes;
  return {static_cast<unsigned>(n_queries),
          static_cast<unsigned>(groups),
          static_cast<unsigned>(per_group),
          static_cast<unsigned>(std::max<std::int64_t>(1, ceil_div(n, rows))),
          rows,
          matrix};
}

Rows rows_of(const Codes& codes, const Mask& mask) {
  const auto address = reinterpret_cast<std::uintptr_t>(codes.data);
  const auto divides = [&](std::uintptr_t bytes) { return address % bytes == 0; };
  const bool power_of_two = codes.n_bytes >= 4 && (codes.n_bytes & (codes.n_bytes - 1)) == 0;
  Load load = Load::bytes;
  if (power_of_two && divides(std::min<std::uintptr_t>(16, static_cast<std::uintptr_t>(codes.n_bytes))))
    load = Load::vectors;
  else if (codes.n_bytes % 4 == 0 && divides(4))
    load = Load::words;
  return {codes.data, codes.n, codes.n_bytes, load, mask.data, mask.packed};
}

// Calls run<W>() for the words of a code.
template <class Run>
void for_words(int n_bytes, const Run& run) {
  if (n_bytes <= 4) return run.template operator()<1>();
  if (n_bytes <= 8) return run.template operator()<2>();
  if (n_bytes <= 16) return run.template operator()<4>();
  if (n_bytes <= 32) return run.template operator()<8>();
  if (n_bytes <= 64) return run.template operator()<16>();
  if (n_bytes <= 128) return run.template operator()<32>();
  run.template operator()<64>();
}

// The three parts of a workspace.
struct Parts {
  std::uint32_t* places;     // (n_queries, bins, chunks)
  std::uint32_t* histogram;  // (n_queries, bins)
  std::int32_t* bounds;      // (n_queries,)
  std::int64_t counters;     // of places and histogram, which lie side by side
};

std::int64_t counters_of(int n_bytes, const Split& split) {
  return std::int64_t{split.n_queries} * bins_of(n_bytes) * (split.chunks + std::int64_t{1});
}

Parts parts_of(const Workspace& workspace, int n_bytes, const Split& split) {
  const std::int64_t counters = counters_of(n_bytes, split);
  if (workspace.bytes < sizeof(std::uint32_t) * static_cast<std::size_t>(counters + split.n_queries))
    throw std::invalid_argument("the workspace is too small");
  auto* places = static_cast<std::uint32_t*>(workspace.data);
  return {places, places + std::int64_t{split.n_queries} * bins_of(n_bytes) * split.chunks,
          reinterpret_cast<std::int32_t*>(places + counters), counters};
}

template <Pass pass>
struct Scan {
  const Rows& rows;
  const std::uint8_t* queries;
  const Split& split;
  std::int32_t* bounds;
  std::uint32_t* places;
  const Results& results;
  cudaStream_t stream;

  template <int W>
  void operator()() const {
    if constexpr (pass != Pass::distances)
      if (split.matrix)
        return launch(scan_matrix<W, pass>,
                      static_cast<unsigned>(split.groups * ceil_div(split.chunks, kScanWarps)),
                      kScanWarps * kLanes, sizeof(std::uint32_t) * split.per_group * (matrix_stride<W>() + 2),
                      stream, rows, queries, split, bins_of(rows.n_bytes),
                      static_cast<const std::int32_t*>(bounds), places, results);
    const std::int64_t blocks = ceil_div(std::int64_t{split.groups} * split.chunks, kScanWarps);
    launch(scan<W, pass>, static_cast<unsigned>(blocks), kScanWarps * kLanes,
           sizeof(std::uint32_t) * kScanWarps * split.per_group * W, stream, rows, queries, split,
           bins_of(rows.n_bytes), static_cast<const std::int32_t*>(bounds), places, results);
  }
};

struct Histogram {
  const Rows& rows;
  const std::uint8_t* queries;
  unsigned n_queries;
  unsigned step;
  std::int64_t warps;  // wanted
  std::uint32_t* counts;
  cudaStream_t stream;

  template <int W>
  void operator()() const {
    const int bins = bins_of(rows.n_bytes);
    const std::int64_t tiles = ceil_div(ceil_div(rows.n, kLanes), step);
    const std::int64_t slices = std::max<std::int64_t>(
        1, std::min(ceil_div(warps, n_queries), ceil_div(tiles * kLanes, kMinChunkRows)));
    const std::size_t warp_bytes = sizeof(std::uint32_t) * static_cast<std::size_t>((bins + 3) / 4 * 4 + W);
    const unsigned block_warps = static_cast<unsigned>(std::min<std::size_t>(8, kSharedBytes / warp_bytes));
    const std::int64_t blocks = ceil_div(n_queries * slices, block_warps);
    launch(histogram<W>, static_cast<unsigned>(blocks), block_warps * kLanes, block_warps * warp_bytes,
           stream, rows, queries, n_queries, bins, step, static_cast<unsigned>(slices), counts);
  }
};

void place_rows(const Parts& parts, int n_bytes, const Split& split, std::int64_t* totals,
                const Results& results, cudaStream_t stream) {
  launch(place, split.n_queries, kPlaceThreads, sizeof(std::uint32_t) * (kPlaceThreads / kLanes + 1), stream,
         parts.places, bins_of(n_bytes), split.chunks, parts.bounds, totals, results);
}

}  // namespace

int max_queries(int n_bytes) { return static_cast<int>(kMaxCounters / bins_of(n_bytes)); }

std::size_t workspace_bytes(std::int64_t n, int n_bytes, int n_queries, int device) {
  check_sizes(n, n_bytes, n_queries);
  if (n_queries == 0) return 0;
  const Split split = split_of(n, n_bytes, n_queries, device, true);
  return sizeof(std::uint32_t) * static_cast<std::size_t>(counters_of(n_bytes, split) + n_queries);
}

void hamming_topk(const Codes& codes, const Queries& queries, std::int64_t k, const Mask& mask,
                  const Workspace& workspace, std::int32_t* distances, std::int64_t* ids,
                  const Target& target) {
  check_sizes(codes.n, codes.n_bytes, queries.n);
  if (k < 1 || k >= std::int64_t{1} << 31) throw std::invalid_argument("k must be from 1 to 2^31 - 1");
  if (queries.n == 0) return;
  const DeviceGuard guard(target.device);
  const Split split = split_of(codes.n, codes.n_bytes, queries.n, target.device, true);
  const Parts parts = parts_of(workspace, codes.n_bytes, split);
  const Rows rows = rows_of(codes, mask);
  const Results results{distances, ids, nullptr, k, static_cast<std::uint32_t>(k)};
  const unsigned n_queries = split.n_queries;
  const std::int64_t step =
      std::max<std::int64_t>(1, std::min(kSampleStep, codes.n / (kSampleRowsPerNeighbour * k)));

  check(cudaMemsetAsync(parts.places, 0, sizeof(std::uint32_t) * static_cast<std::size_t>(parts.counters),
                        target.stream));
  for_words(codes.n_bytes, Histogram{rows, queries.data, n_queries, static_cast<unsigned>(step),
                                     kWarpsPerMultiprocessor * multiprocessors(target.device),
                                     parts.histogram, target.stream});
  launch(bound, static_cast<unsigned>(ceil_div(n_queries, kScanWarps)), kScanWarps * kLanes, 0, target.stream,
         static_cast<const std::uint32_t*>(parts.histogram), n_queries, bins_of(codes.n_bytes),
         static_cast<std::uint32_t>(k), parts.bounds);
  for_words(codes.n_bytes,
            Scan<Pass::count>{rows, queries.data, split, parts.bounds, parts.places, results, target.stream});
  place_rows(parts, codes.n_bytes, split, nullptr, results, target.stream);
  for_words(codes.n_bytes,
            Scan<Pass::emit>{rows, queries.data, split, parts.bounds, parts.places, results, target.stream});
}

void hamming_range_count(const Codes& codes, const Queries& queries, int radius, const Mask& mask,
                         const Workspace& workspace, std::int64_t* counts, const Target& target) {
  check_sizes(codes.n, codes.n_bytes, queries.n);
  if (radius < 0) throw std::invalid_argument("radius must be at least 0");
  if (queries.n == 0) return;
  const DeviceGuard guard(target.device);
  const Split split = split_of(codes.n, codes.n_bytes, queries.n, target.device, true);
  const Parts parts = parts_of(workspace, codes.n_bytes, split);
  const Rows rows = rows_of(codes, mask);
  const Results none{nullptr, nullptr, nullptr, 0, UINT32_MAX};

  check(cudaMemsetAsync(parts.places, 0, sizeof(std::uint32_t) * static_cast<std::size_t>(parts.counters),
                        target.stream));
  launch(set_bounds, static_cast<unsigned>(ceil_div(queries.n, 256)), 256, 0, target.stream, parts.bounds,
         split.n_queries, std::min(radius, bins_of(codes.n_bytes) - 1));
  for_words(codes.n_bytes,
            Scan<Pass::count>{rows, queries.data, split, parts.bounds, parts.places, none, target.stream});
  place_rows(parts, codes.n_bytes, split, counts, none, target.stream);
}

void hamming_range_emit(const Codes& codes, const Queries& queries, const Mask& mask,
                        const Workspace& workspace, const std::int64_t* first, std::int32_t* distances,
                        std::int64_t* ids, const Target& target) {
  check_sizes(codes.n, codes.n_bytes, queries.n);
  if (queries.n == 0) return;
  const DeviceGuard guard(target.device);
  const Split split = split_of(codes.n, codes.n_bytes, queries.n, target.device, true);
  const Parts parts = parts_of(workspace, codes.n_bytes, split);
  const Rows rows = rows_of(codes, mask);
  const Results results{distances, ids, first, 0, UINT32_MAX};
  for_words(codes.n_bytes,
            Scan<Pass::emit>{rows, queries.data, split, parts.bounds, parts.places, results, target.stream});
}

void hamming_distance(const Codes& codes, const Queries& queries, std::int32_t* distances,
                      const Target& target) {
  check_sizes(codes.n, codes.n_bytes, queries.n);
  if (queries.n == 0) return;
  const DeviceGuard guard(target.device);
  const Split split = split_of(codes.n, codes.n_bytes, queries.n, target.device, false);
  const Rows rows = rows_of(codes, {});
  const Results results{distances, nullptr, nullptr, codes.n, 0};
  for_words(codes.n_bytes,
            Scan<Pass::distances>{rows, queries.data, split, nullptr, nullptr, results, target.stream});
}

}  // namespace sdc::cuda
