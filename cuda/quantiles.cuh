// The values that sorted similarities are moved to, on a device.
#pragma once

#include <cuda_runtime.h>

#include "quantiles.h"

namespace sdc::cuda {

// The half of csrc/quantiles.h: a cubic Hermite spline in u = p^(1/shape).
__device__ inline double half_at(const double* values, const double* slopes, std::int64_t n_nodes,
                                 double shape, double p) {
  const double last = static_cast<double>(n_nodes - 1);
  const double step = pow(0.5, 1 / shape) / last;
  const double place = pow(p, 1 / shape) / step;
  const double left = fmin(floor(place), last - 1);
  const double t = place - left;
  const auto i = static_cast<std::int64_t>(left);
  const double y0 = values[i], y1 = values[i + 1];
  const double d0 = slopes[i] * step, d1 = slopes[i + 1] * step;
  const double rise = y1 - y0;
  return y0 + t * (d0 + t * ((3 * rise - 2 * d0 - d1) + t * (d0 + d1 - 2 * rise)));
}

// The quantile function at position / n, for 0 <= position <= n.
__device__ inline double spline_at(const BetaSpline& spline, double position, double n) {
  const std::int64_t nodes = spline.n_nodes;
  const double value =
      position + position <= n
          ? 2 * half_at(spline.nodes, spline.nodes + nodes, nodes, spline.alpha, position / n) - 1
          : 1 - 2 * half_at(spline.nodes + 2 * nodes, spline.nodes + 3 * nodes, nodes, spline.beta,
                            (n - position) / n);
  return fmax(spline.floor, value);
}

template <class T>
__device__ inline double quantile_at(const Quantiles<T>& quantiles, std::int64_t rank) {
  if (quantiles.table != nullptr) return static_cast<double>(quantiles.table[rank]);
  return spline_at(quantiles.spline, static_cast<double>(rank) + 0.5, static_cast<double>(quantiles.n));
}

}  // namespace sdc::cuda
