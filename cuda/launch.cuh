// Starting kernels, on a device or in the emulator (emulator/), and turning the runtime's errors into
// exceptions.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>

namespace sdc::cuda {

inline void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::string what = std::string("CUDA: ") + cudaGetErrorString(error);
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorUnsupportedPtxVersion)
    what += "; the kernels were built for " SDC_SEARCH_CUDA_ARCHITECTURES;
  throw std::runtime_error(what);
}

// Makes a device the current one for as long as this lives.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&before_));
    if (device != before_) check(cudaSetDevice(device));
  }
  ~DeviceGuard() { cudaSetDevice(before_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
};

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, std::size_t shared_bytes,
            cudaStream_t stream, const Arguments&... arguments) {
  if (blocks == 0) return;
#if defined(__CUDACC__)
  kernel<<<blocks, threads, shared_bytes, stream>>>(arguments...);
  check(cudaGetLastError());
#else
  static_cast<void>(stream);
  emulator::run(blocks, threads, shared_bytes, [&] { kernel(arguments...); });
#endif
}

}  // namespace sdc::cuda
