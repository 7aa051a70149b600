// Blocks of similarities, in which they come to the kernels.
#pragma once

#include <cstdint>

namespace sdc::cuda {

// Rows of `columns` numbers, `stride` apart.
//   n_items = 0   all numbers count, and lie side by side: the index of each is its place
//   n_items > 0   a strip of the matrix of all pairs of so many items, whose columns begin with the item
//                 `first`, as its rows do: only the pairs right of its diagonal count, and their index is the
//                 place in the order of all pairs
struct Similarities {
  const float* data;
  std::int64_t rows, columns, stride;
  std::int64_t n_items = 0, first = 0;
};

}  // namespace sdc::cuda
