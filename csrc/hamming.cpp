#include "hamming.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "hamming_kernels.h"
#include "isa.h"
#include "selector.h"
#include "threads.h"

namespace sdc {
namespace {

// Codes whose distances are computed before they are selected from: 16 KB of distances stay in the L1 cache.
constexpr std::int64_t kBlock = 4096;

const HammingKernels& kernels() {
  switch (active_isa()) {
#if defined(__x86_64__)
    case Isa::avx2:
    case Isa::avx512:
      return kAvx2Hamming;
    case Isa::avx512_vpopcnt:
      return kAvx512VpopcntHamming;
#endif
    default:
      return kPortableHamming;
  }
}

// Rows as ids: their order is the order of the scan, which the counting selector needs.
class RowSelector {
 public:
  RowSelector(std::int64_t k, int n_bytes, const std::int64_t*) : best_(k, 8 * n_bytes) {}
  std::int32_t bound() const { return best_.bound(); }
  void accept(std::int32_t distance, std::int64_t row) { best_.accept(distance, row); }
  void merge(const Hit& hit) {
    if (hit.distance < bound()) best_.accept(hit.distance, hit.id);
  }
  std::vector<Hit> finish() { return best_.finish(); }

 private:
  CountingSelector best_;
};

class IdSelector {
 public:
  IdSelector(std::int64_t k, int, const std::int64_t* ids) : best_(k), ids_(ids) {}
  std::int32_t bound() const { return best_.worst() == nullptr ? kNoDistance : best_.worst()->distance + 1; }
  void accept(std::int32_t distance, std::int64_t row) { best_.accept({distance, ids_[row]}); }
  void merge(const Hit& hit) { best_.accept(hit); }
  std::vector<Hit> finish() { return best_.finish(); }

 private:
  BufferedSelector<Hit> best_;
  const std::int64_t* ids_;
};

// Calls visit(distance, row) for the rows that the mask lets through.
template <class Visit>
void scan(const HammingKernels& kernel, const std::uint8_t* codes, std::int64_t begin, std::int64_t end,
          const std::uint8_t* query, int n_bytes, Mask mask, const Visit& visit) {
  std::vector<std::int32_t> distances(static_cast<std::size_t>(std::min(kBlock, end - begin)));
  for (std::int64_t row = begin; row < end; row += kBlock) {
    const std::int64_t count = std::min(kBlock, end - row);
    kernel.distances(query, codes + row * n_bytes, count, n_bytes, distances.data());
    for (std::int64_t i = 0; i < count; ++i)
      if (mask[row + i]) visit(distances[static_cast<std::size_t>(i)], row + i);
  }
}

// With fewer queries than threads, each query's database is cut into shards of consecutive rows.
std::int64_t shard_count(std::int64_t n, std::int64_t n_queries, int threads) {
  const std::int64_t blocks = std::max<std::int64_t>(1, (n + kBlock - 1) / kBlock);
  return n_queries >= threads ? 1 : std::min<std::int64_t>(threads, blocks);
}

void write_row(const std::vector<Hit>& hits, std::int64_t k, std::int32_t* distances, std::int64_t* ids) {
  const auto found = static_cast<std::int64_t>(hits.size());
  for (std::int64_t i = 0; i < found; ++i) {
    distances[i] = hits[static_cast<std::size_t>(i)].distance;
    ids[i] = hits[static_cast<std::size_t>(i)].id;
  }
  std::fill(distances + found, distances + k, kNoDistance);
  std::fill(ids + found, ids + k, kNoId);
}

template <class Selector>
void topk(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries, std::int64_t n_queries,
          int n_bytes, std::int64_t k, Mask mask, const std::int64_t* ids, int threads,
          std::int32_t* distances, std::int64_t* out_ids) {
  const HammingKernels& kernel = kernels();
  const std::int64_t wanted = std::max<std::int64_t>(1, std::min(k, n));
  const std::int64_t shards = shard_count(n, n_queries, threads);
  std::vector<std::vector<Hit>> found(static_cast<std::size_t>(n_queries * shards));
  parallel_for(n_queries * shards, threads, [&](std::int64_t task, int) {
    const std::int64_t query = task / shards, shard = task % shards;
    Selector best(wanted, n_bytes, ids);
    scan(kernel, codes, n * shard / shards, n * (shard + 1) / shards, queries + query * n_bytes, n_bytes,
         mask, [&](std::int32_t distance, std::int64_t row) {
           if (distance < best.bound()) best.accept(distance, row);
         });
    found[static_cast<std::size_t>(task)] = best.finish();
    if (shards == 1) {
      write_row(found[static_cast<std::size_t>(task)], k, distances + query * k, out_ids + query * k);
      found[static_cast<std::size_t>(task)] = {};
    }
  });
  if (shards == 1) return;
  for (std::int64_t query = 0; query < n_queries; ++query) {
    std::vector<Hit> all;
    for (std::int64_t shard = 0; shard < shards; ++shard) {
      const auto& part = found[static_cast<std::size_t>(query * shards + shard)];
      all.insert(all.end(), part.begin(), part.end());
    }
    std::sort(all.begin(), all.end(), [](const Hit& a, const Hit& b) { return a.id < b.id; });
    Selector merged(wanted, n_bytes, ids);
    for (const Hit& hit : all) merged.merge(hit);
    write_row(merged.finish(), k, distances + query * k, out_ids + query * k);
  }
}

}  // namespace

void hamming_distance(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries,
                      std::int64_t n_queries, int n_bytes, int threads, std::int32_t* distances) {
  const HammingKernels& kernel = kernels();
  constexpr std::int64_t kStripe = 16 * kBlock;
  const std::int64_t stripes = (n + kStripe - 1) / kStripe;
  parallel_for(n_queries * stripes, threads, [&](std::int64_t task, int) {
    const std::int64_t query = task / stripes, begin = task % stripes * kStripe;
    kernel.distances(queries + query * n_bytes, codes + begin * n_bytes, std::min(kStripe, n - begin),
                     n_bytes, distances + query * n + begin);
  });
}

void hamming_topk(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries,
                  std::int64_t n_queries, int n_bytes, std::int64_t k, Mask mask, const std::int64_t* ids,
                  int threads, std::int32_t* distances, std::int64_t* out_ids) {
  (ids == nullptr ? topk<RowSelector> : topk<IdSelector>)(codes, n, queries, n_queries, n_bytes, k, mask, ids,
                                                          threads, distances, out_ids);
}

RangeHits hamming_range(const std::uint8_t* codes, std::int64_t n, const std::uint8_t* queries,
                        std::int64_t n_queries, int n_bytes, std::int32_t radius, Mask mask,
                        const std::int64_t* ids, int threads) {
  const HammingKernels& kernel = kernels();
  const std::int64_t shards = shard_count(n, n_queries, threads);
  std::vector<std::vector<Hit>> found(static_cast<std::size_t>(n_queries * shards));
  parallel_for(n_queries * shards, threads, [&](std::int64_t task, int) {
    const std::int64_t query = task / shards, shard = task % shards;
    std::vector<Hit>& hits = found[static_cast<std::size_t>(task)];
    scan(kernel, codes, n * shard / shards, n * (shard + 1) / shards, queries + query * n_bytes, n_bytes,
         mask, [&](std::int32_t distance, std::int64_t row) {
           if (distance <= radius) hits.push_back({distance, ids == nullptr ? row : ids[row]});
         });
  });
  RangeHits result;
  result.lims.resize(static_cast<std::size_t>(n_queries) + 1);
  for (std::size_t task = 0; task < found.size(); ++task)
    result.lims[task / static_cast<std::size_t>(shards) + 1] += static_cast<std::int64_t>(found[task].size());
  std::partial_sum(result.lims.begin(), result.lims.end(), result.lims.begin());
  result.distances.resize(static_cast<std::size_t>(result.lims.back()));
  result.ids.resize(static_cast<std::size_t>(result.lims.back()));
  parallel_for(n_queries, threads, [&](std::int64_t query, int) {
    std::vector<Hit> hits = std::move(found[static_cast<std::size_t>(query * shards)]);
    for (std::int64_t shard = 1; shard < shards; ++shard) {
      auto& part = found[static_cast<std::size_t>(query * shards + shard)];
      hits.insert(hits.end(), part.begin(), part.end());
      part = {};
    }
    std::sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) { return a.before(b); });
    auto place = static_cast<std::size_t>(result.lims[static_cast<std::size_t>(query)]);
    for (const Hit& hit : hits) {
      result.distances[place] = hit.distance;
      result.ids[place++] = hit.id;
    }
  });
  return result;
}

}  // namespace sdc
