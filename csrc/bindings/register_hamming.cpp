#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>

#include "hamming.h"

namespace py = pybind11;

namespace sdc {
namespace {

using Codes = py::array_t<std::uint8_t, py::array::c_style>;

struct Shape {
  std::int64_t n, n_queries;
  int n_bytes;
};

// The Python layer names the argument at fault; this only keeps a direct call from reading outside an array.
Shape shape_of(const Codes& codes, const Codes& queries) {
  if (codes.ndim() != 2 || queries.ndim() != 2 || codes.shape(1) != queries.shape(1) || codes.shape(1) < 1 ||
      codes.shape(1) > kMaxCodeBytes) {
    throw std::invalid_argument("codes and queries must be (n, n_bytes) with one n_bytes from 1 to 256");
  }
  return {codes.shape(0), queries.shape(0), static_cast<int>(codes.shape(1))};
}

py::array_t<std::int32_t> distance(const Codes& codes, const Codes& queries, int threads) {
  const Shape shape = shape_of(codes, queries);
  py::array_t<std::int32_t> distances({shape.n_queries, shape.n});
  std::int32_t* out = distances.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    hamming_distance(codes.data(), shape.n, queries.data(), shape.n_queries, shape.n_bytes, threads, out);
  }
  return distances;
}

py::tuple topk(const Codes& codes, const Codes& queries, std::int64_t k, int threads) {
  const Shape shape = shape_of(codes, queries);
  if (k < 1) throw std::invalid_argument("k must be at least 1");
  py::array_t<std::int32_t> distances({shape.n_queries, k});
  py::array_t<std::int64_t> ids({shape.n_queries, k});
  std::int32_t* out_distances = distances.mutable_data();
  std::int64_t* out_ids = ids.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    hamming_topk(codes.data(), shape.n, queries.data(), shape.n_queries, shape.n_bytes, k, threads,
                 out_distances, out_ids);
  }
  return py::make_tuple(distances, ids);
}

}  // namespace

void register_hamming(py::module_& m) {
  m.attr("MAX_CODE_BYTES") = kMaxCodeBytes;
  m.def("hamming_distance", &distance, py::arg("codes").noconvert(), py::arg("queries").noconvert(),
        py::arg("threads"));
  m.def("hamming_topk", &topk, py::arg("codes").noconvert(), py::arg("queries").noconvert(), py::arg("k"),
        py::arg("threads"));
}

}  // namespace sdc
