// The Hamming engine: chooses a method, cuts queries into tiles and rows into units, runs the kernels over
// them and turns the hits into results.
//
// A *pass* compares one tile of queries with all rows (or a sample of them). Units of rows are shared out
// among the workers; each worker collects the best k of the rows that it saw, and a last step merges the
// workers' hits.

#include "hamming.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>

#include "hamming_cost.h"
#include "hamming_hits.h"
#include "hamming_kernels.h"
#include "hamming_rows.h"
#include "hamming_tile.h"
#include "threads.h"

namespace sdc {
namespace {

using Method = HammingPlan::Method;

constexpr std::size_t kQueriesATile = 1024;
constexpr std::int64_t kHitBudgetBytes = 64 << 20;

// Bounds the hits that a pass without a k holds: when a worker holds more than its share, the later half of
// the tile's queries is given up, to be searched for in a tile of their own.
struct HitBudget {
  std::atomic<std::size_t> n_queries;  // that are left, the first ones of the tile
  std::size_t hits_a_worker;
  std::size_t hits_a_query;  // at most
};

// What one worker needs to compare batches of rows with a tile of queries.
class Scanner {
 public:
  // Rows that `mask_of_hits` leaves out, if there is one, are dropped when found. `budget` may be null.
  Scanner(const QueryTile& tile, const PackedMask* mask_of_hits, HitCollector& hits, HitBudget* budget)
      : tile_(tile),
        mask_of_hits_(mask_of_hits),
        hits_(hits),
        budget_(budget),
        n_queries_(tile.n),
        direct_rows_(tile.n == 1 ? kSingleRows : std::min(kDirectRows, kDirectBytes / tile.bytes)),
        found_(direct_rows_) {
    if (tile.sliced == nullptr) return;
    const SlicedKernel& s = *tile.sliced;
    const std::size_t block = static_cast<std::size_t>(tile.kernels.block_codes());
    records_ = tile.records;
    padded_block_ = AlignedBytes(block * tile.bytes);
    planes_ = AlignedBytes(s.plane_bytes);
    tables_ = AlignedBytes(s.table_bytes);
    masks_ = AlignedBytes((tile.n + 1) * static_cast<std::size_t>(tile.kernels.lanes) * 8);
    with_candidates_.resize(tile.n + 1);
    is_sliced_.resize(tile.n);
    block_hits_.resize(kVerifiedAtOnce * block);
    for (std::size_t q = 0; q < tile.n; ++q) write_threshold(q);
  }

  void scan(const RowBatch& batch) {
    if (tile_.sliced == nullptr) {
      scan_direct(batch, all_queries());
      keep_budget();
      return;
    }
    const std::size_t block = static_cast<std::size_t>(tile_.kernels.block_codes());
    for (std::size_t i = 0; i < batch.n; i += block) {
      scan_block(batch, i, std::min(block, batch.n - i));
      keep_budget();
    }
  }

  // Thresholds that keep the best k of all rows, from the first rows of a batch that is yet to be scanned.
  void lower_thresholds(const RowBatch& batch, std::int64_t k) {
    const std::size_t n = std::min<std::size_t>(
        batch.n, std::max<std::size_t>(tile_.n == 1 ? 4096 : 256, 2 * static_cast<std::size_t>(k)));
    if (static_cast<std::int64_t>(n) < k || mask_of_hits_ != nullptr) return;
    std::vector<std::uint16_t> distances(n);
    std::vector<std::uint32_t> histogram(8 * tile_.bytes + 1);
    for (std::size_t q = 0; q < tile_.n; ++q) {
      tile_.direct.distances(batch.codes, n, tile_.code(q), distances.data());
      std::fill(histogram.begin(), histogram.end(), 0u);
      for (const std::uint16_t d : distances) ++histogram[d];
      int threshold = 0;
      for (std::int64_t within = histogram[0]; within < k; within += histogram[++threshold]) {
      }
      hits_.lower_threshold(q, threshold);
      if (tile_.sliced != nullptr) write_threshold(q);
    }
  }

 private:
  // Small enough that a tile of codes stays in the first-level cache while every query passes over it.
  static constexpr std::size_t kDirectBytes = 16 << 10;
  static constexpr std::size_t kDirectRows = 2048;
  // One query alone reads them once: it only wants few calls, yet thresholds that follow what was found.
  static constexpr std::size_t kSingleRows = 8192;
  static constexpr std::size_t kVerifiedAtOnce = 32;

  void keep_budget() {
    if (budget_ == nullptr) return;
    while (n_held_ > budget_->hits_a_worker && n_queries_ > 1) {
      std::size_t left = n_queries_;
      budget_->n_queries.compare_exchange_strong(left, left / 2);
      give_up_from(budget_->n_queries.load());
    }
    give_up_from(budget_->n_queries.load());
    // One query may have more hits than the budget: then they grow into room for all, not by doubling.
    if (n_queries_ == 1 && n_held_ > budget_->hits_a_worker / 2) hits_.hits(0).reserve(budget_->hits_a_query);
  }

  void give_up_from(std::size_t left) {
    if (left >= n_queries_) return;
    for (std::size_t q = left; q < n_queries_; ++q) {
      n_held_ -= hits_.hits(q).size();
      hits_.give_up(q);
      if (tile_.sliced != nullptr) write_threshold(q);
    }
    n_queries_ = left;
  }

  const std::vector<std::uint32_t>& all_queries() {
    if (sliced_queries_.size() != tile_.n) {
      sliced_queries_.resize(tile_.n);
      std::iota(sliced_queries_.begin(), sliced_queries_.end(), 0u);
    }
    return sliced_queries_;
  }

  bool can_slice(std::size_t q) const {
    return hits_.threshold(q) <= static_cast<int>(tile_.sliced->max_threshold);
  }

  void write_threshold(std::size_t q) {
    const bool sliced = hits_.threshold(q) >= 0 && can_slice(q);
    lists_outdated_ |= sliced != static_cast<bool>(is_sliced_[q]);
    if (sliced) {
      tile_.sliced->set_threshold(static_cast<unsigned>(hits_.threshold(q)),
                                  &records_[q * tile_.sliced->record_length]);
    }
  }

  // Queries whose threshold does not fit a record take the direct way, those that are served already none.
  void list_queries() {
    if (!lists_outdated_) return;
    lists_outdated_ = false;
    sliced_queries_.clear();
    direct_queries_.clear();
    for (std::size_t q = 0; q < tile_.n; ++q) {
      is_sliced_[q] = hits_.threshold(q) >= 0 && can_slice(q);
      if (hits_.threshold(q) < 0) continue;
      (is_sliced_[q] ? sliced_queries_ : direct_queries_).push_back(static_cast<std::uint32_t>(q));
    }
  }

  void take(std::size_t q, unsigned distance, std::int64_t row) {
    if (mask_of_hits_ != nullptr && !mask_of_hits_->allows(row)) return;
    ++n_held_;
    if (hits_.add(q, distance, row) && tile_.sliced != nullptr) write_threshold(q);
  }

  void scan_direct(const RowBatch& batch, const std::vector<std::uint32_t>& queries) {
    for (std::size_t i = 0; i < batch.n; i += direct_rows_) {
      const std::size_t n = std::min(direct_rows_, batch.n - i);
      const std::uint8_t* codes = batch.codes + i * tile_.bytes;
      for (const std::uint32_t q : queries) {
        if (hits_.threshold(q) < 0) continue;
        const std::size_t m = tile_.direct.within(
            codes, n, tile_.code(q), static_cast<unsigned>(hits_.threshold(q)), i, found_.data());
        for (std::size_t j = 0; j < m; ++j) {
          take(q, hit_distance(found_[j]), batch.row(static_cast<std::size_t>(hit_key(found_[j]))));
        }
      }
    }
  }

  void scan_block(const RowBatch& batch, std::size_t first, std::size_t n) {
    const SlicedKernel& s = *tile_.sliced;
    const std::uint8_t* codes = tile_.whole_block(batch.codes + first * tile_.bytes, n, padded_block_.get());
    list_queries();
    if (!direct_queries_.empty()) {
      const std::int64_t* rows = batch.rows == nullptr ? nullptr : batch.rows + first;
      scan_direct({codes, n, batch.first + static_cast<std::int64_t>(first), rows}, direct_queries_);
    }
    if (sliced_queries_.empty()) return;
    s.build(codes, planes_.get(), tables_.get());
    const auto masks = reinterpret_cast<std::uint64_t*>(masks_.get());
    const std::size_t n_found = s.scan(tables_.get(), records_.data(), sliced_queries_.data(),
                                       sliced_queries_.size(), masks, with_candidates_.data());
    for (std::size_t j = 0; j < n_found; j += kVerifiedAtOnce) {
      const std::size_t n_hits = tile_.kernels.verify[tile_.width_class](
          codes, n, tile_.codes.data(), masks + j * static_cast<std::size_t>(tile_.kernels.lanes),
          &with_candidates_[j], std::min(kVerifiedAtOnce, n_found - j), block_hits_.data());
      for (std::size_t h = 0; h < n_hits; ++h) {
        const Hit& hit = block_hits_[h];
        take(hit.query, hit.distance, batch.row(first + hit.row));
      }
    }
  }

  const QueryTile& tile_;
  const PackedMask* mask_of_hits_;
  HitCollector& hits_;
  HitBudget* budget_;
  std::size_t n_queries_;   // that are not given up
  std::size_t n_held_ = 0;  // hits, with a budget
  std::vector<std::uint16_t> records_;
  std::vector<std::uint32_t> sliced_queries_, direct_queries_;
  std::vector<char> is_sliced_;
  bool lists_outdated_ = true;
  AlignedBytes padded_block_, planes_, tables_, masks_;
  std::vector<std::uint32_t> with_candidates_;
  std::vector<Hit> block_hits_;
  std::size_t direct_rows_;  // compared at once
  std::vector<std::uint64_t> found_;
};

// Everything about a search that does not depend on the tile.
struct Search {
  const HammingCodes& codes;
  const std::uint8_t* queries;
  std::unique_ptr<PackedMask> mask;          // also where no mask is given, for the number of rows
  const PackedMask* mask_of_rows = nullptr;  // rows left out by it are not even read
  const PackedMask* mask_of_hits = nullptr;  // hits left out by it are dropped
  std::int64_t n_allowed;
  HitOrder order;
  Method method;
  const HammingKernels& kernels;
  int width_class;
  int threads;
  std::int64_t unit_rows;

  int bits() const { return 8 * class_bytes(width_class); }
  std::int64_t n_units() const { return (codes.n + unit_rows - 1) / unit_rows; }
};

Search make_search(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                   const HammingMask& mask, const HammingIds& ids, int threads) {
  const Isa isa = active_isa();
  const int width_class = width_class_of(codes.n_bytes);
  auto packed = std::make_unique<PackedMask>(mask, codes.n, hamming_kernels(isa));
  const std::int64_t n_allowed = packed->n_allowed;
  double costs[3];
  expected_costs(std::max<std::int64_t>(n_allowed, 1), width_class, std::max<std::int64_t>(n_queries, 1), isa,
                 costs);
  Search search{.codes = codes,
                .queries = queries,
                .mask = std::move(packed),
                .n_allowed = n_allowed,
                .order = HitOrder(ids),
                .method = cheapest_method(costs),
                .kernels = hamming_kernels(isa),
                .width_class = width_class,
                .threads = threads > 0 ? threads : num_threads(),
                .unit_rows = 0};
  // Copying most of the rows costs more than asking the mask about the few that are found.
  if (mask.data != nullptr) {
    const bool most = search.method == Method::direct && n_allowed > codes.n / 2;
    (most ? search.mask_of_hits : search.mask_of_rows) = search.mask.get();
  }
  // A unit yields about a batch of rows, and keeps a sample's units apart; one query alone wants longer ones.
  const std::int64_t batches = search.method == Method::direct ? 4 : 1;
  const double kept =
      search.mask_of_rows == nullptr
          ? 1.0
          : static_cast<double>(std::max<std::int64_t>(n_allowed, 1)) / static_cast<double>(codes.n);
  search.unit_rows =
      static_cast<std::int64_t>(
          std::ceil(std::min(static_cast<double>(RowReader::kBatchRows * batches) / kept, 1e15) / 64.0)) *
      64;
  return search;
}

std::vector<std::unique_ptr<HitCollector>> run_pass(const Search& search, const QueryTile& tile,
                                                    const HitOrder& order, std::int64_t k,
                                                    std::int64_t stride, const std::vector<int>& thresholds,
                                                    HitBudget* budget = nullptr) {
  const std::int64_t n_units = search.n_units() / stride + (search.n_units() % stride != 0);
  const int workers = static_cast<int>(std::clamp<std::int64_t>(n_units, 1, search.threads));
  std::vector<std::unique_ptr<HitCollector>> collectors(static_cast<std::size_t>(workers));
  struct Worker {
    Scanner scanner;
    RowReader reader;
  };
  std::vector<std::unique_ptr<Worker>> scanners(static_cast<std::size_t>(workers));
  parallel_for(n_units, workers, [&](std::int64_t task, int w) {
    const std::size_t slot = static_cast<std::size_t>(w);
    const bool fresh = scanners[slot] == nullptr;
    if (fresh) {
      collectors[slot] =
          std::make_unique<HitCollector>(order, tile.n, search.bits(), k, search.n_allowed, thresholds);
      scanners[slot].reset(
          new Worker{Scanner(tile, search.mask_of_hits, *collectors[slot], budget),
                     RowReader(search.codes, search.width_class, search.mask_of_rows, search.kernels)});
    }
    Worker& worker = *scanners[slot];
    const std::int64_t first = task * stride * search.unit_rows;
    worker.reader.start(first, std::min(first + search.unit_rows, search.codes.n));
    bool untouched = fresh && k != HitCollector::kUnlimited;
    for (RowBatch batch; worker.reader.next(batch); untouched = false) {
      if (untouched) worker.scanner.lower_thresholds(batch, k);
      worker.scanner.scan(batch);
    }
  });
  std::erase(collectors, nullptr);
  return collectors;
}

// Whether what merge() gives is in the order of the rows.
bool rows_ascending(const std::vector<std::unique_ptr<HitCollector>>& collectors, std::size_t query) {
  return collectors.size() == 1 && collectors[0]->rows_ascending(query);
}

// A query's hits from all workers.
std::vector<PackedHit> merge(std::vector<std::unique_ptr<HitCollector>>& collectors, std::size_t query) {
  if (collectors.empty()) return {};
  std::vector<PackedHit> hits = std::move(collectors[0]->hits(query));
  for (std::size_t w = 1; w < collectors.size(); ++w) {
    std::vector<PackedHit>& more = collectors[w]->hits(query);
    hits.insert(hits.end(), more.begin(), more.end());
    std::vector<PackedHit>().swap(more);
  }
  return hits;
}

// Thresholds that very likely hold k rows each, from a pass over one unit in kSampleStride. How ties are
// broken does not matter to them.
std::vector<int> sample_thresholds(const Search& search, const QueryTile& tile, std::int64_t k) {
  const std::int64_t wanted = sample_k(k);
  std::vector<int> thresholds(tile.n, search.bits());
  const HitOrder by_row({});
  auto collectors = run_pass(search, tile, by_row, wanted, kSampleStride, thresholds);
  parallel_for(static_cast<std::int64_t>(tile.n), search.threads, [&](std::int64_t q, int) {
    const std::size_t query = static_cast<std::size_t>(q);
    const std::vector<PackedHit> hits = merge(collectors, query);
    if (static_cast<std::int64_t>(hits.size()) >= wanted)
      thresholds[query] = static_cast<int>(distance_of_kth(hits, wanted));
  });
  return thresholds;
}

// Finds a number that no id exceeds, unless one is known, where the hits wanted outnumber a quarter of the
// ids: reading those in order then costs less than reading the hits' at random.
HammingIds with_largest(HammingIds ids, std::int64_t n, std::int64_t n_wanted) {
  if (ids.ids != nullptr && !ids.ascending && ids.largest == INT64_MAX && n_wanted > n / 4) {
    ids.largest = std::reduce(ids.ids, ids.ids + n, std::int64_t{0}, std::bit_or<>());
  }
  return ids;
}

struct TopkOut {
  std::int32_t* distances;
  std::int64_t* ids;
};

void write_topk(const std::vector<PackedHit>& hits, const std::vector<std::int64_t>& hit_ids,
                std::int64_t query, std::int64_t k, const TopkOut& out) {
  std::int32_t* distances = out.distances + query * k;
  std::int64_t* ids = out.ids + query * k;
  for (const PackedHit hit : hits) *distances++ = static_cast<std::int32_t>(hit_distance(hit));
  ids = std::copy(hit_ids.begin(), hit_ids.end(), ids);
  const std::int64_t missing = k - static_cast<std::int64_t>(hits.size());
  std::fill_n(distances, missing, kNoDistance);
  std::fill_n(ids, missing, kNoId);
}

void topk_tile(const Search& search, const std::vector<std::int64_t>& chosen, std::int64_t k, bool sampled,
               const TopkOut& out) {
  const QueryTile tile(search.kernels, search.method, search.width_class, search.codes.n_bytes,
                       search.queries, chosen);
  std::vector<int> thresholds(tile.n, search.bits());
  if (sampled) thresholds = sample_thresholds(search, tile, k);
  auto collectors = run_pass(search, tile, search.order, k, 1, thresholds);
  const std::int64_t complete = std::min(k, search.n_allowed);
  std::vector<char> short_of_k(tile.n);
  parallel_for(static_cast<std::int64_t>(tile.n), search.threads, [&](std::int64_t q, int) {
    const std::size_t query = static_cast<std::size_t>(q);
    std::vector<std::int64_t> ids;
    const bool ascending = rows_ascending(collectors, query);
    std::vector<PackedHit> hits = merge(collectors, query);
    search.order.keep_best(hits, k, ascending, &ids);
    short_of_k[query] = static_cast<std::int64_t>(hits.size()) < complete;
    write_topk(hits, ids, chosen[query], k, out);
  });
  std::vector<std::int64_t> again;
  for (std::size_t q = 0; q < tile.n; ++q) {
    if (short_of_k[q]) again.push_back(chosen[q]);
  }
  if (!again.empty()) topk_tile(search, again, k, false, out);
}

// Calls fn(queries of a tile) for all tiles. Where there are too few rows to share out, tiles run side by
// side instead.
template <class Function>
void for_each_tile(const Search& search, std::int64_t n_queries, std::int64_t tile_size, const Function& fn) {
  const bool side_by_side = search.n_units() < search.threads && n_queries > 1;
  if (side_by_side) tile_size = std::min(tile_size, (n_queries + search.threads - 1) / search.threads);
  const std::int64_t n_tiles = (n_queries + tile_size - 1) / tile_size;
  const auto run = [&](std::int64_t tile, int) {
    const std::int64_t first = tile * tile_size;
    std::vector<std::int64_t> chosen(static_cast<std::size_t>(std::min(tile_size, n_queries - first)));
    std::iota(chosen.begin(), chosen.end(), first);
    fn(chosen);
  };
  parallel_for(n_tiles, side_by_side ? search.threads : 1, run);
}

std::int64_t tile_size_for(std::int64_t hits_a_query) {
  return std::clamp<std::int64_t>(kHitBudgetBytes / (16 * std::max<std::int64_t>(hits_a_query, 1)), 1,
                                  kQueriesATile);
}

// The results of one tile. How many all tiles have together is known at the end only, and a vector that grew
// with them would hold them twice.
struct FoundHits {
  explicit FoundHits(std::size_t n_hits)
      : n(n_hits),
        distances(std::make_unique_for_overwrite<std::int32_t[]>(n_hits)),
        ids(std::make_unique_for_overwrite<std::int64_t[]>(n_hits)) {}

  std::size_t n;
  std::unique_ptr<std::int32_t[]> distances;
  std::unique_ptr<std::int64_t[]> ids;
};

}  // namespace

const HammingKernels& hamming_kernels(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return hamming_portable;
#if !defined(SDC_SEARCH_PORTABLE_ONLY)
#if defined(__x86_64__)
    case Isa::avx2:
      return hamming_avx2;
    case Isa::avx512:
      return hamming_avx512;
    case Isa::avx512_vpopcnt:
      return hamming_avx512_vpopcnt;

#elif defined(__aarch64__)
    case Isa::neon:
      return hamming_neon;
#endif
#endif
    default:
      break;
  }
  throw std::invalid_argument(std::string("this build has no kernels for '") + isa_name(isa) + "'");
}

void hamming_topk(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                  std::int64_t k, const HammingMask& mask, const HammingIds& ids, int threads,
                  std::int32_t* distances, std::int64_t* ids_out) {
  check_codes(codes, n_queries);
  if (k < 0 || k > 2147483647) {
    throw std::invalid_argument("k must be from 0 to 2147483647, got " + std::to_string(k));
  }
  if (k == 0 || n_queries == 0) return;
  const Search search = make_search(codes, queries, n_queries, mask,
                                    with_largest(ids, codes.n, n_queries * std::min(k, codes.n)), threads);
  const TopkOut out{distances, ids_out};
  if (search.n_allowed == 0) {
    for (std::int64_t q = 0; q < n_queries; ++q) write_topk({}, {}, q, k, out);
    return;
  }
  const bool sampled = sampling_pays(search.n_allowed, k);
  for_each_tile(search, n_queries, tile_size_for(std::min(k, search.n_allowed)),
                [&](const std::vector<std::int64_t>& chosen) { topk_tile(search, chosen, k, sampled, out); });
}

HammingRange hamming_range(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                           std::int64_t radius, const HammingMask& mask, const HammingIds& ids, int threads) {
  check_codes(codes, n_queries);
  HammingRange range;
  range.lims.assign(static_cast<std::size_t>(n_queries) + 1, 0);
  if (radius < 0 || n_queries == 0) return range;
  const Search search = make_search(codes, queries, n_queries, mask, ids, threads);
  if (search.n_allowed == 0) return range;
  const int threshold = static_cast<int>(std::min<std::int64_t>(radius, search.bits()));
  std::vector<FoundHits> found;
  std::int64_t tile_size = kQueriesATile;
  for (std::int64_t first = 0; first < n_queries;) {
    std::vector<std::int64_t> chosen(static_cast<std::size_t>(std::min(tile_size, n_queries - first)));
    std::iota(chosen.begin(), chosen.end(), first);
    double costs[3];
    expected_costs(search.n_allowed, search.width_class, static_cast<std::int64_t>(chosen.size()),
                   search.kernels.isa, costs);
    const QueryTile tile(search.kernels, cheapest_method(costs), search.width_class, codes.n_bytes, queries,
                         chosen);
    HitBudget budget{.n_queries = tile.n,
                     .hits_a_worker = static_cast<std::size_t>(kHitBudgetBytes / 16 / search.threads),
                     .hits_a_query = static_cast<std::size_t>(search.n_allowed)};
    auto collectors = run_pass(search, tile, search.order, HitCollector::kUnlimited, 1,
                               std::vector<int>(tile.n, threshold), &budget);
    const std::int64_t n_done = static_cast<std::int64_t>(budget.n_queries);
    std::int64_t* lims = &range.lims[static_cast<std::size_t>(first)];
    for (std::int64_t q = 0; q < n_done; ++q) {
      lims[q + 1] = lims[q];
      for (const auto& collector : collectors)
        lims[q + 1] += static_cast<std::int64_t>(collector->hits(static_cast<std::size_t>(q)).size());
    }
    FoundHits& hits = found.emplace_back(static_cast<std::size_t>(lims[n_done] - lims[0]));
    parallel_for(n_done, search.threads, [&](std::int64_t q, int) {
      const std::size_t query = static_cast<std::size_t>(q);
      const std::int64_t at = lims[q] - lims[0];
      const bool ascending = rows_ascending(collectors, query);
      search.order.write_all(merge(collectors, query), ascending, hits.distances.get() + at,
                             hits.ids.get() + at);
    });
    tile_size = tile_size_for((lims[n_done] - lims[0]) / n_done);
    first += n_done;
  }
  const std::size_t total = static_cast<std::size_t>(range.lims.back());
  range.distances.reserve(total);
  range.ids.reserve(total);
  for (FoundHits& hits : found) {
    range.distances.insert(range.distances.end(), hits.distances.get(), hits.distances.get() + hits.n);
    range.ids.insert(range.ids.end(), hits.ids.get(), hits.ids.get() + hits.n);
    hits = FoundHits(0);
  }
  return range;
}

void hamming_distance(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                      int threads, std::int32_t* distances) {
  check_codes(codes, n_queries);
  if (codes.n == 0 || n_queries == 0) return;
  const Search search = make_search(codes, queries, n_queries, {}, {}, threads);
  std::vector<std::int64_t> all(static_cast<std::size_t>(n_queries));
  std::iota(all.begin(), all.end(), 0);
  const QueryTile tile(search.kernels, Method::direct, search.width_class, codes.n_bytes, queries, all);
  constexpr std::int64_t unit = 1024;
  parallel_for((codes.n + unit - 1) / unit, search.threads, [&](std::int64_t task, int) {
    RowReader reader(codes, search.width_class, nullptr, search.kernels);
    reader.start(task * unit, std::min((task + 1) * unit, codes.n));
    std::uint16_t row[unit];
    for (RowBatch batch; reader.next(batch);) {
      for (std::size_t q = 0; q < tile.n; ++q) {
        tile.direct.distances(batch.codes, batch.n, tile.code(q), row);
        std::copy_n(row, batch.n, distances + static_cast<std::int64_t>(q) * codes.n + batch.first);
      }
    }
  });
}

HammingPlan hamming_plan(std::int64_t n, std::int64_t n_bytes, std::int64_t n_queries, std::int64_t k,
                         Isa isa) {
  HammingPlan plan{};
  expected_costs(std::max<std::int64_t>(n, 1), width_class_of(n_bytes), std::max<std::int64_t>(n_queries, 1),
                 isa, plan.ns_per_pair);
  plan.method = cheapest_method(plan.ns_per_pair);
  plan.sampled = sampling_pays(n, k);
  return plan;
}

std::string HammingPlan::reason() const {
  static const char* const names[] = {"direct", "sliced_by_3", "sliced_by_7"};
  std::string text;
  for (int m = 0; m < 3; ++m) {
    if (!std::isfinite(ns_per_pair[m])) continue;
    char entry[64];
    std::snprintf(entry, sizeof entry, "%s%s %.4f", text.empty() ? "" : ", ", names[m], ns_per_pair[m]);
    text += entry;
  }
  return std::string(names[static_cast<int>(method)]) + " is the cheapest; expected ns per pair: " + text;
}

}  // namespace sdc
