#include <algorithm>
#include <stdexcept>

#include "launch.cuh"
#include "radix_sort.h"
#include "transport_kernels.cuh"
#include "wasserstein.h"
#include "workspace.h"

namespace sdc::cuda {
namespace {

// From so many partners to each number on, a warp looks after it.
constexpr std::int64_t kPartnersOfWarp = 8;

bool by_warp(std::int64_t n_own, std::int64_t n_other) { return n_other / n_own >= kPartnersOfWarp; }

std::int64_t transport_blocks(std::int64_t n_own, std::int64_t n_other) {
  return row_blocks(by_warp(n_own, n_other) ? n_own * kLanes : n_own);
}

template <class T>
struct SampleMemory {
  KeyOf<T>* keys;
  std::uint32_t* order;
  double* ends;         // of cumulated weights
  double* weight_sums;  // of blocks

  SampleMemory(Parts& parts, std::int64_t rows, std::int64_t n, bool weighted)
      : keys(parts.take<KeyOf<T>>(rows * n)),
        order(parts.take<std::uint32_t>(rows * n)),
        ends(weighted ? parts.take<double>(rows * n) : nullptr),
        weight_sums(weighted ? parts.take<double>(rows * row_blocks(n)) : nullptr) {}
};

template <class T>
struct Memory {
  SampleMemory<T> x, y;
  double* sums;
  T* scales;
  std::int32_t* bad;
  unsigned char* sorter;  // one sample after the other

  Memory(Parts& parts, std::int64_t rows, std::int64_t n, std::int64_t m, bool weighted)
      : x(parts, rows, n, weighted),
        y(parts, rows, m, weighted),
        sums(parts.take<double>(rows * transport_blocks(n, m))),
        scales(parts.take<T>(rows)),
        bad(parts.take<std::int32_t>(rows)),
        sorter(parts.take<unsigned char>(static_cast<std::int64_t>(
            std::max(sort_workspace_bytes<T>(rows, n), sort_workspace_bytes<T>(rows, m))))) {}
};

template <class T>
void cumulate(const T* weights, std::int64_t rows, std::int64_t n, const SampleMemory<T>& memory,
              std::int32_t* bad, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(rows * row_blocks(n));
  const auto* order = static_cast<const std::uint32_t*>(memory.order);
  launch(sum_weights<T>, blocks, kBlockThreads, kBlockWarps * sizeof(double), stream, weights, order, n,
         memory.weight_sums, bad);
  launch(cumulate_weights<T>, blocks, kBlockThreads, kBlockWarps * sizeof(double), stream, weights, order, n,
         static_cast<const double*>(memory.weight_sums), bad, memory.ends);
}

template <bool from_x, class T, class Ends>
void move(const Sample<T>& own, const Sample<T>& other, const Ends& ends, double p, std::int64_t rows,
          double* sums, cudaStream_t stream) {
  const std::int64_t n_own = from_x ? ends.n : ends.m, n_other = from_x ? ends.m : ends.n;
  const std::int64_t blocks = transport_blocks(n_own, n_other);
  launch(by_warp(n_own, n_other) ? &transport<T, Ends, from_x, true> : &transport<T, Ends, from_x, false>,
         static_cast<unsigned>(rows * blocks), kBlockThreads, kBlockWarps * sizeof(double), stream, own,
         other, ends, Cost<T>{static_cast<T>(p)}, blocks, sums);
}

template <class T, class Ends>
void move_both(const Sample<T>& x, const Sample<T>& y, const Ends& ends, double p, std::int64_t rows,
               double* sums, cudaStream_t stream) {
  move<true>(x, y, ends, p, rows, sums, stream);
  if (y.gradient != nullptr) move<false>(y, x, ends, p, rows, nullptr, stream);
}

template <class T>
void rescale(std::int64_t rows, std::int64_t n, const T* scales, T* gradient, cudaStream_t stream) {
  if (gradient == nullptr) return;
  launch(scale_rows<T>, static_cast<unsigned>(rows * row_blocks(n)), kBlockThreads, 0, stream, n, scales,
         static_cast<const std::int32_t*>(nullptr), gradient);
}

}  // namespace

template <class T>
std::size_t wasserstein_workspace_bytes(std::int64_t rows, std::int64_t n, std::int64_t m, bool weighted) {
  Parts parts;
  Memory<T>(parts, rows, n, m, weighted);
  return parts.bytes();
}

template <class T>
void wasserstein_1d(const T* x, const T* y, const T* x_weights, const T* y_weights, std::int64_t rows,
                    std::int64_t n, std::int64_t m, double p, bool root, void* workspace,
                    std::size_t workspace_size, T* losses, T* x_gradient, T* y_gradient, int device,
                    cudaStream_t stream) {
  const bool weighted = x_weights != nullptr || y_weights != nullptr;
  if (rows < 1 || std::min(n, m) < 1 || std::max(n, m) >= std::int64_t{1} << 31)
    throw std::invalid_argument("a loss needs at least one row, of 1 to 2^31 - 1 numbers");
  if (workspace_size < wasserstein_workspace_bytes<T>(rows, n, m, weighted))
    throw std::invalid_argument("the workspace is too small");
  const DeviceGuard guard(device);
  Parts parts(workspace);
  const Memory<T> memory(parts, rows, n, m, weighted);
  check(cudaMemsetAsync(memory.bad, 0, sizeof(std::int32_t) * static_cast<std::size_t>(rows), stream));
  sort_rows(x, rows, n, nullptr, memory.sorter, memory.x.keys, memory.x.order, memory.bad, stream);
  sort_rows(y, rows, m, nullptr, memory.sorter, memory.y.keys, memory.y.order, memory.bad, stream);
  const Sample<T> own{memory.x.keys, memory.x.order, x_gradient};
  const Sample<T> other{memory.y.keys, memory.y.order, y_gradient};
  if (weighted) {
    cumulate(x_weights, rows, n, memory.x, memory.bad, stream);
    cumulate(y_weights, rows, m, memory.y, memory.bad, stream);
    move_both(own, other, WeightedEnds{n, m, memory.x.ends, memory.y.ends}, p, rows, memory.sums, stream);
  } else {
    move_both(own, other, EvenEnds{n, m}, p, rows, memory.sums, stream);
  }
  launch(finish_rows<T>, static_cast<unsigned>(rows), kBlockThreads, kBlockWarps * sizeof(double), stream,
         static_cast<const double*>(memory.sums), transport_blocks(n, m), 1.0, p, root,
         static_cast<const std::int32_t*>(memory.bad), static_cast<const std::int32_t*>(nullptr), losses,
         memory.scales);
  rescale(rows, n, static_cast<const T*>(memory.scales), x_gradient, stream);
  rescale(rows, m, static_cast<const T*>(memory.scales), y_gradient, stream);
}

#define SDC_WASSERSTEIN(T)                                                                             \
  template std::size_t wasserstein_workspace_bytes<T>(std::int64_t, std::int64_t, std::int64_t, bool); \
  template void wasserstein_1d(const T*, const T*, const T*, const T*, std::int64_t, std::int64_t,     \
                               std::int64_t, double, bool, void*, std::size_t, T*, T*, T*, int,        \
                               cudaStream_t);
SDC_WASSERSTEIN(float)
SDC_WASSERSTEIN(double)
#undef SDC_WASSERSTEIN

}  // namespace sdc::cuda
