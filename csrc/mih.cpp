// Searching the tables of mih.h. mih_build.cpp makes them.
#include "mih.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "hamming.h"
#include "mih_substring.h"
#include "mih_verify.h"
#include "threads.h"

namespace sdc {
namespace {

constexpr std::uint32_t kBlockCodes = 256;  // compared between two looks at the bound
constexpr int kKeyBatch = 64;               // buckets whose offsets are fetched together
constexpr int kCodeBytesAhead = 4096;       // fetched before they are compared
constexpr int kCacheLine = 64;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// C(n, r) as a double: for costs, where only its size matters.
double combinations(int n, int r) {
  double result = 1;
  for (int i = 0; i < r; ++i) result = result * (n - i) / (i + 1);
  return result;
}

// What a search did: what its cost is estimated from.
struct Work {
  std::int64_t lookups = 0;  // buckets asked for, empty ones included
  std::int64_t codes = 0;    // codes compared with the query
  std::int64_t hits = 0;     // of those, new and not beyond the distance wanted at that time
};

// The time of the parts of a search.
struct Costs {
  double query_ns;
  double lookup_ns;
  double code_ns;
  double hit_ns;
};

// Fitted on a Zen 3 to buckets of five to a thousand codes. What matters most is whether the arrays lie in
// the cache or in memory: a bucket is too short for the processor to read ahead as it does in a scan.
Costs costs_of(const MultiIndexShape& shape) {
  // Copies of up to 2^24 bytes are read from the cache, from 2^28 on out of memory, in between from both.
  const double log2_bytes = std::log2(std::max(static_cast<double>(shape.copies_size()), 1.0));
  const double outside = std::clamp((log2_bytes - 24) / (28 - 24), 0.0, 1.0);
  const double slower = std::pow(3.0, outside);
  const double words = (shape.stride() + 7) / 8;
  return {1500, 20 * slower, .5 * words * slower, 30 + 10 * outside};
}

double ns_of(const Costs& costs, const Work& work) {
  return costs.query_ns + costs.lookup_ns * static_cast<double>(work.lookups) +
         costs.code_ns * static_cast<double>(work.codes) + costs.hit_ns * static_cast<double>(work.hits);
}

// What is fixed for one table.
struct Table {
  const std::uint32_t* offsets;
  const std::uint32_t* rows;
  const std::uint8_t* copies;
  int bits;
  SubstringReader key;
  SearchedSubstring substring;  // radius not set
};

// The words of a code that has ones exactly in bits [first, first + n_bits).
SearchedSubstring substring_masks(int first, int n_bits) {
  std::uint8_t code[8 * (kMaxCodeWords + 1)] = {};
  for (int bit = first; bit < first + n_bits; ++bit) {
    code[bit / 8] = static_cast<std::uint8_t>(code[bit / 8] | 0x80 >> bit % 8);
  }
  SearchedSubstring substring{};
  substring.word = static_cast<std::uint32_t>(first / 64);
  std::memcpy(substring.masks, code + 8 * substring.word, sizeof substring.masks);
  return substring;
}

std::vector<Table> tables_of(const MultiIndexView& view) {
  const MultiIndexShape& shape = view.shape;
  std::vector<Table> tables;
  for (int t = 0; t < shape.n_tables; ++t) {
    const std::size_t first_row = size(t) * size(shape.n);
    tables.push_back({view.offsets + shape.first_offset(t), view.rows + first_row,
                      view.copies + first_row * size(shape.stride()), shape.substring_bits(t),
                      SubstringReader(shape.n_bytes(), shape.first_bit(t), shape.substring_bits(t)),
                      substring_masks(shape.first_bit(t), shape.substring_bits(t))});
  }
  return tables;
}

struct Hit {
  std::uint32_t distance;
  std::uint32_t table;
  std::uint32_t position;  // within the table
};

struct RankedHit {
  std::uint64_t order;  // distance in the upper half, rank in the lower
  std::uint32_t row;

  std::uint32_t distance() const { return static_cast<std::uint32_t>(order >> 32); }
};

// Keeps the k nearest hits by counting distances. Unlike CountingSelector it is offered rows in any order, so
// all ties at the bound are kept; their rows, a cache miss each, are looked up only once the bound is final.
class HitCollector {
 public:
  HitCollector(const std::vector<Table>& tables, const MultiIndexFilter& filter, int n_bits)
      : tables_(tables), filter_(filter), counts_(size(n_bits) + 1) {}

  // k: at most so many are wanted (range search: no limit), none beyond max_distance.
  void start(std::int64_t k, std::uint32_t max_distance) {
    k_ = k;
    bound_ = max_distance;
    within_ = 0;
    hits_.clear();
    std::fill(counts_.begin(), counts_.end(), 0);
    prune_at_ = k > kMaxIndexedCodes ? std::numeric_limits<std::size_t>::max() : size(4 * k + 4096);
    last_rank_ = std::numeric_limits<std::uint32_t>::max();
    last_rank_distance_ = max_distance + 1;
  }

  // Hits beyond it are not wanted.
  std::uint32_t bound() const { return bound_; }

  // Requires hit.distance <= bound().
  void offer(const Hit& hit) {
    if (filter_.mask != nullptr && !allowed(row(hit))) return;
    if (hit.distance == last_rank_distance_ && rank(row(hit)) >= last_rank_) return;
    hits_.push_back(hit);
    ++counts_[hit.distance];
    ++within_;
    while (within_ - counts_[bound_] >= k_) within_ -= counts_[bound_--];
    if (hits_.size() >= prune_at_) prune();
  }

  // The k nearest by (distance, rank), or fewer if fewer were offered.
  const std::vector<RankedHit>& finish() {
    rank_hits();
    if (static_cast<std::int64_t>(ranked_.size()) > k_) {
      std::nth_element(ranked_.begin(), ranked_.begin() + static_cast<std::ptrdiff_t>(k_), ranked_.end(),
                       nearer);
      ranked_.resize(size(k_));
    }
    std::sort(ranked_.begin(), ranked_.end(), nearer);
    return ranked_;
  }

 private:
  static bool nearer(const RankedHit& a, const RankedHit& b) { return a.order < b.order; }

  std::uint32_t row(const Hit& hit) const { return tables_[hit.table].rows[hit.position]; }
  std::uint32_t rank(std::uint32_t row) const { return filter_.rank == nullptr ? row : filter_.rank[row]; }
  bool allowed(std::uint32_t row) const {
    if (!filter_.mask_is_packed) return filter_.mask[row] != 0;
    return (filter_.mask[row / 8] & 0x80 >> row % 8) != 0;
  }

  void rank_hits() {
    ranked_.clear();
    std::erase_if(hits_, [this](const Hit& hit) { return hit.distance > bound_; });
    for (const Hit& hit : hits_) __builtin_prefetch(&tables_[hit.table].rows[hit.position]);
    for (const Hit& hit : hits_) {
      const std::uint32_t item = row(hit);
      ranked_.push_back({std::uint64_t{hit.distance} << 32 | rank(item), item});
    }
  }

  // Keeps memory near k where very many items lie at the bound: beyond the k-th by rank none of them counts.
  void prune() {
    rank_hits();
    if (ranked_.size() < prune_at_ / 2) return;
    const auto kth = ranked_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(ranked_.begin(), kth, ranked_.end(), nearer);
    last_rank_distance_ = kth->distance();
    last_rank_ = static_cast<std::uint32_t>(kth->order);
    std::erase_if(hits_, [this](const Hit& hit) {
      return hit.distance == last_rank_distance_ && rank(row(hit)) > last_rank_;
    });
    counts_[bound_] -= within_ - k_;
    within_ = k_;
  }

  const std::vector<Table>& tables_;
  const MultiIndexFilter& filter_;
  std::int64_t k_ = 0;
  std::uint32_t bound_ = 0;
  std::int64_t within_ = 0;  // hits at distance <= bound_
  std::vector<std::int64_t> counts_;
  std::vector<Hit> hits_;
  std::vector<RankedHit> ranked_;
  std::size_t prune_at_ = 0;
  std::uint32_t last_rank_distance_ = 0;  // at this distance only ranks below last_rank_ are wanted
  std::uint32_t last_rank_ = 0;
};

// The numbers of n_bits bits of which `radius` are ones, ascending.
class ShellMasks {
 public:
  ShellMasks(int n_bits, int radius)
      : end_(std::uint64_t{1} << n_bits), next_((std::uint64_t{1} << radius) - 1) {}

  bool done() const { return next_ >= end_; }
  std::uint32_t take() {
    const std::uint64_t mask = next_;
    if (mask == 0) {
      next_ = end_;
    } else {  // Gosper: the next number with as many ones
      const std::uint64_t carried = mask + (mask & -mask);
      next_ = carried | (((mask ^ carried) >> 2) >> std::countr_zero(mask));
    }
    return static_cast<std::uint32_t>(mask);
  }

 private:
  std::uint64_t end_;
  std::uint64_t next_;
};

// Searches for one query after another; one object a thread.
class TableSearch {
 public:
  TableSearch(const MultiIndexView& view, const MultiIndexFilter& filter)
      : shape_(view.shape),
        tables_(tables_of(view)),
        costs_(costs_of(view.shape)),
        verify_(verify_kernel(view.shape.stride())),
        stride_(size(view.shape.stride())),
        progress_(tables_.size()),
        collector_(tables_, filter, 8 * view.shape.n_bytes()) {}

  // Finds the k nearest within max_distance. False if that would cost more than the budget.
  bool search(const std::uint8_t* query, std::int64_t k, std::uint32_t max_distance, double budget_ns) {
    start(query);
    collector_.start(k, max_distance);
    // All items at a distance <= proven_radius have been met.
    for (std::int64_t proven_radius = -1; proven_radius < collector_.bound(); ++proven_radius) {
      const std::size_t table = cheapest_table();
      expected_ns_ = ns_of(costs_, work_) + progress_[table].next_shell_ns;
      if (expected_ns_ > budget_ns) return false;
      search_shell(table);
    }
    expected_ns_ = ns_of(costs_, work_);
    return true;
  }

  // The estimated cost of the last search; if it was given up, what going on would have cost at least.
  double expected_ns() const { return expected_ns_; }
  const std::vector<RankedHit>& finish() { return collector_.finish(); }

 private:
  struct Progress {
    std::uint32_t key;     // the query's substring
    int radius;            // searched up to here, -1: not at all
    double next_shell_ns;  // expected
  };

  struct Bucket {
    std::uint32_t begin;
    std::uint32_t end;
  };

  void start(const std::uint8_t* query) {
    work_ = {};
    std::memset(target_.query, 0, sizeof target_.query);
    std::memcpy(target_.query, query, size(shape_.n_bytes()));
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      progress_[t].key = tables_[t].key(query);
      progress_[t].radius = -1;
      __builtin_prefetch(&tables_[t].offsets[progress_[t].key]);
    }
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      const std::uint32_t* bucket = &tables_[t].offsets[progress_[t].key];
      progress_[t].next_shell_ns = costs_.lookup_ns + costs_.code_ns * (bucket[1] - bucket[0]);
    }
  }

  // Any table's next shell raises the proven radius by one, so the cheapest one is searched.
  std::size_t cheapest_table() const {
    const auto cheapest = std::min_element(
        progress_.begin(), progress_.end(),
        [](const Progress& a, const Progress& b) { return a.next_shell_ns < b.next_shell_ns; });
    return static_cast<std::size_t>(cheapest - progress_.begin());
  }

  void search_shell(std::size_t t) {
    const Table& table = tables_[t];
    Progress& progress = progress_[t];
    exclude_searched_tables(t);
    const Work before = work_;
    const int radius = progress.radius + 1;
    ShellMasks masks(table.bits, radius);
    int n_next = take_keys(table, progress.key, masks);
    while (n_next > 0) {
      const int n_buckets = buckets_of_keys(table, n_next);
      n_next = take_keys(table, progress.key, masks);
      verify_buckets(t, n_buckets);
    }
    progress.radius = radius;
    expect_next_shell(table, progress, before);
  }

  // Buckets become emptier away from the query's own, seldom fuller: the last shell's mean is what the next
  // one can be expected to hold at most.
  void expect_next_shell(const Table& table, Progress& progress, const Work& before) {
    const double bucket_codes =
        static_cast<double>(work_.codes - before.codes) / static_cast<double>(work_.lookups - before.lookups);
    progress.next_shell_ns = progress.radius == table.bits
                                 ? std::numeric_limits<double>::infinity()
                                 : combinations(table.bits, progress.radius + 1) *
                                       (costs_.lookup_ns + costs_.code_ns * bucket_codes);
  }

  // An item that another table has led to already must not be counted again.
  void exclude_searched_tables(std::size_t current) {
    int n = 0;
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      if (t == current || progress_[t].radius < 0) continue;
      searched_[size(n)] = tables_[t].substring;
      searched_[size(n++)].radius = static_cast<std::uint32_t>(progress_[t].radius);
    }
    target_.searched = searched_.data();
    target_.n_searched = n;
  }

  // Fills keys_ with the shell's next buckets, whose offsets arrive while the previous batch is compared.
  int take_keys(const Table& table, std::uint32_t query_key, ShellMasks& masks) {
    int n = 0;
    for (; n < kKeyBatch && !masks.done(); ++n) {
      keys_[size(n)] = query_key ^ masks.take();
      __builtin_prefetch(&table.offsets[keys_[size(n)]]);
    }
    work_.lookups += n;
    return n;
  }

  // Keeps those that are not empty.
  int buckets_of_keys(const Table& table, int n_keys) {
    int n = 0;
    for (int i = 0; i < n_keys; ++i) {
      const std::uint32_t* bucket = &table.offsets[keys_[size(i)]];
      buckets_[size(n)] = {bucket[0], bucket[1]};
      n += bucket[0] != bucket[1];
    }
    return n;
  }

  void verify_buckets(std::size_t t, int n_buckets) {
    const std::uint8_t* copies = tables_[t].copies;
    int fetched = 0;  // buckets
    std::int64_t bytes_ahead = 0;
    for (int i = 0; i < n_buckets; ++i) {
      for (; fetched < n_buckets && bytes_ahead < kCodeBytesAhead; ++fetched) {
        bytes_ahead += fetch(copies, buckets_[size(fetched)]);
      }
      const Bucket& bucket = buckets_[size(i)];
      verify_bucket(t, bucket.begin, bucket.end);
      bytes_ahead -= bytes_of(bucket);
    }
  }

  std::int64_t bytes_of(const Bucket& bucket) const {
    return static_cast<std::int64_t>(stride_) * (bucket.end - bucket.begin);
  }

  std::int64_t fetch(const std::uint8_t* copies, const Bucket& bucket) const {
    const std::int64_t bytes = bytes_of(bucket);
    const std::uint8_t* first = copies + size(bucket.begin) * stride_;
    // The rest of a long bucket is fetched by the processor itself.
    const std::uint8_t* last = first + std::min<std::int64_t>(bytes, kCodeBytesAhead) - 1;
    for (const std::uint8_t* line = first; line < last; line += kCacheLine) __builtin_prefetch(line);
    __builtin_prefetch(last);
    return bytes;
  }

  void verify_bucket(std::size_t t, std::uint32_t begin, std::uint32_t end) {
    const std::uint8_t* copies = tables_[t].copies;
    work_.codes += end - begin;
    while (begin < end) {
      const std::uint32_t n = std::min(kBlockCodes, end - begin);
      const std::uint32_t n_found =
          verify_(target_, copies + size(begin) * stride_, n, collector_.bound(), found_.data());
      for (std::uint32_t i = 0; i < n_found; ++i) {
        const FoundCode& found = found_[i];
        if (found.distance > collector_.bound()) continue;
        collector_.offer({found.distance, static_cast<std::uint32_t>(t), begin + found.position});
      }
      work_.hits += n_found;
      begin += n;
    }
  }

  const MultiIndexShape shape_;
  const std::vector<Table> tables_;
  const Costs costs_;
  const VerifyKernel verify_;
  const std::size_t stride_;
  std::vector<Progress> progress_;
  HitCollector collector_;
  Work work_;
  double expected_ns_ = 0;
  VerifyTarget target_{};
  std::array<SearchedSubstring, kMaxTables> searched_;
  std::array<std::uint32_t, kKeyBatch> keys_;
  std::array<Bucket, kKeyBatch> buckets_;
  std::array<FoundCode, kBlockCodes> found_;
};

// A TableSearch for each thread, made when it first has a query.
class Searchers {
 public:
  Searchers(const MultiIndexView& view, const MultiIndexFilter& filter, int threads)
      : view_(view), filter_(filter), searches_(size(threads)) {}

  TableSearch& of_worker(int worker) {
    auto& search = searches_[size(worker)];
    if (search == nullptr) search = std::make_unique<TableSearch>(view_, filter_);
    return *search;
  }

 private:
  const MultiIndexView& view_;
  const MultiIndexFilter& filter_;
  std::vector<std::unique_ptr<TableSearch>> searches_;
};

const std::uint8_t* nth_query(const MultiIndexShape& shape, const std::uint8_t* queries, std::int64_t i) {
  return queries + size(i) * size(shape.n_bytes());
}

void write_topk(const std::vector<RankedHit>& hits, std::int64_t k, std::int32_t* distances,
                std::int64_t* rows) {
  for (std::size_t i = 0; i < hits.size(); ++i) {
    distances[i] = static_cast<std::int32_t>(hits[i].distance());
    rows[i] = hits[i].row;
  }
  std::fill(distances + hits.size(), distances + k, kNoDistance);
  std::fill(rows + hits.size(), rows + k, kNoId);
}

// Stored codes as queries, evenly spread over table 0 and so over the values of its substring.
std::vector<std::uint8_t> stored_codes(const MultiIndexView& view, std::int64_t count) {
  const std::size_t n_bytes = size(view.shape.n_bytes());
  std::vector<std::uint8_t> codes(size(count) * n_bytes);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t position = (2 * i + 1) * view.shape.n / (2 * count);
    std::memcpy(&codes[size(i) * n_bytes], view.copies + size(position) * size(view.shape.stride()), n_bytes);
  }
  return codes;
}

}  // namespace

void multi_index_topk(const MultiIndexView& view, const std::uint8_t* queries, std::int64_t n_queries,
                      std::int64_t k, const MultiIndexFilter& filter, double budget_ns, int threads,
                      std::int32_t* distances, std::int64_t* rows, std::uint8_t* finished) {
  const auto max_distance = static_cast<std::uint32_t>(view.shape.n_bits);
  const std::vector<RankedHit> none;
  Searchers searchers(view, filter, threads);
  parallel_for(n_queries, threads, [&](std::int64_t i, int worker) {
    TableSearch& search = searchers.of_worker(worker);
    finished[i] =
        k < view.shape.n && search.search(nth_query(view.shape, queries, i), k, max_distance, budget_ns);
    write_topk(finished[i] ? search.finish() : none, k, distances + i * k, rows + i * k);
  });
}

MultiIndexRange multi_index_range(const MultiIndexView& view, const std::uint8_t* queries,
                                  std::int64_t n_queries, std::int32_t radius, const MultiIndexFilter& filter,
                                  double budget_ns, int threads) {
  constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();
  const auto max_distance = static_cast<std::uint32_t>(std::min(radius, view.shape.n_bits));
  std::vector<std::vector<RankedHit>> hits(size(n_queries));
  std::atomic<bool> finished{true};
  Searchers searchers(view, filter, threads);
  parallel_for(n_queries, threads, [&](std::int64_t i, int worker) {
    if (!finished.load(std::memory_order_relaxed)) return;
    TableSearch& search = searchers.of_worker(worker);
    if (search.search(nth_query(view.shape, queries, i), kAll, max_distance, budget_ns)) {
      hits[size(i)] = search.finish();
    } else {
      finished.store(false, std::memory_order_relaxed);
    }
  });
  MultiIndexRange range{finished.load(), {}, {}, {}};
  if (!range.finished) return range;
  range.lims.push_back(0);
  for (const auto& of_query : hits) {
    range.lims.push_back(range.lims.back() + static_cast<std::int64_t>(of_query.size()));
  }
  range.distances.reserve(size(range.lims.back()));
  range.rows.reserve(size(range.lims.back()));
  for (const auto& of_query : hits) {
    for (const RankedHit& hit : of_query) {
      range.distances.push_back(static_cast<std::int32_t>(hit.distance()));
      range.rows.push_back(hit.row);
    }
  }
  return range;
}

std::vector<double> probe_multi_index(const MultiIndexView& view, std::int64_t count, std::int64_t k,
                                      double budget_ns, int threads) {
  const MultiIndexShape& shape = view.shape;
  std::vector<double> expected_ns(size(std::min(count, shape.n)));
  const auto n_probes = static_cast<std::int64_t>(expected_ns.size());
  const std::vector<std::uint8_t> codes = stored_codes(view, n_probes);
  const MultiIndexFilter all;
  Searchers searchers(view, all, threads);
  parallel_for(n_probes, threads, [&](std::int64_t i, int worker) {
    TableSearch& search = searchers.of_worker(worker);
    // A stored code finds itself as well.
    search.search(nth_query(shape, codes.data(), i), k + 1, static_cast<std::uint32_t>(shape.n_bits),
                  budget_ns);
    expected_ns[size(i)] = search.expected_ns();
  });
  return expected_ns;
}

}  // namespace sdc
