// The shared memory whose size a launch chooses.
#pragma once

#include <cuda_runtime.h>

namespace sdc::cuda {

template <class T>
__device__ inline T* dynamic_shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char memory[];
#else
  unsigned char* memory = emulator::dynamic_shared_memory();
#endif
  return reinterpret_cast<T*>(memory);
}

}  // namespace sdc::cuda
