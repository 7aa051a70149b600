// Transport between sorted numbers: the calibration loss of SDC and the 1-D Wasserstein distance, with
// gradients.
//
// Common to all: rows are contiguous; nothing is retained; results do not depend on `threads`. -0 equals +0,
// and equal numbers keep the order of their indices. A NaN in a row makes its loss and its gradients NaN.
// Infinite numbers are ordered as any other; a distance to one is infinite, and one between two of them NaN.
// Powers are 1 or more.
#pragma once

#include <cstdint>

#include "quantiles.h"

namespace sdc {

inline constexpr std::int8_t kNanSign = -128;  // in an array of signs: the gradient there is NaN

// Which way the loss of p = 1 is found; `automatic` except in tests and benchmarks.
enum class Method : int { automatic, sort, bracket };

// The mean over rows and ranks j of |code[r, order[j]] - C[r, j]|^p, where `order` sorts teacher[r, :] in
// ascending order and C are the quantiles, rounded to T. 1 <= n < 2^32 numbers a row. `quantiles` are those
// of row 0; those of row r lie r * quantile_stride further in its table (0: all rows share them). Throws
// std::invalid_argument where they are not ascending.
//
// The gradient with respect to the codes goes to `gradient` if that is not null. For p = 1 it is +-1 / (rows
// * n) and its sign may go to `signs` instead, -1, 0, 1 or kNanSign: a quarter of the memory, and large rows
// need no sort.
//
// p = 1 with T = U = float and no `gradient` needs no sort in large rows: a histogram of the teacher bounds
// every rank, and so C, from both sides, which decides all signs but a few; those are ranked exactly.
// Gradients are exact either way. The loss then takes the mean of C in each bin; where that may cost more
// than 2e-7 of the loss, or too many signs stay open, the row is sorted after all.
template <class T, class U>
double calibration_loss(const T* code, const U* teacher, const Quantiles& quantiles,
                        std::int64_t quantile_stride, std::int64_t rows, std::int64_t n, double p,
                        int threads, Method method, std::int8_t* signs, T* gradient);

// out[i] = signs[i] * scale, NaN for kNanSign.
template <class T>
void scale_signs(const std::int8_t* signs, std::int64_t n, T scale, int threads, T* out);

// losses[r] = the integral over u in (0, 1) of |F^-1(u) - G^-1(u)|^p for the samples x[r, :] of n and y[r, :]
// of m numbers, its p-th root if `root`. Weights, where not null, are (rows, n) and (rows, m), not negative,
// of a positive sum, which is normalised to 1; weights of NaN make the row NaN. Gradients, where not null,
// hold d losses[r] / d x[r, :] and d losses[r] / d y[r, :]; for a root of 0 they are 0. 1 <= n, m < 2^31.
template <class T>
void wasserstein_1d(const T* x, const T* y, const T* x_weights, const T* y_weights, std::int64_t rows,
                    std::int64_t n, std::int64_t m, double p, bool root, int threads, T* losses,
                    T* x_gradient, T* y_gradient);

}  // namespace sdc
