// The cost model of the Hamming engine: the one place that decides how a search runs. Internal.
#pragma once

#include <cstdint>

#include "hamming.h"

namespace sdc {

// The cheapest method for n rows, by expected time. Widths above 128 bytes have only `direct`.
HammingPlan::Method cheapest_method(const double (&ns_per_pair)[3]);

// Expected ns per (query, row) of each method.
void expected_costs(std::int64_t n, int width_class, std::int64_t n_queries, Isa isa,
                    double (&ns_per_pair)[3]);

// Estimating the thresholds on one row in `kSampleStride` pays when the hits that it saves outnumber those it
// costs.
constexpr std::int64_t kSampleStride = 16;
bool sampling_pays(std::int64_t n, std::int64_t k);

// How many of a sample's nearest rows hold, but for a chance of some 1 in 1,000, the k nearest of all.
std::int64_t sample_k(std::int64_t k);

}  // namespace sdc
