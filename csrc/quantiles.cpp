#include "quantiles.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "threads.h"

namespace sdc {
namespace {

constexpr std::int64_t kBlock = 8192;

template <class T>
bool is_ascending(const T* values, std::int64_t n, int threads) {
  if (n == 0) return true;
  std::atomic<bool> good{std::isfinite(values[0]) && std::isfinite(values[n - 1])};
  parallel_for((n + kBlock - 1) / kBlock, threads, [&](std::int64_t block, int) {
    int bad = 0;
    const std::int64_t end = std::min(n, (block + 1) * kBlock);
    for (std::int64_t i = std::max<std::int64_t>(1, block * kBlock); i < end; ++i) {
      bad |= !(values[i - 1] <= values[i]);
    }
    if (bad != 0) good = false;
  });
  return good;
}

}  // namespace

double BetaHalf::at(double p) const {
  const double last = static_cast<double>(n_nodes - 1);
  const double step = std::pow(0.5, 1 / shape) / last;
  const double place = std::pow(p, 1 / shape) / step;
  const double left = std::min(std::floor(place), last - 1);
  const double t = place - left;
  const auto i = static_cast<std::int64_t>(left);
  const double y0 = values[i], y1 = values[i + 1];
  const double d0 = slopes[i] * step, d1 = slopes[i + 1] * step;
  const double rise = y1 - y0;
  return y0 + t * (d0 + t * ((3 * rise - 2 * d0 - d1) + t * (d0 + d1 - 2 * rise)));
}

double beta_at(const BetaHalf halves[2], double position, double n) {
  return position + position <= n ? 2 * halves[0].at(position / n) - 1
                                  : 1 - 2 * halves[1].at((n - position) / n);
}

double Quantiles::at(std::int64_t rank) const {
  if (table32 != nullptr) return static_cast<double>(table32[rank]);
  if (table64 != nullptr) return table64[rank];
  return std::max(floor, beta_at(halves, static_cast<double>(rank) + 0.5, static_cast<double>(n)));
}

bool Quantiles::ascending(int threads) const {
  if (table32 != nullptr) return is_ascending(table32, n, threads);
  if (table64 != nullptr) return is_ascending(table64, n, threads);
  return true;
}

void beta_quantiles(const BetaHalf halves[2], std::int64_t n, int threads, double* out) {
  parallel_for((n + kBlock - 1) / kBlock, threads, [&](std::int64_t block, int) {
    const std::int64_t end = std::min(n, (block + 1) * kBlock);
    for (std::int64_t j = block * kBlock; j < end; ++j) {
      out[j] = beta_at(halves, static_cast<double>(j) + 0.5, static_cast<double>(n));
    }
  });
}

}  // namespace sdc
