#include "bracket.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "stable_order.h"
#include "threads.h"

namespace sdc {
namespace {

constexpr std::uint32_t kScan = 16;       // with more open numbers than this in a bin, sorting it is cheaper
constexpr std::int64_t kBinBlock = 4096;  // bins that one thread fills; divides their number

// What the bins ask of the quantiles: the least and the largest value of the ranks [begin, end), and their
// mean. The bins come in ascending order, each beginning where the one before ended.
struct Part {
  double lowest, highest, mean;
};

template <class T>
struct TableParts {
  const T* values;

  Part operator()(std::int64_t begin, std::int64_t end) const {
    double sums[2] = {};
    std::int64_t rank = begin;
    for (; rank + 2 <= end; rank += 2) {
      sums[0] += static_cast<double>(values[rank]);
      sums[1] += static_cast<double>(values[rank + 1]);
    }
    if (rank < end) sums[0] += static_cast<double>(values[rank]);
    return {static_cast<double>(values[begin]), static_cast<double>(values[end - 1]),
            (sums[0] + sums[1]) / static_cast<double>(end - begin)};
  }
};

// Bounds the ranks by the quantile function half a rank beyond them, which the next bin needs too, and takes
// Simpson's rule for the mean. Where the function may be steep, at both ends, and at the floor it adds up the
// ranks.
class BetaParts {
 public:
  // The first bin begins at the rank `begin`.
  BetaParts(const Quantiles& quantiles, std::int64_t begin)
      : quantiles_(quantiles), edge_(value(static_cast<double>(begin))) {}

  Part operator()(std::int64_t begin, std::int64_t end) {
    const double lowest = edge_, count = static_cast<double>(end - begin);
    edge_ = value(static_cast<double>(end));
    if (edge_ <= quantiles_.floor) return {edge_, edge_, edge_};
    const std::int64_t from_end = std::min(begin, quantiles_.n - end);
    if (from_end < kEnd || lowest <= quantiles_.floor || end - begin == 1) {
      double sum = 0;
      for (std::int64_t rank = begin; rank < end; ++rank) sum += quantiles_.at(rank);
      return {lowest, edge_, sum / count};
    }
    const double middle = value(static_cast<double>(begin) + 0.5 * count);
    return {lowest, edge_, (lowest + 4 * middle + edge_) / 6};
  }

 private:
  static constexpr std::int64_t kEnd = 256;

  double value(double position) const {
    return std::max(quantiles_.floor,
                    beta_at(quantiles_.halves, position, static_cast<double>(quantiles_.n)));
  }

  const Quantiles& quantiles_;
  double edge_;
};

float rounded(double value) { return static_cast<float>(value); }

std::uint64_t packed(float t, std::int64_t index) { return Ranked<float>::of(t, index).packed; }

}  // namespace

bool Brackets::choose_bins(float low, float high, std::int64_t n, Bins* bins) {
  // The tables of 65,536 bins fit the second-level cache; fewer numbers need narrower bins, since less
  // averages out.
  const std::int32_t count = n > 2'000'000 ? 1 << 16 : 1 << 17;
  const float scale = static_cast<float>(count) / (high - low);
  *bins = {low, scale, count};
  return std::isfinite(low) && std::isfinite(scale) && scale > 0;
}

Brackets::Brackets(const Bins& bins, const std::vector<std::vector<std::uint32_t>>& counts,
                   const Quantiles& quantiles, int threads)
    : bins_(bins),
      quantiles_(quantiles),
      begins_(static_cast<std::size_t>(bins.count) + 1),
      table_(static_cast<std::size_t>(bins.count)) {
  const std::int64_t blocks = bins.count / kBinBlock;
  std::vector<std::uint32_t> block_begins(static_cast<std::size_t>(blocks) + 1);
  // The counts, added up, wait where the first ranks will be.
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    std::uint32_t* totals = begins_.data() + block * kBinBlock;
    for (const auto& part : counts) {
      if (part.empty()) continue;
      const std::uint32_t* from = part.data() + block * kBinBlock;
      for (std::int64_t bin = 0; bin < kBinBlock; ++bin) totals[bin] += from[bin];
    }
    block_begins[static_cast<std::size_t>(block) + 1] = std::accumulate(totals, totals + kBinBlock, 0u);
  });
  std::partial_sum(block_begins.begin(), block_begins.end(), block_begins.begin());
  begins_.back() = block_begins.back();
  std::vector<double> variances(static_cast<std::size_t>(blocks));
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    double& variance = variances[static_cast<std::size_t>(block)];
    const std::int64_t first = block * kBinBlock;
    std::uint32_t* begins = begins_.data() + first;
    std::uint32_t begin = block_begins[static_cast<std::size_t>(block)];
    for (std::int64_t bin = 0; bin < kBinBlock; ++bin) begin += std::exchange(begins[bin], begin);
    if (quantiles.table32 != nullptr) {
      variance = fill(first, begin, TableParts<float>{quantiles.table32});
    } else if (quantiles.table64 != nullptr) {
      variance = fill(first, begin, TableParts<double>{quantiles.table64});
    } else {
      variance = fill(first, begin, BetaParts(quantiles, begins[0]));
    }
  });
  // Moving a number from the negative to the positive signs counts twice.
  loss_error_ = 4 * 2 * std::sqrt(std::accumulate(variances.begin(), variances.end(), 0.0));
}

template <class Parts>
double Brackets::fill(std::int64_t first, std::int64_t last_end, Parts parts) {
  double variance = 0;
  const auto last = static_cast<std::size_t>(first + kBinBlock - 1);
  for (auto bin = static_cast<std::size_t>(first); bin <= last; ++bin) {
    // The next block may still hold its counts.
    const std::int64_t begin = begins_[bin], end = bin < last ? begins_[bin + 1] : last_end;
    if (begin == end) continue;
    const Part part = parts(begin, end);
    const auto count = static_cast<double>(end - begin);
    const float lowest = rounded(part.lowest), highest = rounded(part.highest), mean = rounded(part.mean);
    // A little more than the roundings here and in the kernel's subtraction can come to.
    const float slack =
        4 * std::numeric_limits<float>::epsilon() * std::max(std::fabs(lowest), std::fabs(highest));
    table_[bin] = {mean, std::max(mean - lowest, highest - mean) + slack};
    if (count > 1) {
      // The variance of a rank sum (Wilcoxon's) of half the numbers, in units of the quantiles' step.
      const double step = (part.highest - part.lowest) / (count - 1);
      variance += step * step * (count * count / 4) * (count + 1) / 12;
    }
  }
  return variance;
}

std::int32_t Brackets::bin_of(float t) const {
  const float place = (t - bins_.low) * bins_.scale;
  return static_cast<std::int32_t>(std::min(std::max(place, 0.0f), static_cast<float>(bins_.count - 1)));
}

bool Brackets::want(const std::vector<TeacherPair>& open, std::int64_t most) {
  wanted_.assign(table_.size(), 0);
  group_of_.reset(new std::uint32_t[table_.size()]);
  opens_.clear();
  starts_.assign(1, 0);
  for (const TeacherPair& pair : open) {
    const auto bin = static_cast<std::size_t>(bin_of(pair.t));
    if (wanted_[bin] == 0) {
      wanted_[bin] = 1;
      group_of_[bin] = static_cast<std::uint32_t>(opens_.size());
      opens_.push_back(0);
      starts_.push_back(starts_.back() + (begins_[bin + 1] - begins_[bin]));
    }
    ++opens_[group_of_[bin]];
  }
  if (starts_.back() > most) return false;
  nexts_.reset(new std::atomic<std::uint32_t>[opens_.size()]);
  for (std::size_t group = 0; group < opens_.size(); ++group) nexts_[group] = starts_[group];
  keys_.reset(new std::uint64_t[starts_.back()]);
  return true;
}

void Brackets::add(float t, std::int64_t index) {
  auto& next = nexts_[group_of_[static_cast<std::size_t>(bin_of(t))]];
  keys_[next.fetch_add(1, std::memory_order_relaxed)] = packed(t, index);
}

double Brackets::resolve(const std::vector<TeacherPair>& open, std::vector<std::int8_t>* signs) {
  for (std::size_t group = 0; group < opens_.size(); ++group) {
    if (opens_[group] > kScan) std::sort(keys_.get() + starts_[group], keys_.get() + starts_[group + 1]);
  }
  signs->resize(open.size());
  double correction = 0;
  for (std::size_t i = 0; i < open.size(); ++i) {
    const TeacherPair& pair = open[i];
    const auto bin = static_cast<std::size_t>(bin_of(pair.t));
    const std::uint64_t key = packed(pair.t, pair.index);
    const std::size_t group = group_of_[bin];
    const std::uint64_t* begin = keys_.get() + starts_[group];
    const std::uint64_t* end = keys_.get() + starts_[group + 1];
    std::int64_t rank = begins_[bin];
    if (opens_[group] > kScan) {
      rank += std::lower_bound(begin, end, key) - begin;
    } else {
      for (const std::uint64_t* other = begin; other < end; ++other) rank += *other < key;
    }
    const float distance = pair.s - rounded(quantiles_.at(rank));
    (*signs)[i] = static_cast<std::int8_t>((distance > 0) - (distance < 0));
    correction +=
        static_cast<double>(std::fabs(distance)) - static_cast<double>(std::fabs(pair.s - table_[bin].mean));
  }
  return correction;
}

}  // namespace sdc
