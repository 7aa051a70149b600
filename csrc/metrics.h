// Measures of rankings by Hamming distance, with items at one distance in any order.
//
// Codes and queries as in hamming.h. Relevance is a grade of each item for each query; where it is a yes or
// no, grade 1 is relevant. A rank counts from 1 and does not exceed the number of items. Results are one row
// a query. `threads` is the largest number of threads to use; 0 means num_threads(). Working memory stays
// under 64 MB, or what one query's counts need (4 bytes for each distance and grade) on each thread.
//
// Throws std::invalid_argument when a number is outside these limits; items may be 2^32 - 1 at most.
#pragma once

#include <cstdint>

#include "hamming.h"
#include "relevance.h"

namespace sdc {

enum class Ties { expected, optimistic, pessimistic };

// What a sum of precisions is divided by: the relevant items within the ranks that count, all of the
// database's, or the smaller of these and the number of ranks.
enum class Normalizer { relevant_in_top, all_relevant, relevant_up_to_at };

struct Retrieval {
  HammingCodes codes;
  const std::uint8_t* queries;
  std::int64_t n_queries;
  Relevance relevance;
  int threads;
};

// Average precision of the first `at` ranks, and the chance of a relevant item among them. Expected: the
// precision counts 0 where there is none, and both chances are the same. Else the precision is the extreme
// over the orders that have one, and the chances are 1 where all and where any orders have one.
void average_precision(const Retrieval& retrieval, std::int64_t at, Ties ties, Normalizer normalizer,
                       double* precision, double* least_chance, double* most_chance);

// Relevant items among the first ranks[i], and the chance of any: (n_queries, n_ranks) each.
void hits_at(const Retrieval& retrieval, const std::int64_t* ranks, std::int64_t n_ranks, Ties ties,
             double* hits, double* chance);

// Σ_{r <= rank} gains[grade of the item at r] / log2(r + 1), (n_queries, n_ranks). `gains` are (n_grades,),
// and grow with the grade.
void discounted_gain_at(const Retrieval& retrieval, const std::int64_t* ranks, std::int64_t n_ranks,
                        Ties ties, const double* gains, double* gain);

// The same for all n items in the order of their grades, highest first.
void ideal_gain_at(const Relevance& relevance, std::int64_t n, std::int64_t n_queries,
                   const std::int64_t* ranks, std::int64_t n_ranks, const double* gains, int threads,
                   double* gain);

// Items at each distance by grade: (n_queries, 8 n_bytes + 1, n_grades).
void distance_histograms(const Retrieval& retrieval, std::int64_t* counts);

}  // namespace sdc
