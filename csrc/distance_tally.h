// How many items each query has at each distance, and how relevant they are: all that a measure of a ranking
// by distance depends on. Internal.
//
// Nothing is sorted, and nothing is kept of a pair but a count. Where only the first ranks matter, a
// threshold for each query, from a sample of the rows, leaves few items to be looked up and counted.
#pragma once

#include <cstdint>
#include <functional>

#include "hamming.h"
#include "relevance.h"

namespace sdc {

// One query's items. Complete up to some distance, and without any beyond it.
struct DistanceTally {
  const std::uint32_t* counts;  // (n_distances, n_grades)
  int n_distances;
  int n_grades;

  std::int64_t count(int distance, int grade) const {
    return counts[static_cast<std::int64_t>(distance) * n_grades + grade];
  }
};

// Calls fn(query, tally) for every query, on several threads at once. Each tally holds at least `at` items,
// or all. There is at least one code, and there are fewer than 2^32; 1 <= at.
void for_each_tally(const HammingCodes& codes, const std::uint8_t* queries, std::int64_t n_queries,
                    const Relevance& relevance, std::int64_t at, int threads,
                    const std::function<void(std::int64_t query, const DistanceTally& tally)>& fn);

}  // namespace sdc
