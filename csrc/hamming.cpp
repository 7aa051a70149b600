#include "hamming.h"

#include <algorithm>
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

void scan(const HammingKernels& kernel, const std::uint8_t* codes, std::int64_t begin, std::int64_t end,
          const std::uint8_t* query, int n_bytes, CountingSelector& selector) {
  std::vector<std::int32_t> distances(static_cast<std::size_t>(std::min(kBlock, end - begin)));
  for (std::int64_t row = begin; row < end; row += kBlock) {
    const std::int64_t count = std::min(kBlock, end - row);
    kernel.distances(query, codes + row * n_bytes, count, n_bytes, distances.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int32_t distance = distances[static_cast<std::size_t>(i)];
      if (distance < selector.bound()) selector.accept(distance, row + i);
    }
  }
}

void write_row(const std::vector<Hit>& hits, std::int64_t k, std::int32_t* distances, std::int64_t* ids) {
  const auto found = static_cast<std::int64_t>(hits.size());
  for (std::int64_t i = 0; i < found; ++i) {
    distances[i] = hits[static_cast<std::size_t>(i)].distance;
    ids[i] = hits[static_cast<std::size_t>(i)].row;
  }
  std::fill(distances + found, distances + k, kNoDistance);
  std::fill(ids + found, ids + k, kNoId);
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
                  std::int64_t n_queries, int n_bytes, std::int64_t k, int threads, std::int32_t* distances,
                  std::int64_t* ids) {
  const HammingKernels& kernel = kernels();
  const std::int64_t wanted = std::max<std::int64_t>(1, std::min(k, n));
  // With fewer queries than threads, each query's database is cut into shards of consecutive rows.
  const std::int64_t blocks = std::max<std::int64_t>(1, (n + kBlock - 1) / kBlock);
  const std::int64_t shards = n_queries >= threads ? 1 : std::min<std::int64_t>(threads, blocks);
  std::vector<std::vector<Hit>> found(static_cast<std::size_t>(n_queries * shards));
  parallel_for(n_queries * shards, threads, [&](std::int64_t task, int) {
    const std::int64_t query = task / shards, shard = task % shards;
    CountingSelector selector(wanted, 8 * n_bytes);
    scan(kernel, codes, n * shard / shards, n * (shard + 1) / shards, queries + query * n_bytes, n_bytes,
         selector);
    found[static_cast<std::size_t>(task)] = selector.finish();
    if (shards == 1) {
      write_row(found[static_cast<std::size_t>(task)], k, distances + query * k, ids + query * k);
      found[static_cast<std::size_t>(task)] = {};
    }
  });
  if (shards == 1) return;
  for (std::int64_t query = 0; query < n_queries; ++query) {
    CountingSelector merged(wanted, 8 * n_bytes);
    std::vector<Hit> all;
    for (std::int64_t shard = 0; shard < shards; ++shard) {
      const auto& part = found[static_cast<std::size_t>(query * shards + shard)];
      all.insert(all.end(), part.begin(), part.end());
    }
    std::sort(all.begin(), all.end(), [](const Hit& a, const Hit& b) { return a.row < b.row; });
    for (const Hit& hit : all)
      if (hit.distance < merged.bound()) merged.accept(hit.distance, hit.row);
    write_row(merged.finish(), k, distances + query * k, ids + query * k);
  }
}

}  // namespace sdc
