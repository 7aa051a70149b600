// The kernels between strips of the matrix of all pairs and the vector of the pairs.
#pragma once

#include <cuda_runtime.h>

#include "similarities.cuh"

namespace sdc::cuda {

__global__ void pack_strip(Similarities strip, float* pairs) {
  const Place place(strip);
  place.each([&](std::int64_t column, float number) { pairs[place.index(column)] = number; });
}

__global__ void unpack_strip(Similarities strip, const float* pairs, float* out) {
  const Place place(strip);
#pragma unroll
  for (unsigned v = 0; v < kVectors; ++v) {
    float numbers[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::int64_t column = place.column(v) + i;
      numbers[i] = place.counts(column) ? pairs[place.index(column)] : 0.0f;
    }
    place.store(numbers, v, out);
  }
}

}  // namespace sdc::cuda
