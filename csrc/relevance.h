// Which items are relevant to which query, and by how much: a grade from 0 (not relevant) to n_grades - 1.
#pragma once

#include <cstdint>
#include <vector>

namespace sdc {

struct Relevance {
  enum class Kind {
    equal,    // 1 where the labels are equal: `items` (n,) and `queries` (n_queries,), one word each
    shared,   // 1 where item and query have any label in common: `words` words of bits each, row-major
    counted,  // how many labels they have in common
    listed,   // 1 for the rows [lims[q], lims[q + 1]) of `rows`, without duplicates and each of the database
  };

  Kind kind;
  const std::uint64_t* items = nullptr;
  const std::uint64_t* queries = nullptr;
  std::int64_t words = 1;
  const std::int64_t* lims = nullptr;
  const std::int64_t* rows = nullptr;
  int n_grades = 2;  // of `counted`: one more than any query has labels
};

// The most labels that any query has, at least 1: for `shared` and `counted`.
int most_labels(const Relevance& relevance, std::int64_t n_queries);

// How many of the n items have each grade for each query: (n_queries, n_grades).
std::vector<std::int64_t> count_grades(const Relevance& relevance, std::int64_t n, std::int64_t n_queries,
                                       int threads);

}  // namespace sdc
