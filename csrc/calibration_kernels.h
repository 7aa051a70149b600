// What one instruction-set level provides to the losses. One file a level defines its table.
#pragma once

#include <cstdint>

namespace sdc {

// Equal bins over [low, low + count / scale); what lies beyond falls into the first or the last one.
// Monotone.
struct Bins {
  float low, scale;
  std::int32_t count;
};

// What the ranks inside a bin say about the quantiles C there: their mean, and the largest distance of one of
// them from it.
struct Bracket {
  float mean, reach;
};

// The most numbers that a call of `classify_*` or `collect` takes.
inline constexpr std::int64_t kKernelBlock = 4096;

struct CalibrationKernels {
  // The smallest and the largest of n >= 1 numbers; true if none of them is NaN (else the two mean nothing).
  bool (*range)(const float* values, std::int64_t n, float* low, float* high);

  // ++counts[bin of values[i]].
  void (*histogram)(const float* values, std::int64_t n, Bins bins, std::uint32_t* counts);

  // signs[i] = sign(s[i] - C) wherever the bin of t[i] decides it, 0 elsewhere; those i, ascending, go to
  // `open` (room for n). Returns their number and adds the sum of |s[i] - mean| to *sum.
  std::int64_t (*classify_signs)(const float* s, const float* t, std::int64_t n, Bins bins,
                                 const Bracket* brackets, std::int8_t* signs, std::uint32_t* open,
                                 double* sum);
  std::int64_t (*classify_floats)(const float* s, const float* t, std::int64_t n, Bins bins,
                                  const Bracket* brackets, float* signs, std::uint32_t* open, double* sum);

  // The i, ascending, whose bin has wanted[bin] = 1 (0 otherwise), to `found` (room for n); their number.
  std::int64_t (*collect)(const float* values, std::int64_t n, Bins bins, const std::uint8_t* wanted,
                          std::uint32_t* found);

  // out[i * stride + j] = sum over k of a[i * d + k] b[j * d + k]: the products of rows, for i < n_a, j <
  // n_b. `work`: room for kPanel * d floats. Sums run over k in an order that depends on d alone.
  void (*row_products)(const float* a, std::int64_t n_a, const float* b, std::int64_t n_b, std::int64_t d,
                       float* out, std::int64_t stride, float* work);

  // out[i * d + k] += sum over j of w[i * row_stride + j * col_stride] b[j * d + k], for i < n_a, j < n_b.
  void (*add_weighted_rows)(const float* w, std::int64_t row_stride, std::int64_t col_stride,
                            std::int64_t n_a, const float* b, std::int64_t n_b, std::int64_t d, float* out);

  // sums[0..2] = x.x, y.y, x.y.
  void (*pair_sums)(const float* x, const float* y, std::int64_t d, float* sums);
};

inline constexpr std::int64_t kPanel = 32;

extern const CalibrationKernels kPortableCalibration;
#if defined(__x86_64__)
extern const CalibrationKernels kAvx2Calibration;
extern const CalibrationKernels kAvx512Calibration;
#endif

// The table of the level in use.
const CalibrationKernels& calibration_kernels();

}  // namespace sdc
