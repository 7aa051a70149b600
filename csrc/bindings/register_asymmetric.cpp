#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>

#include "asymmetric.h"

namespace py = pybind11;

namespace sdc {
namespace {

using Codes = py::array_t<std::uint8_t, py::array::c_style>;
using Projections = py::array_t<float, py::array::c_style>;
using Ids = py::array_t<std::int64_t, py::array::c_style>;

py::tuple topk(const Codes& codes, const Projections& projections, std::int64_t k,
               const std::optional<Ids>& ids, int threads) {
  // The Python layer names the argument at fault; this only keeps a direct call inside the arrays.
  if (codes.ndim() != 2 || projections.ndim() != 2 || codes.shape(1) < 1 ||
      codes.shape(1) != (projections.shape(1) + 7) / 8)
    throw std::invalid_argument("codes must be (n, ceil(n_bits / 8)) and projections (n_queries, n_bits)");
  if (ids && (ids->ndim() != 1 || ids->shape(0) != codes.shape(0)))
    throw std::invalid_argument("ids must be (n,)");
  if (k < 1) throw std::invalid_argument("k must be at least 1");
  py::array_t<float> scores({static_cast<std::int64_t>(projections.shape(0)), k});
  py::array_t<std::int64_t> out_ids({static_cast<std::int64_t>(projections.shape(0)), k});
  float* const scores_out = scores.mutable_data();
  std::int64_t* const ids_out = out_ids.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    asymmetric_topk(codes.data(), codes.shape(0), projections.data(), projections.shape(0),
                    static_cast<int>(projections.shape(1)), k, ids ? ids->data() : nullptr, threads,
                    scores_out, ids_out);
  }
  return py::make_tuple(scores, out_ids);
}

}  // namespace

void register_asymmetric(py::module_& m) {
  m.def("asymmetric_topk", &topk, py::arg("codes").noconvert(), py::arg("projections").noconvert(),
        py::arg("k"), py::arg("ids").noconvert().none(true), py::arg("threads"));
}

}  // namespace sdc
