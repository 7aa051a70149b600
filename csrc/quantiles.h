// The ascending values that sorted similarities are moved to: a table, or a Beta distribution by
// interpolation.
#pragma once

#include <cstdint>

namespace sdc {

// Half of a Beta distribution's quantile function as a cubic Hermite spline in u = p^(1/shape), in which it
// is analytic down to p = 0. For p <= 1/2 the shape is alpha and x = BetaPPF(p); the other half is the same
// function of 1 - p with alpha and beta exchanged, giving 1 - x. `values` and `slopes` (dx/du) are `n_nodes`
// >= 2 each, at equal steps of u from 0 to (1/2)^(1/shape). Whoever makes the nodes answers for the spline's
// error.
struct BetaHalf {
  double shape;
  const double* values;
  const double* slopes;
  std::int64_t n_nodes;

  double at(double p) const;
};

// n values in ascending order; 2 BetaPPF((2j + 1) / (2n)) - 1 for j < n in the case of a Beta distribution.
// Owns nothing. Exactly one of the three sources is there.
struct Quantiles {
  std::int64_t n = 0;
  const float* table32 = nullptr;
  const double* table64 = nullptr;
  const BetaHalf* halves = nullptr;  // two: the lower, the upper
  double floor = -1;                 // a Beta distribution's values below it are raised to it

  double at(std::int64_t rank) const;
  // Whether a table is in ascending order and finite; true for a Beta distribution.
  bool ascending(int threads) const;
};

// 2 BetaPPF(position / n) - 1, for 0 <= position <= n.
double beta_at(const BetaHalf halves[2], double position, double n);

// out[j] = 2 BetaPPF((2j + 1) / (2n)) - 1 for j < n.
void beta_quantiles(const BetaHalf halves[2], std::int64_t n, int threads, double* out);

}  // namespace sdc
