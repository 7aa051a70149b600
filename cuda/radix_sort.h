// A stable ascending sort of rows of real numbers on a CUDA device: -0 equals +0, NaN comes last.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace sdc::cuda {

// A number as an unsigned integer of the same order: see order_keys.cuh.
template <class Real>
using KeyOf = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;

// The bytes that a sort of so many rows of n numbers works in, beside its result.
template <class Real>
std::size_t sort_workspace_bytes(std::int64_t rows, std::int64_t n);

// Writes the keys of each row in ascending order to `keys` (rows, n) and the place in the row that each comes
// from to `order` (rows, n); equal ones keep their order. Sets has_nan[row] = 1 where there is a NaN, and
// leaves it otherwise. With `needed`, nothing is done where *needed, on the device, is 0 when the sort's turn
// comes. Everything is put on the stream of the current device. 1 <= n < 2^31. The workspace is aligned to 16
// bytes.
template <class Real>
void sort_rows(const Real* values, std::int64_t rows, std::int64_t n, const std::int32_t* needed,
               void* workspace, KeyOf<Real>* keys, std::uint32_t* order, std::int32_t* has_nan,
               cudaStream_t stream);

}  // namespace sdc::cuda
