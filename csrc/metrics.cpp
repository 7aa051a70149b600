#include "metrics.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "distance_tally.h"
#include "tied_ranking.h"

namespace sdc {
namespace {

void check_rank(std::int64_t rank, std::int64_t n) {
  if (rank < 1 || rank > n)
    throw std::invalid_argument("a rank must be from 1 to the number of items, got " + std::to_string(rank));
}

std::int64_t largest_rank(const std::int64_t* ranks, std::int64_t n_ranks, std::int64_t n) {
  for (std::int64_t i = 0; i < n_ranks; ++i) check_rank(ranks[i], n);
  return *std::max_element(ranks, ranks + n_ranks);
}

template <class Function>
void for_each(const Retrieval& r, std::int64_t at, const Function& fn) {
  for_each_tally(r.codes, r.queries, r.n_queries, r.relevance, at, r.threads, fn);
}

// Σ_{i <= r} 1 / log2(i + 1) for every r up to `rank`.
std::vector<double> discount_sums(std::int64_t rank) {
  std::vector<double> sums(static_cast<std::size_t>(rank) + 1);
  for (std::size_t r = 1; r < sums.size(); ++r)
    sums[r] = sums[r - 1] + 1 / std::log2(static_cast<double>(r) + 1);
  return sums;
}

}  // namespace

void average_precision(const Retrieval& retrieval, std::int64_t at, Ties ties, Normalizer normalizer,
                       double* precision, double* least_chance, double* most_chance) {
  check_rank(at, retrieval.codes.n);
  std::vector<std::int64_t> totals;
  if (normalizer != Normalizer::relevant_in_top)
    totals = count_grades(retrieval.relevance, retrieval.codes.n, retrieval.n_queries, retrieval.threads);
  for_each(retrieval, at, [&](std::int64_t q, const DistanceTally& tally) {
    const std::int64_t relevant = totals.empty() ? 0 : totals[static_cast<std::size_t>(2 * q + 1)];
    const TiedPrecision value = tied_precision(tally, at, ties, normalizer, relevant);
    precision[q] = value.precision;
    least_chance[q] = value.least_chance;
    most_chance[q] = value.most_chance;
  });
}

void hits_at(const Retrieval& retrieval, const std::int64_t* ranks, std::int64_t n_ranks, Ties ties,
             double* hits, double* chance) {
  for_each(retrieval, largest_rank(ranks, n_ranks, retrieval.codes.n),
           [&](std::int64_t q, const DistanceTally& tally) {
             for (std::int64_t i = 0; i < n_ranks; ++i) {
               const TiedHits value = tied_hits(tally, ranks[i], ties);
               hits[q * n_ranks + i] = value.hits;
               chance[q * n_ranks + i] = value.chance;
             }
           });
}

void discounted_gain_at(const Retrieval& retrieval, const std::int64_t* ranks, std::int64_t n_ranks,
                        Ties ties, const double* gains, double* gain) {
  const std::int64_t largest = largest_rank(ranks, n_ranks, retrieval.codes.n);
  const std::vector<double> discounts = discount_sums(largest);
  for_each(retrieval, largest, [&](std::int64_t q, const DistanceTally& tally) {
    for (std::int64_t i = 0; i < n_ranks; ++i)
      gain[q * n_ranks + i] = tied_gain(tally, ranks[i], ties, gains, discounts.data());
  });
}

void ideal_gain_at(const Relevance& relevance, std::int64_t n, std::int64_t n_queries,
                   const std::int64_t* ranks, std::int64_t n_ranks, const double* gains, int threads,
                   double* gain) {
  const std::vector<double> discounts = discount_sums(largest_rank(ranks, n_ranks, n));
  const int n_grades = relevance.n_grades;
  const std::vector<std::int64_t> totals = count_grades(relevance, n, n_queries, threads);
  for (std::int64_t q = 0; q < n_queries; ++q) {
    for (std::int64_t i = 0; i < n_ranks; ++i) {
      double& sum = gain[q * n_ranks + i] = 0;
      std::int64_t at = 0;
      for (int grade = n_grades - 1; grade >= 0 && at < ranks[i]; --grade) {
        const std::int64_t count = totals[static_cast<std::size_t>(q * n_grades + grade)];
        const std::int64_t next = std::min(at + count, ranks[i]);
        sum += gains[grade] *
               (discounts[static_cast<std::size_t>(next)] - discounts[static_cast<std::size_t>(at)]);
        at = next;
      }
    }
  }
}

void distance_histograms(const Retrieval& retrieval, std::int64_t* counts) {
  for_each(retrieval, retrieval.codes.n, [&](std::int64_t q, const DistanceTally& tally) {
    const std::int64_t size = std::int64_t{tally.n_distances} * tally.n_grades;
    std::copy_n(tally.counts, size, counts + q * size);
  });
}

}  // namespace sdc
