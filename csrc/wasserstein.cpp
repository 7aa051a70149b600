#include "wasserstein.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "bracket.h"
#include "calibration_kernels.h"
#include "isa.h"
#include "stable_order.h"
#include "threads.h"

namespace sdc {

const CalibrationKernels& calibration_kernels() {
#if defined(__x86_64__)
  const Isa isa = active_isa();
  if (isa >= Isa::avx512 && __builtin_cpu_supports("avx512dq")) return kAvx512Calibration;
  if (isa >= Isa::avx2 && __builtin_cpu_supports("fma")) return kAvx2Calibration;
#endif
  return kPortableCalibration;
}

namespace {

constexpr std::int64_t kRankBlock = 8192;      // ranks whose distances are summed before they join the rest
constexpr std::int64_t kIndexBlock = 1 << 16;  // the same where there is no order; a multiple of kKernelBlock
constexpr std::int64_t kBracket = 140'000;     // from here on a histogram is cheaper than a sort
constexpr std::int64_t kTask = 32768;          // numbers that are worth waking a thread for
constexpr double kLossTolerance = 2e-7;

// The threads worth their start for so many numbers.
int worthwhile(int threads, std::int64_t numbers) {
  return static_cast<int>(std::min<std::int64_t>(threads, numbers / (kTask / 2)));
}

std::int64_t blocks_of(std::int64_t n, std::int64_t block) { return (n + block - 1) / block; }

bool range_of(const float* values, std::int64_t n, int threads, float* low, float* high) {
  const auto* kernels = &calibration_kernels();
  const std::int64_t blocks = blocks_of(n, kIndexBlock);
  if (blocks == 1) return kernels->range(values, n, low, high);
  std::vector<float> lows(static_cast<std::size_t>(blocks)), highs(lows);
  std::atomic<bool> good{true};
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    const std::int64_t begin = block * kIndexBlock;
    const auto i = static_cast<std::size_t>(block);
    if (!kernels->range(values + begin, std::min(kIndexBlock, n - begin), &lows[i], &highs[i])) good = false;
  });
  *low = *std::min_element(lows.begin(), lows.end());
  *high = *std::max_element(highs.begin(), highs.end());
  return good;
}

bool range_of(const double* values, std::int64_t n, int, double* low, double* high) {
  *low = *high = values[0];
  bool good = true;
  for (std::int64_t i = 0; i < n; ++i) {
    *low = values[i] < *low ? values[i] : *low;
    *high = values[i] > *high ? values[i] : *high;
    good = good && values[i] == values[i];
  }
  return good;
}

// |distance|^p and its derivative, which is 0 at 0.
template <class T>
struct AbsoluteCost {
  T of(T distance) const { return std::fabs(distance); }
  T slope(T distance) const { return static_cast<T>((distance > 0) - (distance < 0)); }
};

template <class T>
struct SquareCost {
  T of(T distance) const { return distance * distance; }
  T slope(T distance) const { return 2 * distance; }
};

template <class T>
struct PowerCost {
  T p;

  T of(T distance) const { return std::pow(std::fabs(distance), p); }
  T slope(T distance) const { return std::copysign(p * std::pow(std::fabs(distance), p - 1), distance); }
};

template <class T, class Do>
auto with_cost(double p, const Do& run) {
  if (p == 1) return run(AbsoluteCost<T>{});
  if (p == 2) return run(SquareCost<T>{});
  return run(PowerCost<T>{static_cast<T>(p)});
}

// Where the gradient of one row goes: signs for p = 1, else real numbers; or nowhere.
template <class T>
struct Target {
  std::int8_t* signs;
  T* gradient;
  T scale;
};

template <class T, class U, class Table, class Cost>
double sum_ranks(const T* code, const Ranked<U>* order, Table quantile, std::int64_t begin, std::int64_t end,
                 const Cost& cost, const Target<T>& target) {
  double sum = 0;
  for (std::int64_t j = begin; j < end; ++j) {
    const std::int64_t i = order[j].index();
    const T distance = code[i] - static_cast<T>(quantile(j));
    sum += static_cast<double>(cost.of(distance));
    if (target.signs != nullptr) {
      target.signs[i] = static_cast<std::int8_t>((distance > 0) - (distance < 0));
    }
    if (target.gradient != nullptr) {
      target.gradient[i] = target.scale * cost.slope(distance);
    }
  }
  return sum;
}

// The sum of a row's costs, by the order of its teacher.
template <class T, class U, class Cost>
double sorted_row(const T* code, const U* teacher, const Quantiles& quantiles, std::int64_t n, U low, U high,
                  const Cost& cost, int threads, StableOrder<U>* sorter, const Target<T>& target) {
  const Ranked<U>* order = sorter->sort(teacher, n, low, high, threads);
  const auto sum_block = [&](std::int64_t begin, std::int64_t end) {
    if (quantiles.table32 != nullptr) {
      const float* table = quantiles.table32;
      return sum_ranks(code, order, [table](std::int64_t j) { return table[j]; }, begin, end, cost, target);
    }
    if (quantiles.table64 != nullptr) {
      const double* table = quantiles.table64;
      return sum_ranks(code, order, [table](std::int64_t j) { return table[j]; }, begin, end, cost, target);
    }
    return sum_ranks(code, order, [&](std::int64_t j) { return quantiles.at(j); }, begin, end, cost, target);
  };
  const std::int64_t blocks = blocks_of(n, kRankBlock);
  if (blocks == 1) return sum_block(0, n);
  std::vector<double> sums(static_cast<std::size_t>(blocks));
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    const std::int64_t begin = block * kRankBlock;
    sums[static_cast<std::size_t>(block)] = sum_block(begin, std::min(n, begin + kRankBlock));
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

// The sum of a row's distances without its order. False, and signs left in any state, where that is not
// exact.
bool bracketed_row(const float* code, const float* teacher, const Quantiles& quantiles, std::int64_t n,
                   float low, float high, int threads, bool forced, std::int8_t* signs, double* sum) {
  Bins bins;
  if (!Brackets::choose_bins(low, high, n, &bins)) return false;
  const auto* kernels = &calibration_kernels();
  const auto n_bins = static_cast<std::size_t>(bins.count);
  const std::int64_t blocks = blocks_of(n, kIndexBlock);
  const auto size_of = [&](std::int64_t block) { return std::min(kIndexBlock, n - block * kIndexBlock); };

  std::vector<std::vector<std::uint32_t>> counts(static_cast<std::size_t>(std::max(threads, 1)));
  parallel_for(blocks, threads, [&](std::int64_t block, int worker) {
    auto& mine = counts[static_cast<std::size_t>(worker)];
    mine.resize(n_bins);
    kernels->histogram(teacher + block * kIndexBlock, size_of(block), bins, mine.data());
  });
  Brackets brackets(bins, counts, quantiles, threads);  // a worker that got no block has no counts

  // Without a place for the signs they go to a block of scratch memory, since the kernel writes them anyway.
  std::vector<double> sums(static_cast<std::size_t>(blocks));
  std::vector<std::vector<TeacherPair>> found(static_cast<std::size_t>(blocks));
  const auto most = static_cast<std::size_t>(n / 16 + 64);
  std::atomic<std::size_t> n_open{0};
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    std::uint32_t open[kKernelBlock];
    std::int8_t unwanted[kKernelBlock];
    const std::int64_t end = block * kIndexBlock + size_of(block);
    for (std::int64_t begin = block * kIndexBlock; begin < end; begin += kKernelBlock) {
      if (n_open > most) return;
      const std::int64_t size = std::min(kKernelBlock, end - begin);
      const std::int64_t count = kernels->classify_signs(
          code + begin, teacher + begin, size, bins, brackets.table(),
          signs != nullptr ? signs + begin : unwanted, open, &sums[static_cast<std::size_t>(block)]);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t index = begin + open[i];
        found[static_cast<std::size_t>(block)].push_back({code[index], teacher[index], index});
      }
      n_open += static_cast<std::size_t>(count);
    }
  });
  *sum = std::accumulate(sums.begin(), sums.end(), 0.0);
  if (n_open > most || std::isnan(*sum)) return false;
  if (n_open == 0) return forced || brackets.loss_error() <= kLossTolerance * *sum;

  std::vector<TeacherPair> open;
  for (const auto& part : found) open.insert(open.end(), part.begin(), part.end());
  if (!brackets.want(open, n / 4)) return false;
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    std::uint32_t inside[kKernelBlock];
    const std::int64_t end = block * kIndexBlock + size_of(block);
    for (std::int64_t begin = block * kIndexBlock; begin < end; begin += kKernelBlock) {
      const std::int64_t count = kernels->collect(teacher + begin, std::min(kKernelBlock, end - begin), bins,
                                                  brackets.wanted(), inside);
      for (std::int64_t i = 0; i < count; ++i) {
        brackets.add(teacher[begin + inside[i]], begin + inside[i]);
      }
    }
  });
  std::vector<std::int8_t> open_signs;
  *sum += brackets.resolve(open, &open_signs);
  if (signs != nullptr) {
    for (std::size_t i = 0; i < open.size(); ++i) signs[open[i].index] = open_signs[i];
  }
  return forced || brackets.loss_error() <= kLossTolerance * *sum;
}

template <class T, class U>
double calibrated_row(const T* code, const U* teacher, const Quantiles& quantiles, std::int64_t n, double p,
                      int threads, Method method, StableOrder<U>* sorter, const Target<T>& target) {
  U low, high;
  double sum = std::numeric_limits<double>::quiet_NaN();
  if (range_of(teacher, n, threads, &low, &high)) {
    sum = 0;
    bool done = false;
    if constexpr (std::is_same_v<T, float> && std::is_same_v<U, float>) {
      if (p == 1 && target.gradient == nullptr &&
          (method == Method::bracket || (method == Method::automatic && n >= kBracket))) {
        done = bracketed_row(code, teacher, quantiles, n, low, high, threads, method == Method::bracket,
                             target.signs, &sum);
      }
    }
    if (!done && !std::isnan(sum)) {
      sum = with_cost<T>(p, [&](const auto& cost) {
        return sorted_row(code, teacher, quantiles, n, low, high, cost, threads, sorter, target);
      });
    }
  }
  if (std::isnan(sum)) {
    if (target.signs != nullptr) std::fill(target.signs, target.signs + n, kNanSign);
    if (target.gradient != nullptr) std::fill(target.gradient, target.gradient + n, static_cast<T>(sum));
  }
  return sum;
}

Quantiles shifted(Quantiles quantiles, std::int64_t by) {
  if (quantiles.table32 != nullptr) quantiles.table32 += by;
  if (quantiles.table64 != nullptr) quantiles.table64 += by;
  return quantiles;
}

// Calls row(r, threads, worker) for every row: many rows share the threads, a large one gets them all.
template <class Row>
void for_rows(std::int64_t rows, std::int64_t n, int threads, const Row& row) {
  const int useful = std::max(1, worthwhile(threads, rows * n));
  if (useful == 1 || rows < 2 * useful) {
    for (std::int64_t r = 0; r < rows; ++r) row(r, n >= kTask ? useful : 1, 0);
    return;
  }
  const std::int64_t tasks = std::min<std::int64_t>(rows, 8 * useful);
  parallel_for(tasks, useful, [&](std::int64_t task, int worker) {
    for (std::int64_t r = rows * task / tasks; r < rows * (task + 1) / tasks; ++r) row(r, 1, worker);
  });
}

}  // namespace

template <class T, class U>
double calibration_loss(const T* code, const U* teacher, const Quantiles& quantiles,
                        std::int64_t quantile_stride, std::int64_t rows, std::int64_t n, double p,
                        int threads, Method method, std::int8_t* signs, T* gradient) {
  for (std::int64_t r = 0; r < (quantile_stride == 0 ? 1 : rows); ++r) {
    if (!shifted(quantiles, r * quantile_stride).ascending(worthwhile(threads, n / 8))) {
      throw std::invalid_argument("quantiles must be finite and in ascending order");
    }
  }
  const double total = static_cast<double>(rows) * static_cast<double>(n);
  std::vector<double> sums(static_cast<std::size_t>(rows));
  std::vector<std::unique_ptr<StableOrder<U>>> sorters(static_cast<std::size_t>(std::max(threads, 1)));
  for_rows(rows, n, threads, [&](std::int64_t r, int row_threads, int worker) {
    auto& sorter = sorters[static_cast<std::size_t>(worker)];
    if (sorter == nullptr) sorter = std::make_unique<StableOrder<U>>();
    const Target<T> target{signs != nullptr ? signs + r * n : nullptr,
                           gradient != nullptr ? gradient + r * n : nullptr, static_cast<T>(1 / total)};
    sums[static_cast<std::size_t>(r)] =
        calibrated_row(code + r * n, teacher + r * n, shifted(quantiles, r * quantile_stride), n, p,
                       row_threads, method, sorter.get(), target);
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0) / total;
}

template <class T>
void scale_signs(const std::int8_t* signs, std::int64_t n, T scale, int threads, T* out) {
  const std::int64_t blocks = blocks_of(n, kIndexBlock);
  parallel_for(blocks, worthwhile(threads, n), [&](std::int64_t block, int) {
    const std::int64_t end = std::min(n, (block + 1) * kIndexBlock);
    for (std::int64_t i = block * kIndexBlock; i < end; ++i) {
      out[i] = signs[i] == kNanSign ? std::numeric_limits<T>::quiet_NaN() : static_cast<T>(signs[i]) * scale;
    }
  });
}

namespace {

// The two sorted samples and where their gradients go, if anywhere.
template <class T>
struct Sides {
  const Ranked<T>* x;
  const Ranked<T>* y;
  T* x_gradient;
  T* y_gradient;

  template <class Cost>
  void move(std::int64_t i, std::int64_t j, double mass, const Cost& cost, double* sum) const {
    const T distance = x[i].value() - y[j].value();
    *sum += mass * static_cast<double>(cost.of(distance));
    if (x_gradient == nullptr && y_gradient == nullptr) return;
    const T slope = static_cast<T>(mass) * cost.slope(distance);
    if (x_gradient != nullptr) x_gradient[x[i].index()] += slope;
    if (y_gradient != nullptr) y_gradient[y[j].index()] -= slope;
  }
};

// One sample each a step: no merging, and every gradient is written once.
template <class T, class Cost>
double transport_equal(const Sides<T>& sides, std::int64_t n, const Cost& cost, int threads) {
  const std::int64_t blocks = blocks_of(n, kRankBlock);
  const T scale = static_cast<T>(1 / static_cast<double>(n));
  std::vector<double> sums(static_cast<std::size_t>(blocks));
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    double sum = 0;
    const std::int64_t end = std::min(n, (block + 1) * kRankBlock);
    for (std::int64_t j = block * kRankBlock; j < end; ++j) {
      const T distance = sides.x[j].value() - sides.y[j].value();
      sum += static_cast<double>(cost.of(distance));
      const T slope = scale * cost.slope(distance);
      if (sides.x_gradient != nullptr) sides.x_gradient[sides.x[j].index()] = slope;
      if (sides.y_gradient != nullptr) sides.y_gradient[sides.y[j].index()] = -slope;
    }
    sums[static_cast<std::size_t>(block)] = sum;
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0) / static_cast<double>(n);
}

// Sample i of n covers the quantiles [i m, (i + 1) m) of n m, so that all steps are integers.
template <class T, class Cost>
double transport_unequal(const Sides<T>& sides, std::int64_t n, std::int64_t m, const Cost& cost) {
  const double unit = 1 / (static_cast<double>(n) * static_cast<double>(m));
  double sum = 0;
  std::int64_t i = 0, j = 0, at = 0;
  while (i < n) {
    const std::int64_t x_end = (i + 1) * m, y_end = (j + 1) * n;
    const std::int64_t next = std::min(x_end, y_end);
    sides.move(i, j, static_cast<double>(next - at) * unit, cost, &sum);
    at = next;
    i += x_end == next;
    j += y_end == next;
  }
  return sum;
}

// The cumulative weights in the order of the samples, scaled so that the last is 1. False where they have
// none.
template <class T>
bool cumulate(const T* weights, const Ranked<T>* order, std::int64_t n, std::vector<double>* out) {
  out->resize(static_cast<std::size_t>(n));
  double total = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    total += weights == nullptr ? 1.0 : static_cast<double>(weights[order[i].index()]);
    (*out)[static_cast<std::size_t>(i)] = total;
  }
  for (double& value : *out) value /= total;
  return std::isfinite(total) && total > 0;
}

template <class T, class Cost>
double transport_weighted(const Sides<T>& sides, std::int64_t n, std::int64_t m, const T* x_weights,
                          const T* y_weights, const Cost& cost) {
  std::vector<double> x_ends, y_ends;
  if (!cumulate(x_weights, sides.x, n, &x_ends) || !cumulate(y_weights, sides.y, m, &y_ends)) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  double sum = 0, at = 0;
  std::int64_t i = 0, j = 0;
  while (i < n && j < m) {
    const double x_end = x_ends[static_cast<std::size_t>(i)], y_end = y_ends[static_cast<std::size_t>(j)];
    const double next = std::min(x_end, y_end);
    // A sample without weight must not bring an infinite distance times 0 into the sum.
    if (next > at) sides.move(i, j, next - at, cost, &sum);
    at = next;
    i += x_end == next;
    j += y_end == next;
  }
  return sum;
}

template <class T>
struct RowSorters {
  StableOrder<T> x, y;
};

}  // namespace

template <class T>
void wasserstein_1d(const T* x, const T* y, const T* x_weights, const T* y_weights, std::int64_t rows,
                    std::int64_t n, std::int64_t m, double p, bool root, int threads, T* losses,
                    T* x_gradient, T* y_gradient) {
  const bool weighted = x_weights != nullptr || y_weights != nullptr;
  std::vector<std::unique_ptr<RowSorters<T>>> sorters(static_cast<std::size_t>(std::max(threads, 1)));
  for_rows(rows, n + m, threads, [&](std::int64_t r, int row_threads, int worker) {
    auto& sorter = sorters[static_cast<std::size_t>(worker)];
    if (sorter == nullptr) sorter = std::make_unique<RowSorters<T>>();
    T* row_x_gradient = x_gradient == nullptr ? nullptr : x_gradient + r * n;
    T* row_y_gradient = y_gradient == nullptr ? nullptr : y_gradient + r * m;
    double loss = std::numeric_limits<double>::quiet_NaN();
    T x_low, x_high, y_low, y_high;
    if (range_of(x + r * n, n, row_threads, &x_low, &x_high) &&
        range_of(y + r * m, m, row_threads, &y_low, &y_high)) {
      const Sides<T> sides{sorter->x.sort(x + r * n, n, x_low, x_high, row_threads),
                           sorter->y.sort(y + r * m, m, y_low, y_high, row_threads), row_x_gradient,
                           row_y_gradient};
      loss = with_cost<T>(p, [&](const auto& cost) {
        if (!weighted && n == m) return transport_equal(sides, n, cost, row_threads);
        if (row_x_gradient != nullptr) std::fill(row_x_gradient, row_x_gradient + n, T{0});
        if (row_y_gradient != nullptr) std::fill(row_y_gradient, row_y_gradient + m, T{0});
        if (!weighted) return transport_unequal(sides, n, m, cost);
        return transport_weighted(sides, n, m, x_weights == nullptr ? nullptr : x_weights + r * n,
                                  y_weights == nullptr ? nullptr : y_weights + r * m, cost);
      });
    }
    double scale = 1;
    if (std::isnan(loss)) {
      scale = loss;
    } else if (root && p != 1) {
      const double power = loss;
      loss = std::pow(power, 1 / p);
      scale = power > 0 ? loss / (p * power) : 0;
    }
    losses[r] = static_cast<T>(loss);
    if (scale == 1) return;
    for (std::int64_t i = 0; row_x_gradient != nullptr && i < n; ++i)
      row_x_gradient[i] *= static_cast<T>(scale);
    for (std::int64_t i = 0; row_y_gradient != nullptr && i < m; ++i)
      row_y_gradient[i] *= static_cast<T>(scale);
  });
}

#define SDC_CALIBRATION(T, U)                                                                        \
  template double calibration_loss(const T*, const U*, const Quantiles&, std::int64_t, std::int64_t, \
                                   std::int64_t, double, int, Method, std::int8_t*, T*);
SDC_CALIBRATION(float, float)
SDC_CALIBRATION(float, double)
SDC_CALIBRATION(double, float)
SDC_CALIBRATION(double, double)
#undef SDC_CALIBRATION

#define SDC_WASSERSTEIN(T)                                                                         \
  template void scale_signs(const std::int8_t*, std::int64_t, T, int, T*);                         \
  template void wasserstein_1d(const T*, const T*, const T*, const T*, std::int64_t, std::int64_t, \
                               std::int64_t, double, bool, int, T*, T*, T*);
SDC_WASSERSTEIN(float)
SDC_WASSERSTEIN(double)
#undef SDC_WASSERSTEIN

}  // namespace sdc
