// The calibration loss of rows on a CUDA device: the contract of csrc/wasserstein.h over memory of the
// device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "quantiles.h"

namespace sdc::cuda {

// The bytes of workspace that a loss of so many rows of n numbers needs; T is the codes' type, U the
// teacher's.
template <class T, class U>
std::size_t calibration_workspace_bytes(std::int64_t rows, std::int64_t n, bool bracket);

// losses[r] = the mean over ranks j of |code[r, order[j]] - C[r, j]|^p, where `order` sorts teacher[r, :] in
// ascending order; gradient (rows, n), if not null, d losses[r] / d code[r, :]. The quantiles are those of
// row 0; those of row r lie r * quantile_stride further in their table (0: all rows share them). Those that
// are not finite and ascending make the row NaN, since an error would have to wait for the device.
//
// With `bracket`, for p = 1 and T = U = float alone: each row goes through brackets (bracket.h) with this
// tolerance, and then through a sort that returns at once where they decide. Many rows, or short ones, are
// sorted together instead.
//
// All pointers are to memory of `device`, the workspace's aligned to 16 bytes. Everything is put on `stream`,
// and nothing waits for it. 1 <= n < 2^31.
template <class T, class U>
void calibration_loss(const T* code, const U* teacher, const Quantiles<T>& quantiles,
                      std::int64_t quantile_stride, std::int64_t rows, double p, bool bracket,
                      double tolerance, void* workspace, std::size_t workspace_size, T* losses, T* gradient,
                      int device, cudaStream_t stream);

}  // namespace sdc::cuda
