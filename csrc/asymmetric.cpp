#include "asymmetric.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "hamming.h"
#include "selector.h"
#include "threads.h"

namespace sdc {
namespace {

constexpr std::int64_t kBlock = 1024;  // codes scored before they are selected from

struct ScoredHit {
  float score;
  std::int64_t id;

  bool before(const ScoredHit& other) const {
    return score != other.score ? score > other.score : id < other.id;
  }
};

// table[256 * byte + value] = the sum of that byte's terms.
std::vector<float> byte_sums(const float* query, int n_bits) {
  const int n_bytes = (n_bits + 7) / 8;
  std::vector<float> table(static_cast<std::size_t>(256 * n_bytes));
  for (int byte = 0; byte < n_bytes; ++byte) {
    float* sums = table.data() + 256 * byte;
    const int bits = std::min(8, n_bits - 8 * byte);
    // After `bit` bits, sums[p] is that of the prefix p: each doubles into its two continuations.
    for (int bit = 0; bit < bits; ++bit) {
      const float term = query[8 * byte + bit];
      for (int prefix = (1 << bit) - 1; prefix >= 0; --prefix) {
        const float sum = sums[prefix];
        sums[2 * prefix + 1] = sum + term;
        sums[2 * prefix] = sum - term;
      }
    }
    // The bits are the leading ones of the last byte; the padding below them is zero.
    for (int prefix = (1 << bits) - 1; prefix >= 0 && bits < 8; --prefix)
      std::fill_n(sums + (prefix << (8 - bits)), 1 << (8 - bits), sums[prefix]);
  }
  return table;
}

// Eight codes at a time, since each sum is a chain of additions that wait for each other.
void score_block(const float* table, const std::uint8_t* codes, std::int64_t count, int n_bytes,
                 float* scores) {
  constexpr int kChains = 8;
  for (; count >= kChains; count -= kChains, codes += kChains * n_bytes, scores += kChains) {
    float sums[kChains] = {};
    for (int byte = 0; byte < n_bytes; ++byte)
      for (int chain = 0; chain < kChains; ++chain)
        sums[chain] += table[256 * byte + codes[chain * n_bytes + byte]];
    std::copy_n(sums, kChains, scores);
  }
  for (; count > 0; --count, codes += n_bytes, ++scores) {
    *scores = 0;
    for (int byte = 0; byte < n_bytes; ++byte) *scores += table[256 * byte + codes[byte]];
  }
}

std::vector<ScoredHit> best_of(const float* table, const std::uint8_t* codes, std::int64_t begin,
                               std::int64_t end, int n_bytes, std::int64_t k, const std::int64_t* ids) {
  BufferedSelector<ScoredHit> best(k);
  float scores[kBlock];
  for (std::int64_t row = begin; row < end; row += kBlock) {
    const std::int64_t count = std::min(kBlock, end - row);
    score_block(table, codes + row * n_bytes, count, n_bytes, scores);
    for (std::int64_t i = 0; i < count; ++i) {
      if (best.worst() != nullptr && scores[i] < best.worst()->score) continue;
      best.accept({scores[i], ids == nullptr ? row + i : ids[row + i]});
    }
  }
  return best.finish();
}

}  // namespace

void asymmetric_topk(const std::uint8_t* codes, std::int64_t n, const float* queries, std::int64_t n_queries,
                     int n_bits, std::int64_t k, const std::int64_t* ids, int threads, float* scores,
                     std::int64_t* out_ids) {
  const int n_bytes = (n_bits + 7) / 8;
  const std::int64_t wanted = std::max<std::int64_t>(1, std::min(k, n));
  // With fewer queries than threads, each query's database is cut into shards of consecutive rows.
  const std::int64_t blocks = std::max<std::int64_t>(1, (n + kBlock - 1) / kBlock);
  const std::int64_t shards = n_queries >= threads ? 1 : std::min<std::int64_t>(threads, blocks);

  const auto write = [&](std::int64_t query, const std::vector<ScoredHit>& hits) {
    float* score = scores + query * k;
    std::int64_t* id = out_ids + query * k;
    for (const ScoredHit& hit : hits) {
      *score++ = hit.score;
      *id++ = hit.id;
    }
    std::fill(score, scores + (query + 1) * k, -std::numeric_limits<float>::infinity());
    std::fill(id, out_ids + (query + 1) * k, kNoId);
  };

  std::vector<std::vector<ScoredHit>> found(static_cast<std::size_t>(shards == 1 ? 0 : n_queries * shards));
  parallel_for(n_queries * shards, threads, [&](std::int64_t task, int) {
    const std::int64_t query = task / shards, shard = task % shards;
    const std::vector<float> table = byte_sums(queries + query * n_bits, n_bits);
    std::vector<ScoredHit> hits =
        best_of(table.data(), codes, n * shard / shards, n * (shard + 1) / shards, n_bytes, wanted, ids);
    if (shards == 1)
      write(query, hits);
    else
      found[static_cast<std::size_t>(task)] = std::move(hits);
  });
  if (shards == 1) return;
  for (std::int64_t query = 0; query < n_queries; ++query) {
    BufferedSelector<ScoredHit> merged(wanted);
    for (std::int64_t shard = 0; shard < shards; ++shard)
      for (const ScoredHit& hit : found[static_cast<std::size_t>(query * shards + shard)]) merged.accept(hit);
    write(query, merged.finish());
  }
}

}  // namespace sdc
