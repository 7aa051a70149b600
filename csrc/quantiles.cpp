#include "quantiles.h"

#include <algorithm>
#include <cmath>

#include "threads.h"

namespace sdc {
namespace {

constexpr std::int64_t kBlock = 8192;
constexpr std::int64_t kExactSum = 16;  // up to so many values are added one by one, and at both ends
constexpr std::int64_t kEnd = 256;

// `position` is a rank plus one half, divided by n where it is used.
double beta_at(const BetaHalf* halves, double position, double n) {
  return position + position <= n ? 2 * halves[0].at(position / n) - 1
                                  : 1 - 2 * halves[1].at((n - position) / n);
}

template <class T>
bool is_ascending(const T* values, std::int64_t n) {
  constexpr std::int64_t kStride = 4096;
  bool good = n == 0 || (std::isfinite(values[0]) && std::isfinite(values[n - 1]));
  for (std::int64_t begin = 1; good && begin < n; begin += kStride) {
    const std::int64_t end = std::min(n, begin + kStride);
    int bad = 0;
    for (std::int64_t i = begin; i < end; ++i) bad |= !(values[i - 1] <= values[i]);
    good = bad == 0;
  }
  return good;
}

template <class T>
double sum_of(const T* values, std::int64_t n) {
  double sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int lane = 0; lane < 4; ++lane) sums[lane] += static_cast<double>(values[i + lane]);
  for (; i < n; ++i) sums[0] += static_cast<double>(values[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
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

double Quantiles::at(std::int64_t rank) const {
  if (table32 != nullptr) return static_cast<double>(table32[rank]);
  if (table64 != nullptr) return table64[rank];
  return std::max(floor, beta_at(halves, static_cast<double>(rank) + 0.5, static_cast<double>(n)));
}

double Quantiles::sum(std::int64_t begin, std::int64_t end) const {
  const std::int64_t count = end - begin;
  if (table32 != nullptr) return sum_of(table32 + begin, count);
  if (table64 != nullptr) return sum_of(table64 + begin, count);
  if (at(end - 1) <= floor) return static_cast<double>(count) * floor;
  if (count <= kExactSum || begin < kEnd || n - end < kEnd || at(begin) <= floor) {
    double total = 0;
    for (std::int64_t rank = begin; rank < end; ++rank) total += at(rank);
    return total;
  }
  // Gauss and Legendre's abscissae and weights on [-1, 1].
  constexpr double kPoints[2] = {0.33998104358485626, 0.86113631159405258};
  constexpr double kWeights[2] = {0.65214515486254614, 0.34785484513745386};
  const double middle = 0.5 * static_cast<double>(begin + end), half = 0.5 * static_cast<double>(count);
  double mean = 0;
  for (int i = 0; i < 2; ++i) {
    mean += kWeights[i] * (beta_at(halves, middle - half * kPoints[i], static_cast<double>(n)) +
                           beta_at(halves, middle + half * kPoints[i], static_cast<double>(n)));
  }
  return mean * half;
}

bool Quantiles::ascending() const {
  if (table32 != nullptr) return is_ascending(table32, n);
  if (table64 != nullptr) return is_ascending(table64, n);
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
