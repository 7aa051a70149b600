#include "launch.cuh"
#include "pairs.h"
#include "pairs_kernels.cuh"

namespace sdc::cuda {

void pack_pairs(const Similarities& strip, float* pairs, int device, cudaStream_t stream) {
  const DeviceGuard guard(device);
  launch(pack_strip, blocks_of(strip), kBlockThreads, 0, stream, strip, pairs);
}

void unpack_pairs(const Similarities& strip, const float* pairs, float* out, int device,
                  cudaStream_t stream) {
  const DeviceGuard guard(device);
  launch(unpack_strip, blocks_of(strip), kBlockThreads, 0, stream, strip, pairs, out);
}

}  // namespace sdc::cuda
