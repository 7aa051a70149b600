#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include "bracket.h"
#include "calibration.h"
#include "calibration_kernels.cuh"
#include "launch.cuh"
#include "radix_sort.h"
#include "workspace.h"

namespace sdc::cuda {
namespace {

// What sorted rows need.
template <class T, class U>
struct Sorting {
  KeyOf<U>* keys;
  std::uint32_t* order;
  double* sums;
  T* scales;
  std::int32_t* bad;
  unsigned char* sorter;

  Sorting(Parts& parts, std::int64_t rows, std::int64_t n)
      : keys(parts.take<KeyOf<U>>(rows * n)),
        order(parts.take<std::uint32_t>(rows * n)),
        sums(parts.take<double>(rows * row_blocks(n))),
        scales(parts.take<T>(rows)),
        bad(parts.take<std::int32_t>(rows)),
        sorter(parts.take<unsigned char>(static_cast<std::int64_t>(sort_workspace_bytes<U>(rows, n)))) {}
};

Similarities row_of(const float* teacher, std::int64_t n) { return {teacher, 1, n, n}; }

template <class T, class U>
void sorted_rows(const T* code, const U* teacher, const Quantiles<T>& quantiles, std::int64_t quantile_stride,
                 std::int64_t rows, double p, const std::int32_t* needed, const Sorting<T, U>& memory,
                 T* losses, T* gradient, cudaStream_t stream) {
  const std::int64_t n = quantiles.n;
  const auto blocks = static_cast<unsigned>(rows * row_blocks(n));
  check(cudaMemsetAsync(memory.bad, 0, sizeof(std::int32_t) * static_cast<std::size_t>(rows), stream));
  sort_rows(teacher, rows, n, needed, memory.sorter, memory.keys, memory.order, memory.bad, stream);
  launch(cost_ranks<T>, blocks, kBlockThreads, kBlockWarps * sizeof(double), stream, code,
         static_cast<const std::uint32_t*>(memory.order), quantiles, quantile_stride,
         Cost<T>{static_cast<T>(p)}, static_cast<T>(1 / static_cast<double>(n)), needed, memory.sums,
         memory.bad, gradient);
  launch(finish_rows<T>, static_cast<unsigned>(rows), kBlockThreads, kBlockWarps * sizeof(double), stream,
         static_cast<const double*>(memory.sums), row_blocks(n), static_cast<double>(n), p, false,
         static_cast<const std::int32_t*>(memory.bad), needed, losses, memory.scales);
  if (gradient != nullptr)
    launch(scale_rows<T>, blocks, kBlockThreads, 0, stream, n, static_cast<const T*>(memory.scales), needed,
           gradient);
}

void bracketed_row(const float* code, const float* teacher, const Quantiles<float>& quantiles,
                   double tolerance, void* workspace, float* loss, float* gradient, int device,
                   cudaStream_t stream) {
  const std::int64_t n = quantiles.n;
  const Similarities row = row_of(teacher, n);
  const std::int64_t n_sums = Brackets::sums_of(row);
  Parts parts(workspace);
  void* memory = parts.take<unsigned char>(static_cast<std::int64_t>(Brackets::workspace_bytes(n, n_sums)));
  const float unit = static_cast<float>(1 / static_cast<double>(n));
  Brackets brackets(quantiles, n_sums, tolerance, memory, device, stream);
  brackets.begin();
  brackets.range(row);
  brackets.count(row);
  brackets.bracket();
  brackets.classify(row, code, 0, unit, gradient);
  brackets.collect(row);
  brackets.settle(unit, gradient, loss);
  sorted_rows(code, teacher, quantiles, 0, 1, 1, brackets.undecided(), Sorting<float, float>(parts, 1, n),
              loss, gradient, stream);
}

}  // namespace

template <class T, class U>
std::size_t calibration_workspace_bytes(std::int64_t rows, std::int64_t n, bool bracket) {
  Parts parts;
  if (bracket)
    parts.take<unsigned char>(
        static_cast<std::int64_t>(Brackets::workspace_bytes(n, Brackets::sums_of(row_of(nullptr, n)))));
  Sorting<T, U>(parts, bracket ? 1 : rows, n);
  return parts.bytes();
}

template <class T, class U>
void calibration_loss(const T* code, const U* teacher, const Quantiles<T>& quantiles,
                      std::int64_t quantile_stride, std::int64_t rows, double p, bool bracket,
                      double tolerance, void* workspace, std::size_t workspace_size, T* losses, T* gradient,
                      int device, cudaStream_t stream) {
  const std::int64_t n = quantiles.n;
  constexpr bool may_bracket = std::is_same_v<T, float> && std::is_same_v<U, float>;
  if (bracket && (!may_bracket || p != 1)) throw std::invalid_argument("brackets are for float32 and p = 1");
  if (rows < 1 || n < 1 || n >= std::int64_t{1} << 31)
    throw std::invalid_argument("a loss needs at least one row, of 1 to 2^31 - 1 numbers");
  if (workspace_size < calibration_workspace_bytes<T, U>(rows, n, bracket))
    throw std::invalid_argument("the workspace is too small");
  const DeviceGuard guard(device);
  if constexpr (may_bracket) {
    if (bracket) {
      for (std::int64_t row = 0; row < rows; ++row) {
        Quantiles<T> own = quantiles;
        if (own.table != nullptr) own.table += row * quantile_stride;
        bracketed_row(code + row * n, teacher + row * n, own, tolerance, workspace, losses + row,
                      gradient == nullptr ? nullptr : gradient + row * n, device, stream);
      }
      return;
    }
  }
  Parts parts(workspace);
  sorted_rows(code, teacher, quantiles, quantile_stride, rows, p, nullptr, Sorting<T, U>(parts, rows, n),
              losses, gradient, stream);
}

#define SDC_CALIBRATION(T, U)                                                                         \
  template std::size_t calibration_workspace_bytes<T, U>(std::int64_t, std::int64_t, bool);           \
  template void calibration_loss(const T*, const U*, const Quantiles<T>&, std::int64_t, std::int64_t, \
                                 double, bool, double, void*, std::size_t, T*, T*, int, cudaStream_t);
SDC_CALIBRATION(float, float)
SDC_CALIBRATION(float, double)
SDC_CALIBRATION(double, float)
SDC_CALIBRATION(double, double)
#undef SDC_CALIBRATION

}  // namespace sdc::cuda
