#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "hamming.h"

namespace py = pybind11;

namespace sdc {
namespace {

using Codes = py::array_t<std::uint8_t, py::array::c_style>;
using Ids = py::array_t<std::int64_t, py::array::c_style>;

// The Python layer names the argument at fault; this only keeps a direct call from reading outside an array.
HammingCodes codes_of(const Codes& codes, const Codes& queries) {
  if (codes.ndim() != 2 || queries.ndim() != 2 || codes.shape(1) != queries.shape(1) || codes.shape(1) < 1 ||
      codes.shape(1) > kMaxCodeBytes) {
    throw std::invalid_argument("codes and queries must be (n, n_bytes) with one n_bytes from 1 to 256");
  }
  return {codes.data(), codes.shape(0), codes.shape(1)};
}

// A bool a row, or uint8 as numpy.packbits packs those; its dtype says which.
HammingMask mask_of(const std::optional<py::array>& mask, std::int64_t n) {
  if (!mask) return {};
  const bool packed = py::isinstance<py::array_t<std::uint8_t>>(*mask);
  if ((!packed && !py::isinstance<py::array_t<bool>>(*mask)) || mask->ndim() != 1 ||
      mask->shape(0) != (packed ? (n + 7) / 8 : n) || !(mask->flags() & py::array::c_style))
    throw std::invalid_argument("mask must be bool (n,) or uint8 (ceil(n / 8),), contiguous");
  return {static_cast<const std::uint8_t*>(mask->data()), packed};
}

// Ids that grow with the row need not be given: the caller names the rows found.
HammingIds ids_of(const std::optional<Ids>& ids, std::int64_t n) {
  if (!ids) return {};
  if (ids->ndim() != 1 || ids->shape(0) != n) throw std::invalid_argument("ids must be (n,)");
  return {.ids = ids->data()};
}

// An array that owns the vector, without a copy.
template <class T>
py::array_t<T> to_array(std::vector<T>&& values) {
  auto kept = std::make_unique<std::vector<T>>(std::move(values));
  const py::capsule owner(kept.get(), [](void* pointer) { delete static_cast<std::vector<T>*>(pointer); });
  const std::vector<T>& owned = *kept.release();
  return py::array_t<T>(static_cast<py::ssize_t>(owned.size()), owned.data(), owner);
}

py::array_t<std::int32_t> distance(const Codes& codes, const Codes& queries, int threads) {
  const HammingCodes database = codes_of(codes, queries);
  py::array_t<std::int32_t> distances({queries.shape(0), codes.shape(0)});
  std::int32_t* out = distances.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    hamming_distance(database, queries.data(), queries.shape(0), threads, out);
  }
  return distances;
}

py::tuple topk(const Codes& codes, const Codes& queries, std::int64_t k, const std::optional<py::array>& mask,
               const std::optional<Ids>& ids, int threads) {
  const HammingCodes database = codes_of(codes, queries);
  const HammingMask allowed = mask_of(mask, database.n);
  const HammingIds names = ids_of(ids, database.n);
  if (k < 1) throw std::invalid_argument("k must be at least 1");
  py::array_t<std::int32_t> distances({queries.shape(0), k});
  py::array_t<std::int64_t> found({queries.shape(0), k});
  std::int32_t* out_distances = distances.mutable_data();
  std::int64_t* out_ids = found.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    hamming_topk(database, queries.data(), queries.shape(0), k, allowed, names, threads, out_distances,
                 out_ids);
  }
  return py::make_tuple(distances, found);
}

py::tuple range(const Codes& codes, const Codes& queries, std::int32_t radius,
                const std::optional<py::array>& mask, const std::optional<Ids>& ids, int threads) {
  const HammingCodes database = codes_of(codes, queries);
  const HammingMask allowed = mask_of(mask, database.n);
  const HammingIds names = ids_of(ids, database.n);
  HammingRange hits;
  {
    const py::gil_scoped_release unlocked;
    hits = hamming_range(database, queries.data(), queries.shape(0), radius, allowed, names, threads);
  }
  return py::make_tuple(to_array(std::move(hits.lims)), to_array(std::move(hits.distances)),
                        to_array(std::move(hits.ids)));
}

py::tuple plan(std::int64_t n, std::int64_t n_bytes, std::int64_t n_queries, std::int64_t k) {
  const HammingPlan plan = hamming_plan(n, n_bytes, n_queries, k, active_isa());
  return py::make_tuple(plan.ns_per_pair[static_cast<int>(plan.method)], plan.reason());
}

}  // namespace

void register_hamming(py::module_& m) {
  m.attr("MAX_CODE_BYTES") = kMaxCodeBytes;
  m.def("hamming_distance", &distance, py::arg("codes").noconvert(), py::arg("queries").noconvert(),
        py::arg("threads"));
  m.def("hamming_topk", &topk, py::arg("codes").noconvert(), py::arg("queries").noconvert(), py::arg("k"),
        py::arg("mask").noconvert().none(true), py::arg("ids").noconvert().none(true), py::arg("threads"));
  m.def("hamming_range", &range, py::arg("codes").noconvert(), py::arg("queries").noconvert(),
        py::arg("radius"), py::arg("mask").noconvert().none(true), py::arg("ids").noconvert().none(true),
        py::arg("threads"));
  m.def("hamming_plan", &plan, py::arg("n"), py::arg("n_bytes"), py::arg("n_queries"), py::arg("k"));
}

}  // namespace sdc
