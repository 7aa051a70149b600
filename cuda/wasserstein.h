// The one-dimensional Wasserstein distance of rows on a CUDA device: the contract of csrc/wasserstein.h over
// memory of the device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace sdc::cuda {

// The bytes of workspace that so many rows of samples of n and m numbers need.
template <class T>
std::size_t wasserstein_workspace_bytes(std::int64_t rows, std::int64_t n, std::int64_t m, bool weighted);

// losses[r] = the integral over u in (0, 1) of |F^-1(u) - G^-1(u)|^p for the samples x[r, :] of n and y[r, :]
// of m numbers, its p-th root if `root`. Weights, where not null, are (rows, n) and (rows, m), not negative,
// of a positive sum, which is normalised to 1; the row is NaN otherwise. Gradients, where not null, hold d
// losses[r] / d x[r, :] and d losses[r] / d y[r, :]; for a root of 0 they are 0.
//
// All pointers are to memory of `device`, the workspace's aligned to 16 bytes. Everything is put on `stream`,
// and nothing waits for it. 1 <= n, m < 2^31.
template <class T>
void wasserstein_1d(const T* x, const T* y, const T* x_weights, const T* y_weights, std::int64_t rows,
                    std::int64_t n, std::int64_t m, double p, bool root, void* workspace,
                    std::size_t workspace_size, T* losses, T* x_gradient, T* y_gradient, int device,
                    cudaStream_t stream);

}  // namespace sdc::cuda
