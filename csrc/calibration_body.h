// The kernels of the losses, written once for vectors of W floats. The files of the levels inline these
// bodies into functions with their target attribute, which decides the instructions; nothing here is compiled
// on its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "calibration_kernels.h"

#define SDC_INLINE inline __attribute__((always_inline))

namespace sdc::body {

template <int W>
struct Vector {
  typedef float Type __attribute__((vector_size(W * 4)));
  typedef std::int32_t Mask __attribute__((vector_size(W * 4)));
};

SDC_INLINE void bins_of(const float* values, std::int64_t n, const Bins& bins, std::int32_t* out) {
  const float low = bins.low, scale = bins.scale, last = static_cast<float>(bins.count - 1);
  for (std::int64_t i = 0; i < n; ++i) {
    float place = (values[i] - low) * scale;
    place = place > 0 ? place : 0;
    place = place < last ? place : last;
    out[i] = static_cast<std::int32_t>(place);
  }
}

template <int W>
SDC_INLINE bool range(const float* values, std::int64_t n, float* low, float* high) {
  using V = Vector<W>;
  float smallest = values[0], largest = values[0];
  bool good = values[0] == values[0];
  std::int64_t i = 0;
  if (n >= 2 * W) {
    typename V::Type low0, high0, low1, high1;
    std::memcpy(&low0, values, sizeof low0);
    high0 = low1 = high1 = low0;
    typename V::Mask bad = low0 != low0;
    for (; i + 2 * W <= n; i += 2 * W) {
      typename V::Type a;
      std::memcpy(&a, values + i, sizeof a);
      typename V::Type b;
      std::memcpy(&b, values + i + W, sizeof b);
      low0 = a < low0 ? a : low0;
      high0 = a > high0 ? a : high0;
      low1 = b < low1 ? b : low1;
      high1 = b > high1 ? b : high1;
      bad |= (a != a) | (b != b);
    }
    for (int lane = 0; lane < W; ++lane) {
      smallest = std::min(smallest, std::min(low0[lane], low1[lane]));
      largest = std::max(largest, std::max(high0[lane], high1[lane]));
      good = good && bad[lane] == 0;
    }
  }
  for (; i < n; ++i) {
    smallest = values[i] < smallest ? values[i] : smallest;
    largest = values[i] > largest ? values[i] : largest;
    good = good && values[i] == values[i];
  }
  *low = smallest;
  *high = largest;
  return good;
}

inline constexpr std::int64_t kStep = 256;  // numbers whose bins wait in the first-level cache

SDC_INLINE void histogram(const float* values, std::int64_t n, Bins bins, std::uint32_t* counts) {
  std::int32_t places[kStep];
  for (std::int64_t begin = 0; begin < n; begin += kStep) {
    const std::int64_t size = std::min(kStep, n - begin);
    bins_of(values + begin, size, bins, places);
    for (std::int64_t i = 0; i < size; ++i) ++counts[places[i]];
  }
}

template <class Sign>
SDC_INLINE std::int64_t classify(const float* s, const float* t, std::int64_t n, Bins bins,
                                 const Bracket* brackets, Sign* signs, std::uint32_t* open, double* sum) {
  std::int32_t places[kStep];
  float means[kStep], reaches[kStep];
  double lanes[8] = {};
  std::int64_t n_open = 0;
  for (std::int64_t begin = 0; begin < n; begin += kStep) {
    const std::int64_t size = std::min(kStep, n - begin);
    const float* codes = s + begin;
    Sign* out = signs + begin;
    bins_of(t + begin, size, bins, places);
    for (std::int64_t i = 0; i < size; ++i) {
      const Bracket bracket = brackets[places[i]];
      means[i] = bracket.mean;
      reaches[i] = bracket.reach;
    }
    std::int32_t any_open = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      const float distance = codes[i] - means[i];
      const float magnitude = distance < 0 ? -distance : distance;
      means[i] = magnitude;
      const std::int32_t decided = magnitude > reaches[i];
      any_open |= 1 - decided;
      out[i] = static_cast<Sign>(decided * ((distance > 0) - (distance < 0)));
    }
    std::int64_t i = 0;
    for (; i + 8 <= size; i += 8)
      for (int lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(means[i + lane]);
    for (; i < size; ++i) lanes[0] += static_cast<double>(means[i]);
    if (any_open != 0) {
      for (i = 0; i < size; ++i) {
        open[n_open] = static_cast<std::uint32_t>(begin + i);
        n_open += !(means[i] > reaches[i]);
      }
    }
  }
  *sum += ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
  return n_open;
}

SDC_INLINE std::int64_t collect(const float* values, std::int64_t n, Bins bins, const std::uint8_t* wanted,
                                std::uint32_t* found) {
  std::int32_t places[kStep];
  std::int64_t n_found = 0;
  for (std::int64_t begin = 0; begin < n; begin += kStep) {
    const std::int64_t size = std::min(kStep, n - begin);
    bins_of(values + begin, size, bins, places);
    for (std::int64_t i = 0; i < size; ++i) {
      found[n_found] = static_cast<std::uint32_t>(begin + i);
      n_found += wanted[places[i]];
    }
  }
  return n_found;
}

// A block of `Rows` rows and `Columns` vectors of out (+)= w b, with b's rows `b_stride` apart.
template <int W, int Rows, int Columns>
SDC_INLINE void multiply_block(const float* w, std::int64_t row_stride, std::int64_t col_stride,
                               const float* b, std::int64_t b_stride, std::int64_t n, bool add, float* out,
                               std::int64_t out_stride) {
  using V = Vector<W>;
  typename V::Type sums[Rows][Columns] = {};
  for (std::int64_t k = 0; k < n; ++k) {
    typename V::Type right[Columns];
    for (int c = 0; c < Columns; ++c) {
      std::memcpy(&right[c], b + k * b_stride + c * W, sizeof right[c]);
    }
    for (int r = 0; r < Rows; ++r) {
      const float left = w[r * row_stride + k * col_stride];
      for (int c = 0; c < Columns; ++c) sums[r][c] += left * right[c];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < Columns; ++c) {
      float* place = out + r * out_stride + c * W;
      if (add) {
        typename V::Type before;
        std::memcpy(&before, place, sizeof before);
        sums[r][c] += before;
      }
      std::memcpy(place, &sums[r][c], sizeof sums[r][c]);
    }
  }
}

template <int W, int Rows, int Columns>
SDC_INLINE void multiply_rows(const float* w, std::int64_t row_stride, std::int64_t col_stride,
                              std::int64_t n_rows, const float* b, std::int64_t b_stride, std::int64_t n,
                              bool add, float* out, std::int64_t out_stride) {
  std::int64_t i = 0;
  for (; i + Rows <= n_rows; i += Rows) {
    multiply_block<W, Rows, Columns>(w + i * row_stride, row_stride, col_stride, b, b_stride, n, add,
                                     out + i * out_stride, out_stride);
  }
  if constexpr (Rows > 1) {
    if (i < n_rows) {
      multiply_rows<W, Rows / 2, Columns>(w + i * row_stride, row_stride, col_stride, n_rows - i, b, b_stride,
                                          n, add, out + i * out_stride, out_stride);
    }
  }
}

inline constexpr std::int64_t kDepth = 256;  // terms of a product between two visits of its place in `out`

template <int W, int Rows>
SDC_INLINE void row_products(const float* a, std::int64_t n_a, const float* b, std::int64_t n_b,
                             std::int64_t d, float* out, std::int64_t stride, float* work) {
  constexpr std::int64_t kColumns = 2 * W;
  static_assert(kColumns <= kPanel);
  for (std::int64_t first = 0; first < d; first += kDepth) {
    const std::int64_t depth = std::min(kDepth, d - first);
    for (std::int64_t j = 0; j < n_b; j += kColumns) {
      const std::int64_t columns = std::min(kColumns, n_b - j);
      for (std::int64_t c = 0; c < columns; ++c) {
        const float* row = b + (j + c) * d + first;
        for (std::int64_t k = 0; k < depth; ++k) work[k * kColumns + c] = row[k];
      }
      if (columns == kColumns) {
        multiply_rows<W, Rows, 2>(a + first, d, 1, n_a, work, kColumns, depth, first > 0, out + j, stride);
        continue;
      }
      for (std::int64_t c = columns; c < kColumns; ++c)
        for (std::int64_t k = 0; k < depth; ++k) work[k * kColumns + c] = 0;
      for (std::int64_t i = 0; i < n_a; ++i) {
        float line[kColumns];
        multiply_block<W, 1, 2>(a + i * d + first, d, 1, work, kColumns, depth, false, line, kColumns);
        float* place = out + i * stride + j;
        for (std::int64_t c = 0; c < columns; ++c) place[c] = first > 0 ? place[c] + line[c] : line[c];
      }
    }
  }
}

template <int W, int Rows>
SDC_INLINE void add_weighted_rows(const float* w, std::int64_t row_stride, std::int64_t col_stride,
                                  std::int64_t n_a, const float* b, std::int64_t n_b, std::int64_t d,
                                  float* out) {
  std::int64_t c = 0;
  for (; c + 2 * W <= d; c += 2 * W) {
    multiply_rows<W, Rows, 2>(w, row_stride, col_stride, n_a, b + c, d, n_b, true, out + c, d);
  }
  for (; c + W <= d; c += W) {
    multiply_rows<W, Rows, 1>(w, row_stride, col_stride, n_a, b + c, d, n_b, true, out + c, d);
  }
  for (; c < d; ++c) {
    for (std::int64_t i = 0; i < n_a; ++i) {
      float sum = 0;
      for (std::int64_t j = 0; j < n_b; ++j) sum += w[i * row_stride + j * col_stride] * b[j * d + c];
      out[i * d + c] += sum;
    }
  }
}

template <int W>
SDC_INLINE void pair_sums(const float* x, const float* y, std::int64_t d, float* sums) {
  using V = Vector<W>;
  typename V::Type xx[2] = {}, yy[2] = {}, xy[2] = {};
  std::int64_t k = 0;
  for (; k + 2 * W <= d; k += 2 * W) {
    for (int c = 0; c < 2; ++c) {
      typename V::Type a;
      std::memcpy(&a, x + k + c * W, sizeof a);
      typename V::Type b;
      std::memcpy(&b, y + k + c * W, sizeof b);
      xx[c] += a * a;
      yy[c] += b * b;
      xy[c] += a * b;
    }
  }
  xx[0] += xx[1];
  yy[0] += yy[1];
  xy[0] += xy[1];
  sums[0] = sums[1] = sums[2] = 0;
  for (int lane = 0; lane < W; ++lane) {
    sums[0] += xx[0][lane];
    sums[1] += yy[0][lane];
    sums[2] += xy[0][lane];
  }
  for (; k < d; ++k) {
    sums[0] += x[k] * x[k];
    sums[1] += y[k] * y[k];
    sums[2] += x[k] * y[k];
  }
}

}  // namespace sdc::body

// Defines the kernels of one level: `Target` is its attribute, `W` its floats a vector, `Rows` what its
// registers hold of a product beside two vectors of the right-hand side.
#define SDC_CALIBRATION_LEVEL(Name, Target, W, Rows)                                                         \
  namespace {                                                                                                \
  Target bool level_range(const float* v, std::int64_t n, float* low, float* high) {                         \
    return body::range<W>(v, n, low, high);                                                                  \
  }                                                                                                          \
  Target void level_histogram(const float* v, std::int64_t n, Bins bins, std::uint32_t* counts) {            \
    body::histogram(v, n, bins, counts);                                                                     \
  }                                                                                                          \
  Target std::int64_t level_classify_signs(const float* s, const float* t, std::int64_t n, Bins bins,        \
                                           const Bracket* brackets, std::int8_t* signs, std::uint32_t* open, \
                                           double* sum) {                                                    \
    return body::classify(s, t, n, bins, brackets, signs, open, sum);                                        \
  }                                                                                                          \
  Target std::int64_t level_classify_floats(const float* s, const float* t, std::int64_t n, Bins bins,       \
                                            const Bracket* brackets, float* signs, std::uint32_t* open,      \
                                            double* sum) {                                                   \
    return body::classify(s, t, n, bins, brackets, signs, open, sum);                                        \
  }                                                                                                          \
  Target std::int64_t level_collect(const float* v, std::int64_t n, Bins bins, const std::uint8_t* wanted,   \
                                    std::uint32_t* found) {                                                  \
    return body::collect(v, n, bins, wanted, found);                                                         \
  }                                                                                                          \
  Target void level_row_products(const float* a, std::int64_t n_a, const float* b, std::int64_t n_b,         \
                                 std::int64_t d, float* out, std::int64_t stride, float* work) {             \
    body::row_products<W, Rows>(a, n_a, b, n_b, d, out, stride, work);                                       \
  }                                                                                                          \
  Target void level_add_weighted_rows(const float* w, std::int64_t row_stride, std::int64_t col_stride,      \
                                      std::int64_t n_a, const float* b, std::int64_t n_b, std::int64_t d,    \
                                      float* out) {                                                          \
    body::add_weighted_rows<W, Rows>(w, row_stride, col_stride, n_a, b, n_b, d, out);                        \
  }                                                                                                          \
  Target void level_pair_sums(const float* x, const float* y, std::int64_t d, float* sums) {                 \
    body::pair_sums<W>(x, y, d, sums);                                                                       \
  }                                                                                                          \
  }                                                                                                          \
  const CalibrationKernels Name = {                                                                          \
      level_range,   level_histogram,    level_classify_signs,    level_classify_floats,                     \
      level_collect, level_row_products, level_add_weighted_rows, level_pair_sums,                           \
  };
