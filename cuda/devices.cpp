#include "devices.h"

#include <cuda_runtime_api.h>

namespace sdc::cuda {
namespace {

cudaError_t count_devices(int* count) {
  const cudaError_t error = cudaGetDeviceCount(count);
  if (error != cudaSuccess) {
    *count = 0;
    cudaGetLastError();  // so that no later call reports it
  }
  return error;
}

}  // namespace

std::vector<Device> devices() {
  int count = 0;
  count_devices(&count);
  std::vector<Device> found;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    found.push_back({properties.name, properties.major, properties.minor, properties.totalGlobalMem});
  }
  return found;
}

std::string devices_problem() {
  int count = 0;
  const cudaError_t error = count_devices(&count);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return count == 0 ? "no CUDA device is visible" : "";
}

}  // namespace sdc::cuda
