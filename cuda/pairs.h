// Between strips of the matrix of all pairs (similarities.h) and the vector of the pairs in their order, on a
// CUDA device.
#pragma once

#include <cuda_runtime_api.h>

#include "similarities.h"

namespace sdc::cuda {

// pairs[index] = the strip's number there.
void pack_pairs(const Similarities& strip, float* pairs, int device, cudaStream_t stream);

// The strip's numbers = pairs[index], 0 where there is no pair.
void unpack_pairs(const Similarities& strip, const float* pairs, float* out, int device, cudaStream_t stream);

}  // namespace sdc::cuda
