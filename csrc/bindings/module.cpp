#include <pybind11/pybind11.h>

namespace sdc {
void register_runtime(pybind11::module_& m);
void register_hamming(pybind11::module_& m);
void register_asymmetric(pybind11::module_& m);
void register_multi_index(pybind11::module_& m);
void register_losses(pybind11::module_& m);
void register_metrics(pybind11::module_& m);
}  // namespace sdc

PYBIND11_MODULE(_core, m) {
  m.doc() = "The native core of sdc_search; its arguments are checked by the Python layer.";
  sdc::register_runtime(m);
  sdc::register_hamming(m);
  sdc::register_asymmetric(m);
  sdc::register_multi_index(m);
  sdc::register_losses(m);
  sdc::register_metrics(m);
}
