// Compiled, linked and run by CMake before anything else of CUDA. Prints the compute capabilities of the
// devices of this machine, like 80;90, or nothing.
#include <cuda_runtime.h>

#include <cstdio>

__global__ void bits(unsigned* value) { *value = static_cast<unsigned>(__popc(*value)); }

int main() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return 0;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    std::printf("%s%d%d", i == 0 ? "" : ";", properties.major, properties.minor);
  }
}
