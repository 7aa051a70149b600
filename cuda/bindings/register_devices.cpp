#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../devices.h"

namespace py = pybind11;

namespace sdc::cuda {

void register_devices(py::module_& m) {
  m.attr("ARCHITECTURES") = SDC_SEARCH_CUDA_ARCHITECTURES;
  m.def("devices_problem", &devices_problem);
  m.def("devices", [] {
    py::list found;
    for (const Device& device : devices())
      found.append(py::make_tuple(device.name, device.major, device.minor, device.memory_bytes));
    return found;
  });
}

}  // namespace sdc::cuda
