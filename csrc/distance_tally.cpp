#include "distance_tally.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "hamming_cost.h"
#include "hamming_kernels.h"
#include "hamming_rows.h"
#include "hamming_tile.h"
#include "threads.h"

namespace sdc {
namespace {

constexpr std::int64_t kQueriesATile = 1024;
constexpr std::int64_t kTallyBytes = 32 << 20;  // of all workers together
constexpr std::int64_t kUnitRows = 4096;
constexpr std::size_t kVerifiedAtOnce = 32;
constexpr std::size_t kRowsAtOnce = 1024;  // whose distances are computed before they are counted
constexpr double kCountNs = .8;            // of a pair whose distance is known

// Grades of an item for a query.
struct Equal {
  const std::uint64_t *items, *queries;
  std::size_t operator()(std::int64_t query, std::int64_t row) const { return items[row] == queries[query]; }
};

struct Shared {
  const std::uint64_t *items, *queries;
  std::int64_t words;
  std::size_t operator()(std::int64_t query, std::int64_t row) const {
    std::uint64_t common = 0;
    for (std::int64_t w = 0; w < words; ++w) common |= items[row * words + w] & queries[query * words + w];
    return common != 0;
  }
};

struct Counted {
  const std::uint64_t *items, *queries;
  std::int64_t words;
  std::size_t operator()(std::int64_t query, std::int64_t row) const {
    int common = 0;
    for (std::int64_t w = 0; w < words; ++w)
      common += std::popcount(items[row * words + w] & queries[query * words + w]);
    return static_cast<std::size_t>(common);
  }
};

// Listed items are few: they are taken out of grade 0 at the end.
struct Ungraded {
  std::size_t operator()(std::int64_t, std::int64_t) const { return 0; }
};

template <class Function>
void with_grades(const Relevance& r, const Function& fn) {
  switch (r.kind) {
    case Relevance::Kind::equal:
      return fn(Equal{r.items, r.queries});
    case Relevance::Kind::shared:
      return fn(Shared{r.items, r.queries, r.words});
    case Relevance::Kind::counted:
      return fn(Counted{r.items, r.queries, r.words});
    case Relevance::Kind::listed:
      return fn(Ungraded{});
  }
}

// Rows drawn one from each `stride`, padded: at an even pace, since databases are often ordered by class, but
// not at a regular one, since some have their classes in turn.
class Sample {
 public:
  Sample(const HammingCodes& codes, int width_class, std::int64_t at, const HammingKernels& kernels)
      : bytes_(static_cast<std::size_t>(class_bytes(width_class))) {
    // A row of the sample costs as much as the counting of a few hits; the fewer rows, the larger the margin.
    const double n = static_cast<double>(codes.n), k = static_cast<double>(at);
    const double stride = std::clamp(std::pow(.12 * n / std::sqrt(k), 2. / 3.), 1., n / 64);
    const double expected = k / stride;
    wanted_ = static_cast<std::int64_t>(std::ceil(expected + 3 * std::sqrt(expected))) + 2;
    n_ = static_cast<std::size_t>(n / stride);
    rows_ = AlignedBytes(n_ * bytes_);
    std::uint64_t state = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      state += 0x9E3779B97F4A7C15u;
      const double jitter = static_cast<double>((state ^ (state >> 29)) >> 11) * 0x1p-53;
      const auto row =
          std::min(static_cast<std::int64_t>((static_cast<double>(i) + jitter) * stride), codes.n - 1);
      kernels.pad[width_class](codes.data + row * codes.n_bytes, 1, static_cast<std::size_t>(codes.n_bytes),
                               rows_.get() + i * bytes_);
    }
  }

  // A distance within which there are very likely `at` rows.
  int threshold(const DirectKernel& direct, const std::uint8_t* query,
                std::vector<std::uint32_t>& histogram) const {
    std::fill(histogram.begin(), histogram.end(), 0u);
    std::uint16_t distances[kRowsAtOnce];
    for (std::size_t i = 0; i < n_; i += kRowsAtOnce) {
      const std::size_t n = std::min(kRowsAtOnce, n_ - i);
      direct.distances(rows_.get() + i * bytes_, n, query, distances);
      for (std::size_t j = 0; j < n; ++j) ++histogram[distances[j]];
    }
    const int farthest = static_cast<int>(histogram.size()) - 1;
    int threshold = 0;
    for (std::int64_t within = histogram[0]; within < wanted_ && threshold < farthest;
         within += histogram[static_cast<std::size_t>(++threshold)]) {
    }
    return threshold;
  }

 private:
  std::size_t bytes_;
  std::size_t n_;
  std::int64_t wanted_;
  AlignedBytes rows_;
};

struct Tallying {
  const HammingCodes& codes;
  const Relevance& relevance;
  const HammingKernels& kernels;
  int width_class;
  std::size_t n_distances, n_grades;

  std::size_t tally_size() const { return n_distances * n_grades; }
};

// A tile's queries, and within which distance each of them counts.
struct TileThresholds {
  std::vector<int> of_query;
  std::vector<std::uint32_t> sliced, direct;  // queries by how their items are found
};

// Counts a batch of rows at all distances.
template <class Grade>
void count_all(const Tallying& tallying, const QueryTile& tile, std::size_t query_of_tile, std::int64_t query,
               const RowBatch& batch, const Grade& grade, std::uint32_t* counts) {
  std::uint16_t distances[kRowsAtOnce];
  for (std::size_t i = 0; i < batch.n; i += kRowsAtOnce) {
    const std::size_t n = std::min(kRowsAtOnce, batch.n - i);
    tile.direct.distances(batch.codes + i * tile.bytes, n, tile.code(query_of_tile), distances);
    for (std::size_t j = 0; j < n; ++j)
      ++counts[distances[j] * tallying.n_grades + grade(query, batch.row(i + j))];
  }
}

// What one worker counts, and what it needs for that.
template <class Grade>
class TallyWorker {
 public:
  TallyWorker(const Tallying& tallying, const QueryTile& tile, std::int64_t first_query,
              const TileThresholds& thresholds, const Grade& grade)
      : tallying_(tallying),
        tile_(tile),
        first_query_(first_query),
        thresholds_(thresholds),
        grade_(grade),
        reader_(tallying.codes, tallying.width_class, nullptr, tallying.kernels),
        counts_(tile.n * tallying.tally_size()) {
    if (thresholds.sliced.empty()) return;
    const SlicedKernel& s = *tile.sliced;
    const std::size_t block = static_cast<std::size_t>(tile.kernels.block_codes());
    records_ = tile.records;
    for (const std::uint32_t q : thresholds.sliced) {
      s.set_threshold(static_cast<unsigned>(thresholds.of_query[q]), &records_[q * s.record_length]);
    }
    padded_block_ = AlignedBytes(block * tile.bytes);
    planes_ = AlignedBytes(s.plane_bytes);
    tables_ = AlignedBytes(s.table_bytes);
    masks_ = AlignedBytes((tile.n + 1) * static_cast<std::size_t>(tile.kernels.lanes) * 8);
    with_candidates_.resize(tile.n + 1);
    hits_.resize(kVerifiedAtOnce * block);
  }

  void count(std::int64_t first, std::int64_t last) {
    reader_.start(first, last);
    const std::size_t block = static_cast<std::size_t>(tile_.kernels.block_codes());
    for (RowBatch batch; reader_.next(batch);) {
      for (const std::uint32_t q : thresholds_.direct)
        count_all(tallying_, tile_, q, first_query_ + q, batch, grade_, counts(q));
      if (thresholds_.sliced.empty()) continue;
      for (std::size_t i = 0; i < batch.n; i += block) count_block(batch, i, std::min(block, batch.n - i));
    }
  }

  std::uint32_t* counts(std::size_t query) { return &counts_[query * tallying_.tally_size()]; }

 private:
  void count_block(const RowBatch& batch, std::size_t first, std::size_t n) {
    const SlicedKernel& s = *tile_.sliced;
    const std::uint8_t* codes = tile_.whole_block(batch.codes + first * tile_.bytes, n, padded_block_.get());
    s.build(codes, planes_.get(), tables_.get());
    const auto masks = reinterpret_cast<std::uint64_t*>(masks_.get());
    const std::size_t n_found = s.scan(tables_.get(), records_.data(), thresholds_.sliced.data(),
                                       thresholds_.sliced.size(), masks, with_candidates_.data());
    for (std::size_t j = 0; j < n_found; j += kVerifiedAtOnce) {
      const std::size_t n_hits = tile_.kernels.verify[tile_.width_class](
          codes, n, tile_.codes.data(), masks + j * static_cast<std::size_t>(tile_.kernels.lanes),
          &with_candidates_[j], std::min(kVerifiedAtOnce, n_found - j), hits_.data());
      for (std::size_t h = 0; h < n_hits; ++h) {
        const Hit& hit = hits_[h];
        const std::size_t grade = grade_(first_query_ + hit.query, batch.row(first + hit.row));
        ++counts(hit.query)[hit.distance * tallying_.n_grades + grade];
      }
    }
  }

  const Tallying& tallying_;
  const QueryTile& tile_;
  std::int64_t first_query_;
  const TileThresholds& thresholds_;
  Grade grade_;
  RowReader reader_;
  std::vector<std::uint32_t> counts_;  // (queries, n_distances, n_grades)
  std::vector<std::uint16_t> records_;
  AlignedBytes padded_block_, planes_, tables_, masks_;
  std::vector<std::uint32_t> with_candidates_;
  std::vector<Hit> hits_;
};

TileThresholds thresholds_of(const Tallying& tallying, const QueryTile& tile, const Sample* sample,
                             int threads) {
  const int farthest = static_cast<int>(tallying.n_distances) - 1;
  TileThresholds thresholds{std::vector<int>(tile.n, farthest), {}, {}};
  if (tile.sliced != nullptr && sample != nullptr) {
    parallel_for(static_cast<std::int64_t>(tile.n), threads, [&](std::int64_t q, int) {
      const std::size_t query = static_cast<std::size_t>(q);
      std::vector<std::uint32_t> histogram(tallying.n_distances);
      thresholds.of_query[query] = sample->threshold(tile.direct, tile.code(query), histogram);
    });
  }
  for (std::size_t q = 0; q < tile.n; ++q) {
    // Thresholds that the sliced kernel cannot hold leave little out.
    const bool sliced = tile.sliced != nullptr && sample != nullptr &&
                        thresholds.of_query[q] <= static_cast<int>(tile.sliced->max_threshold);
    if (!sliced) thresholds.of_query[q] = farthest;
    (sliced ? thresholds.sliced : thresholds.direct).push_back(static_cast<std::uint32_t>(q));
  }
  return thresholds;
}

// Moves the listed rows within `threshold` from grade 0 to grade 1.
void grade_listed(const Tallying& tallying, const QueryTile& tile, std::size_t query_of_tile,
                  std::int64_t query, int threshold, std::uint32_t* counts) {
  const HammingCodes& codes = tallying.codes;
  std::uint8_t padded[kMaxCodeBytes];
  for (std::int64_t i = tallying.relevance.lims[query]; i < tallying.relevance.lims[query + 1]; ++i) {
    tallying.kernels.pad[tallying.width_class](codes.data + tallying.relevance.rows[i] * codes.n_bytes, 1,
                                               static_cast<std::size_t>(codes.n_bytes), padded);
    std::uint16_t distance;
    tile.direct.distances(padded, 1, tile.code(query_of_tile), &distance);
    if (distance > threshold) continue;
    --counts[distance * tallying.n_grades];
    ++counts[distance * tallying.n_grades + 1];
  }
}

template <class Grade>
void tally_tile(const Tallying& tallying, const QueryTile& tile, std::int64_t first_query,
                const Sample* sample, std::int64_t at, int threads, const Grade& grade,
                const std::function<void(std::int64_t, const DistanceTally&)>& fn) {
  const TileThresholds thresholds = thresholds_of(tallying, tile, sample, threads);
  const std::int64_t n_units = (tallying.codes.n + kUnitRows - 1) / kUnitRows;
  std::vector<std::unique_ptr<TallyWorker<Grade>>> workers(static_cast<std::size_t>(threads));
  const auto worker_of = [&](int w) -> TallyWorker<Grade>& {
    auto& worker = workers[static_cast<std::size_t>(w)];
    if (worker == nullptr)
      worker = std::make_unique<TallyWorker<Grade>>(tallying, tile, first_query, thresholds, grade);
    return *worker;
  };
  worker_of(0);
  parallel_for(n_units, threads, [&](std::int64_t unit, int w) {
    worker_of(w).count(unit * kUnitRows, std::min((unit + 1) * kUnitRows, tallying.codes.n));
  });
  std::vector<TallyWorker<Grade>*> others;
  for (std::size_t w = 1; w < workers.size(); ++w) {
    if (workers[w] != nullptr) others.push_back(workers[w].get());
  }
  const std::size_t size = tallying.tally_size();
  parallel_for(static_cast<std::int64_t>(tile.n), threads, [&](std::int64_t q, int) {
    const std::size_t query = static_cast<std::size_t>(q);
    std::uint32_t* counts = workers[0]->counts(query);
    for (TallyWorker<Grade>* other : others) {
      const std::uint32_t* more = other->counts(query);
      for (std::size_t i = 0; i < size; ++i) counts[i] += more[i];
    }
    int threshold = thresholds.of_query[query];
    if (std::accumulate(counts, counts + size, std::int64_t{0}) < std::min(at, tallying.codes.n)) {
      // The sample was misleading.
      threshold = static_cast<int>(tallying.n_distances) - 1;
      std::fill_n(counts, size, 0u);
      RowReader reader(tallying.codes, tallying.width_class, nullptr, tallying.kernels);
      reader.start(0, tallying.codes.n);
      for (RowBatch batch; reader.next(batch);)
        count_all(tallying, tile, query, first_query + q, batch, grade, counts);
    }
    if (tallying.relevance.kind == Relevance::Kind::listed)
      grade_listed(tallying, tile, query, first_query + q, threshold, counts);
    fn(first_query + q,
       {counts, static_cast<int>(tallying.n_distances), static_cast<int>(tallying.n_grades)});
  });
}

HammingPlan::Method method_for(std::int64_t n, int width_class, std::int64_t n_queries, Isa isa) {
  double costs[3];
  expected_costs(n, width_class, n_queries, isa, costs);
  costs[0] += kCountNs;
  return cheapest_method(costs);
}

}  // namespace

void for_each_tally(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                    const Relevance& relevance, std::int64_t at, int threads,
                    const std::function<void(std::int64_t query, const DistanceTally& tally)>& fn) {
  check_codes(codes, n_queries);
  if (codes.n < 1 || codes.n > UINT32_MAX)
    throw std::invalid_argument("there must be from 1 to 2^32 - 1 items, got " + std::to_string(codes.n));
  if (threads <= 0) threads = num_threads();
  const HammingKernels& kernels = hamming_kernels(active_isa());
  const Tallying tallying{codes,
                          relevance,
                          kernels,
                          width_class_of(codes.n_bytes),
                          static_cast<std::size_t>(8 * codes.n_bytes + 1),
                          static_cast<std::size_t>(relevance.n_grades)};
  // Of so few rows, or for so many ranks, a threshold would leave too little out.
  std::unique_ptr<Sample> sample;
  if (codes.n >= 2048 && at <= codes.n / 4)
    sample = std::make_unique<Sample>(codes, tallying.width_class, at, kernels);
  const std::int64_t tally_bytes = static_cast<std::int64_t>(4 * tallying.tally_size()) * threads;
  const std::int64_t tile_size = std::clamp<std::int64_t>(kTallyBytes / tally_bytes, 1, kQueriesATile);
  for (std::int64_t first = 0; first < n_queries; first += tile_size) {
    std::vector<std::int64_t> chosen(static_cast<std::size_t>(std::min(tile_size, n_queries - first)));
    std::iota(chosen.begin(), chosen.end(), first);
    const QueryTile tile(
        kernels,
        method_for(codes.n, tallying.width_class, static_cast<std::int64_t>(chosen.size()), kernels.isa),
        tallying.width_class, codes.n_bytes, queries, chosen);
    with_grades(relevance, [&](const auto& grade) {
      tally_tile(tallying, tile, first, sample.get(), at, threads, grade, fn);
    });
  }
}

}  // namespace sdc
