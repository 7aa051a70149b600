// The ascending values that sorted similarities are moved to, as a loss on a CUDA device takes them.
#pragma once

#include <cstdint>

namespace sdc::cuda {

// A Beta distribution's quantile function, stretched to [-1, 1] and raised to at least `floor`, as in
// csrc/quantiles.h. `nodes` (4, n_nodes) are values and slopes of the lower half, then those of the upper
// one.
struct BetaSpline {
  const double* nodes = nullptr;
  std::int64_t n_nodes = 0;
  double alpha = 0, beta = 0, floor = -1;
};

// n values: a table on the device, or without one a spline.
template <class T>
struct Quantiles {
  std::int64_t n;
  const T* table = nullptr;
  BetaSpline spline = {};
};

}  // namespace sdc::cuda
