#include <pybind11/pybind11.h>

namespace sdc::cuda {
void register_devices(pybind11::module_& m);
void register_hamming(pybind11::module_& m);
void register_losses(pybind11::module_& m);
#if defined(SDC_SEARCH_CUDA_EMULATED)
void register_emulator(pybind11::module_& m);
#endif
}  // namespace sdc::cuda

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "The CUDA kernels of sdc_search; its arguments are addresses, checked by the Python layer.";
  sdc::cuda::register_devices(m);
  sdc::cuda::register_hamming(m);
  sdc::cuda::register_losses(m);
#if defined(SDC_SEARCH_CUDA_EMULATED)
  sdc::cuda::register_emulator(m);
#endif
}
