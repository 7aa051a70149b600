// What the emulated `_cuda` has beside the functions of the real one.
#include <pybind11/pybind11.h>

#include "emulator.h"

namespace py = pybind11;

namespace sdc::cuda {

void register_emulator(py::module_& m) {
  py::enum_<emulator::Order>(m, "Order")
      .value("forward", emulator::Order::forward)
      .value("reverse", emulator::Order::reverse)
      .value("random", emulator::Order::random);
  m.def("set_schedule", [](emulator::Order order, std::uint64_t seed, unsigned char poison) {
    emulator::set_schedule({order, seed, poison});
  });
  m.def("set_binary_product", [](bool has) { emulator::has_binary_product = has; });
  m.def("allocate", [](std::size_t bytes, std::size_t alignment) {
    return reinterpret_cast<std::uintptr_t>(emulator::allocate(bytes, alignment));
  });
  m.def("release", [](std::uintptr_t memory) { emulator::release(reinterpret_cast<void*>(memory)); });
}

}  // namespace sdc::cuda
