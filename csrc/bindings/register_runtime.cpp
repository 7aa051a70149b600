#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "isa.h"
#include "threads.h"

namespace py = pybind11;

namespace sdc {

void register_runtime(py::module_& m) {
  m.def("isa", [] { return isa_name(active_isa()); });
  m.def("isas", [] {
    std::vector<std::string> names;
    for (const Isa isa : available_isas()) names.emplace_back(isa_name(isa));
    return names;
  });
  m.def(
      "set_isa",
      [](const std::string& name) {
        for (const Isa isa : available_isas())
          if (isa_name(isa) == name) return set_active_isa(isa);
        throw std::invalid_argument("this machine has no level " + name);
      },
      py::arg("name"), "Switch the level under all callers; the tests use it.");
  m.attr("MAX_THREADS") = kMaxThreads;
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads, py::arg("n"));
}

}  // namespace sdc
