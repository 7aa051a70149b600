#include "relevance.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <string_view>
#include <unordered_map>

#include "threads.h"

namespace sdc {
namespace {

// Items with the same labels count together: there are far fewer sets of labels than items.
class DistinctLabels {
 public:
  DistinctLabels(const std::uint64_t* items, std::int64_t n, std::int64_t words) : words_(words) {
    for (std::int64_t i = 0; i < n; ++i) ++counts_[key(items + i * words)];
  }

  std::int64_t count(const std::uint64_t* labels) const {
    const auto found = counts_.find(key(labels));
    return found == counts_.end() ? 0 : found->second;
  }

  // Calls fn(labels, how many items have them).
  template <class Function>
  void for_each(const Function& fn) const {
    for (const auto& [labels, count] : counts_)
      fn(reinterpret_cast<const std::uint64_t*>(labels.data()), count);
  }

 private:
  std::string_view key(const std::uint64_t* labels) const {
    return {reinterpret_cast<const char*>(labels), static_cast<std::size_t>(8 * words_)};
  }

  std::int64_t words_;
  std::unordered_map<std::string_view, std::int64_t> counts_;
};

}  // namespace

int most_labels(const Relevance& relevance, std::int64_t n_queries) {
  int most = 1;
  for (std::int64_t q = 0; q < n_queries; ++q) {
    int labels = 0;
    for (std::int64_t w = 0; w < relevance.words; ++w)
      labels += std::popcount(relevance.queries[q * relevance.words + w]);
    most = std::max(most, labels);
  }
  return most;
}

std::vector<std::int64_t> count_grades(const Relevance& relevance, std::int64_t n, std::int64_t n_queries,
                                       int threads) {
  using Kind = Relevance::Kind;
  const std::size_t n_grades = static_cast<std::size_t>(relevance.n_grades);
  std::vector<std::int64_t> totals(static_cast<std::size_t>(n_queries) * n_grades);
  const auto totals_of = [&](std::int64_t q) { return &totals[static_cast<std::size_t>(q) * n_grades]; };
  if (relevance.kind == Kind::listed) {
    for (std::int64_t q = 0; q < n_queries; ++q) {
      totals_of(q)[1] = relevance.lims[q + 1] - relevance.lims[q];
      totals_of(q)[0] = n - totals_of(q)[1];
    }
    return totals;
  }
  const DistinctLabels distinct(relevance.items, n, relevance.words);
  parallel_for(n_queries, threads, [&](std::int64_t q, int) {
    std::int64_t* total = totals_of(q);
    const std::uint64_t* wanted = relevance.queries + q * relevance.words;
    if (relevance.kind == Kind::equal) {
      total[1] = distinct.count(wanted);
      total[0] = n - total[1];
      return;
    }
    distinct.for_each([&](const std::uint64_t* labels, std::int64_t count) {
      int common = 0;
      for (std::int64_t w = 0; w < relevance.words; ++w) common += std::popcount(labels[w] & wanted[w]);
      total[relevance.kind == Kind::counted ? common : common > 0] += count;
    });
  });
  return totals;
}

}  // namespace sdc
