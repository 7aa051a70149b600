// What a ranking by distance is worth when items at one distance may come in any order, from its tally.
//
// `expected` is the mean over all their orders, each as likely; `optimistic` and `pessimistic` are the
// extremes. In expectation, an item of a group of n, p of them relevant, is relevant with probability p / n,
// and then each other one with probability (p - 1) / (n - 1); with N items, P of them relevant, at smaller
// distances, the sum of precisions at the group's relevant ranks is
//
//   (p / n) Σ_{j=1}^{n} [P + 1 + (j - 1) (p - 1) / (n - 1)] / (N + j)
//
// (McSherry & Najork, ECIR 2008). How many of the p are among the first r of the group that holds the last
// rank follows a hypergeometric distribution. Internal.
#pragma once

#include <cstdint>
#include <vector>

#include "distance_tally.h"
#include "metrics.h"

namespace sdc {

// One query's average precision, and its chance to have a hit: a relevant item within the ranks that count.
struct TiedPrecision {
  double precision;     // expected: 0 where there is no hit; else given a hit, also where there may be none
  double least_chance;  // expected: of a hit; else 1 where all orders have one
  double most_chance;   // expected: the same; else 1 where any order has one
};

// n_relevant: items of grade 1 in the whole database, which `relevant_in_top` does not read.
TiedPrecision tied_precision(const DistanceTally& tally, std::int64_t at, Ties ties, Normalizer normalizer,
                             std::int64_t n_relevant);

// Relevant items up to a rank, and the chance of any.
struct TiedHits {
  double hits;
  double chance;
};
TiedHits tied_hits(const DistanceTally& tally, std::int64_t rank, Ties ties);

// The sum of gains[grade] · discount over the first `rank` ranks; discounts[r] is the sum over the first r.
double tied_gain(const DistanceTally& tally, std::int64_t rank, Ties ties, const double* gains,
                 const double* discounts);

}  // namespace sdc
