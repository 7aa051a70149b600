#include "tied_ranking.h"

#include <algorithm>
#include <cmath>

namespace sdc {
namespace {

// Σ_{j=1}^{count} 1 / (start + j), to a relative precision of some 1e-14.
//
// It is multiplied by numbers as large as `start`, for which a difference of two harmonic numbers would not
// be precise enough. Hence ψ(x + ½) = ln x + 1/(24x²) - 7/(960x⁴) + 31/(8064x⁶) - 127/(30720x⁸) + …, of which
// the logarithms are subtracted as one log1p; the next term is below 1e-17 for x > 32.
double reciprocal_sum(std::int64_t start, std::int64_t count) {
  constexpr std::int64_t few = 8, small = 32;
  double head = 0;
  const std::int64_t end = start + count;
  const std::int64_t summed = count <= few ? end : std::min(end, small);
  for (; start < summed; ++start) head += 1 / static_cast<double>(start + 1);
  if (start >= end) return head;
  const double below = static_cast<double>(start) + .5, above = static_cast<double>(end) + .5;
  const auto series = [](double x) {
    const double y = 1 / (x * x);
    return y * (1. / 24 - y * (7. / 960 - y * (31. / 8064 - y * (127. / 30720))));
  };
  return head + std::log1p((above - below) / below) + (series(above) - series(below));
}

// Items of one distance, or the part of them that matters, after the items before them.
struct Group {
  std::int64_t items_before = 0, hits_before = 0;
  std::int64_t items = 0, hits = 0;
};

// The expected sum of precisions at the relevant ranks among the first `ranks` of a group; `reciprocals` is
// the reciprocal_sum of these ranks.
double expected_sum(const Group& g, std::int64_t hits, std::int64_t items, std::int64_t ranks,
                    double reciprocals) {
  if (hits == 0) return 0;
  const double other =
      static_cast<double>(hits - 1) / static_cast<double>(std::max<std::int64_t>(items - 1, 1));
  const double terms =
      other * static_cast<double>(ranks) +
      (static_cast<double>(g.hits_before + 1) - other * static_cast<double>(g.items_before + 1)) *
          reciprocals;
  return static_cast<double>(hits) / static_cast<double>(items) * terms;
}

// The sum of precisions over a run of hits, Σ_{j=1}^{hits} (hits_before + j) / (items_before + j): each term
// is 1 - (items_before - hits_before) / (items_before + j).
double run_sum(std::int64_t items_before, std::int64_t hits_before, std::int64_t hits) {
  if (hits == 0) return 0;
  return static_cast<double>(hits) -
         static_cast<double>(items_before - hits_before) * reciprocal_sum(items_before, hits);
}

// The group that holds the last rank that counts, of which `taken` items, at least 1, do.
struct Cut : Group {
  std::int64_t taken = 0;
  std::int64_t least() const { return std::max<std::int64_t>(taken - (items - hits), 0); }
  std::int64_t most() const { return std::min(taken, hits); }
};

// Calls whole(group) for every group that ends before `rank` and returns the one that holds it.
template <class Function>
Cut walk(const DistanceTally& tally, std::int64_t rank, const Function& whole) {
  Cut group;
  for (int d = 0;; ++d) {
    group.hits = tally.count(d, 1);
    group.items = tally.count(d, 0) + group.hits;
    if (group.items_before + group.items >= rank || d + 1 == tally.n_distances) break;
    if (group.items > 0) whole(static_cast<const Group&>(group));
    group.items_before += group.items;
    group.hits_before += group.hits;
  }
  group.taken = std::min(rank - group.items_before, group.items);
  return group;
}

// Calls fn(h, weight) for every number h of relevant items that may be among the taken, in any order; a
// weight is a probability but for a factor. Leaves out tails of less than 1e-19 of it all.
template <class Function>
void for_each_number_taken(const Cut& cut, const Function& fn) {
  const double items = static_cast<double>(cut.items), hits = static_cast<double>(cut.hits),
               taken = static_cast<double>(cut.taken);
  const auto mode =
      std::clamp(static_cast<std::int64_t>((taken + 1) * (hits + 1) / (items + 2)), cut.least(), cut.most());
  // Weights fall faster than geometrically on both sides.
  constexpr double negligible = 1e-22;
  fn(mode, 1.);
  double weight = 1;
  for (std::int64_t h = mode; h < cut.most() && weight > negligible; ++h) {
    const double x = static_cast<double>(h);
    weight *= (hits - x) * (taken - x) / ((x + 1) * (items - hits - taken + x + 1));
    fn(h + 1, weight);
  }
  weight = 1;
  for (std::int64_t h = mode; h > cut.least() && weight > negligible; --h) {
    const double x = static_cast<double>(h);
    weight *= x * (items - hits - taken + x) / ((hits - x + 1) * (taken - x + 1));
    fn(h - 1, weight);
  }
}

// The chance that none of the taken is relevant: of `taken` draws in turn, or, the same, that none of the
// relevant is drawn.
double chance_of_none(const Cut& cut) {
  const std::int64_t draws = std::min(cut.taken, cut.hits), others = std::max(cut.taken, cut.hits);
  double chance = 1;
  for (std::int64_t j = 0; j < draws && chance > 1e-20; ++j)
    chance *= static_cast<double>(std::max<std::int64_t>(cut.items - others - j, 0)) /
              static_cast<double>(cut.items - j);
  return chance;
}

double ratio(double sum, std::int64_t count) {
  return sum / static_cast<double>(std::max<std::int64_t>(count, 1));
}

TiedPrecision expected_precision(const DistanceTally& tally, std::int64_t at, Normalizer normalizer,
                                 std::int64_t divisor) {
  double before = 0;
  const Cut cut = walk(tally, at, [&](const Group& g) {
    if (g.hits > 0)
      before += expected_sum(g, g.hits, g.items, g.items, reciprocal_sum(g.items_before, g.items));
  });
  const double reciprocals = cut.hits > 0 ? reciprocal_sum(cut.items_before, cut.taken) : 0;
  const double chance = cut.hits_before > 0 ? 1 : 1 - chance_of_none(cut);
  if (normalizer != Normalizer::relevant_in_top) {
    const double total = before + expected_sum(cut, cut.hits, cut.items, cut.taken, reciprocals);
    return {ratio(total, divisor), chance, chance};
  }
  double weights = 0, sum = 0;
  for_each_number_taken(cut, [&](std::int64_t h, double weight) {
    weights += weight;
    sum +=
        weight * ratio(before + expected_sum(cut, h, cut.taken, cut.taken, reciprocals), cut.hits_before + h);
  });
  return {sum / weights, chance, chance};
}

TiedPrecision extreme_precision(const DistanceTally& tally, std::int64_t at, bool largest,
                                Normalizer normalizer, std::int64_t divisor) {
  // In a group, the precisions are largest with the relevant items first and smallest with them last. How
  // many of them stand before a group does not depend on the orders of earlier ones: each group can be taken
  // alone.
  double before = 0;
  const Cut cut = walk(tally, at, [&](const Group& g) {
    before += run_sum(g.items_before + (largest ? 0 : g.items - g.hits), g.hits_before, g.hits);
  });
  const auto total = [&](std::int64_t hits) {
    return before + run_sum(cut.items_before + (largest ? 0 : cut.taken - hits), cut.hits_before, hits);
  };
  const auto precision = [&](std::int64_t hits) { return ratio(total(hits), cut.hits_before + hits); };

  const bool sure = cut.hits_before + cut.least() > 0, possible = cut.hits_before + cut.most() > 0;
  // Given a hit, the cut group has at least one where nothing nearer is relevant.
  const std::int64_t least = sure ? cut.least() : std::min<std::int64_t>(cut.most(), 1);
  const auto result = [&](double value) { return TiedPrecision{value, double(sure), double(possible)}; };
  // Each further hit adds to the sum, whatever its rank.
  if (normalizer != Normalizer::relevant_in_top)
    return result(ratio(total(largest ? cut.most() : least), divisor));
  // With h hits in the cut group, AP is the sum divided by hits_before + h. What the next hit adds to the sum
  // grows with h, so AP falls while that is less than AP and then rises: it is largest at an end.
  if (largest) return result(std::max(precision(least), precision(cut.most())));
  std::int64_t low = least, high = cut.most();
  while (low < high) {
    const std::int64_t middle = (low + high) / 2, rank = cut.items_before + cut.taken - middle;
    // The next hit comes before the others, and each of them has one more hit up to its rank.
    const double added =
        ratio(static_cast<double>(cut.hits_before), rank) + reciprocal_sum(rank - 1, middle + 1);
    (added >= precision(middle) ? high : low) = added >= precision(middle) ? middle : middle + 1;
  }
  return result(precision(low));
}

}  // namespace

TiedPrecision tied_precision(const DistanceTally& tally, std::int64_t at, Ties ties, Normalizer normalizer,
                             std::int64_t n_relevant) {
  const std::int64_t divisor =
      normalizer == Normalizer::relevant_up_to_at ? std::min(n_relevant, at) : n_relevant;
  return ties == Ties::expected ? expected_precision(tally, at, normalizer, divisor)
                                : extreme_precision(tally, at, ties == Ties::optimistic, normalizer, divisor);
}

TiedHits tied_hits(const DistanceTally& tally, std::int64_t rank, Ties ties) {
  const Cut cut = walk(tally, rank, [](const Group&) {});
  if (ties == Ties::expected) {
    return {
        static_cast<double>(cut.hits_before) + ratio(static_cast<double>(cut.taken * cut.hits), cut.items),
        cut.hits_before > 0 ? 1 : 1 - chance_of_none(cut)};
  }
  const std::int64_t hits = cut.hits_before + (ties == Ties::optimistic ? cut.most() : cut.least());
  return {static_cast<double>(hits), double(hits > 0)};
}

double tied_gain(const DistanceTally& tally, std::int64_t rank, Ties ties, const double* gains,
                 const double* discounts) {
  double sum = 0;
  std::int64_t before = 0;
  for (int d = 0; d < tally.n_distances && before < rank; ++d) {
    std::int64_t items = 0;
    double total = 0;
    for (int grade = 0; grade < tally.n_grades; ++grade) {
      items += tally.count(d, grade);
      total += static_cast<double>(tally.count(d, grade)) * gains[grade];
    }
    const std::int64_t end = std::min(before + items, rank);
    if (ties == Ties::expected) {
      sum += ratio(total, items) * (discounts[end] - discounts[before]);
    } else {
      // The best order has the highest grades first, the worst one the lowest, also at the cut.
      std::int64_t at = before;
      for (int i = 0; i < tally.n_grades && at < end; ++i) {
        const int grade = ties == Ties::optimistic ? tally.n_grades - 1 - i : i;
        const std::int64_t next = std::min(at + tally.count(d, grade), end);
        sum += gains[grade] * (discounts[next] - discounts[at]);
        at = next;
      }
    }
    before += items;
  }
  return sum;
}

}  // namespace sdc
