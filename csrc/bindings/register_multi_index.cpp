#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mih.h"

namespace py = pybind11;

namespace sdc {
namespace {

using Bytes = py::array_t<std::uint8_t, py::array::c_style>;
using Numbers = py::array_t<std::uint32_t, py::array::c_style>;

// The Python layer names the argument at fault; these only keep a direct call inside the arrays.
void check(bool holds, const std::string& problem) {
  if (!holds) throw std::invalid_argument(problem);
}

MultiIndexShape shape_of(std::int64_t n, int n_bits, std::int64_t n_tables) {
  check(kMinIndexedBits <= n_bits && n_bits <= kMaxIndexedBits, "tables are for codes of 32 to 256 bits");
  check(1 <= n_tables && n_tables <= kMaxTables, "the number of tables must be from 1 to 32");
  const MultiIndexShape shape{n, n_bits, static_cast<int>(n_tables)};
  const std::string problem = shape.problem();
  check(problem.empty(), problem);
  return shape;
}

void check_threads(int threads) { check(threads >= 1, "threads must be at least 1"); }

// n_tables as best_table_count says, unless given.
MultiIndexShape wanted_shape(std::int64_t n, int n_bits, std::optional<std::int64_t> n_tables) {
  return shape_of(n, n_bits, n_tables ? *n_tables : best_table_count(n, n_bits));
}

MultiIndexView view_of(const Numbers& offsets, const Numbers& rows, const Bytes& copies, int n_bits) {
  check(offsets.ndim() == 1 && rows.ndim() == 2 && copies.ndim() == 3,
        "offsets must be (m,), rows (n_tables, n) and copies (n_tables, n, stride)");
  const MultiIndexShape shape = shape_of(rows.shape(1), n_bits, rows.shape(0));
  check(offsets.size() == static_cast<py::ssize_t>(shape.offsets_size()) &&
            copies.shape(0) == shape.n_tables && copies.shape(1) == shape.n &&
            copies.shape(2) == shape.stride(),
        "offsets or copies are not as large as the number of tables, codes and bits wants");
  return {shape, offsets.data(), rows.data(), copies.data()};
}

void check_queries(const Bytes& queries, const MultiIndexShape& shape) {
  check(queries.ndim() == 2 && queries.shape(1) == shape.n_bytes(),
        "queries must be (n_queries, ceil(n_bits / 8))");
}

MultiIndexFilter filter_of(const std::optional<py::array>& mask, const std::optional<Numbers>& rank,
                           std::int64_t n) {
  MultiIndexFilter filter;
  if (rank) {
    check(rank->ndim() == 1 && rank->shape(0) == n, "rank must be (n,)");
    filter.rank = rank->data();
  }
  if (mask) {
    filter.mask_is_packed = py::isinstance<py::array_t<std::uint8_t>>(*mask);
    check((filter.mask_is_packed || py::isinstance<py::array_t<bool>>(*mask)) && mask->ndim() == 1 &&
              mask->shape(0) == (filter.mask_is_packed ? (n + 7) / 8 : n) &&
              (mask->flags() & py::array::c_style),
          "mask must be bool (n,) or uint8 (ceil(n / 8),), contiguous");
    filter.mask = static_cast<const std::uint8_t*>(mask->data());
  }
  return filter;
}

py::tuple build(const Bytes& codes, int n_bits, std::optional<std::int64_t> n_tables, int threads) {
  check_threads(threads);
  check(codes.ndim() == 2, "codes must be (n, n_bytes)");
  const MultiIndexShape shape = wanted_shape(codes.shape(0), n_bits, n_tables);
  check(codes.shape(1) == shape.n_bytes(), "codes must be (n, ceil(n_bits / 8))");
  const std::int64_t tables = shape.n_tables;
  Numbers offsets(static_cast<py::ssize_t>(shape.offsets_size()));
  Numbers rows({tables, shape.n});
  Bytes copies({tables, shape.n, std::int64_t{shape.stride()}});
  std::uint32_t* const offsets_out = offsets.mutable_data();
  std::uint32_t* const rows_out = rows.mutable_data();
  std::uint8_t* const copies_out = copies.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    build_multi_index(shape, codes.data(), threads, offsets_out, rows_out, copies_out);
  }
  return py::make_tuple(offsets, rows, copies);
}

void check_content(const Numbers& offsets, const Numbers& rows, const Bytes& copies, int n_bits,
                   int threads) {
  check_threads(threads);
  const MultiIndexView view = view_of(offsets, rows, copies, n_bits);
  std::string problem;
  {
    const py::gil_scoped_release unlocked;
    problem = multi_index_problem(view, threads);
  }
  check(problem.empty(), problem);
}

py::tuple topk(const Numbers& offsets, const Numbers& rows, const Bytes& copies, int n_bits,
               const Bytes& queries, std::int64_t k, const std::optional<py::array>& mask,
               const std::optional<Numbers>& rank, double budget_ns, int threads) {
  check_threads(threads);
  const MultiIndexView view = view_of(offsets, rows, copies, n_bits);
  check_queries(queries, view.shape);
  const MultiIndexFilter filter = filter_of(mask, rank, view.shape.n);
  check(k >= 1, "k must be at least 1");
  const std::int64_t n_queries = queries.shape(0);
  py::array_t<std::int32_t> distances({n_queries, k});
  py::array_t<std::int64_t> found({n_queries, k});
  py::array_t<bool> finished(n_queries);
  std::int32_t* const distances_out = distances.mutable_data();
  std::int64_t* const found_out = found.mutable_data();
  auto* const finished_out = reinterpret_cast<std::uint8_t*>(finished.mutable_data());
  {
    const py::gil_scoped_release unlocked;
    multi_index_topk(view, queries.data(), n_queries, k, filter, budget_ns, threads, distances_out, found_out,
                     finished_out);
  }
  return py::make_tuple(distances, found, finished);
}

py::object range(const Numbers& offsets, const Numbers& rows, const Bytes& copies, int n_bits,
                 const Bytes& queries, std::int32_t radius, const std::optional<py::array>& mask,
                 const std::optional<Numbers>& rank, double budget_ns, int threads) {
  check_threads(threads);
  const MultiIndexView view = view_of(offsets, rows, copies, n_bits);
  check_queries(queries, view.shape);
  const MultiIndexFilter filter = filter_of(mask, rank, view.shape.n);
  check(radius >= 0, "radius must be at least 0");
  MultiIndexRange hits;
  {
    const py::gil_scoped_release unlocked;
    hits = multi_index_range(view, queries.data(), queries.shape(0), radius, filter, budget_ns, threads);
  }
  if (!hits.finished) return py::none();
  const auto copy = [](const auto& values) {
    return py::array_t(static_cast<py::ssize_t>(values.size()), values.data());
  };
  return py::make_tuple(copy(hits.lims), copy(hits.distances), copy(hits.rows));
}

std::vector<double> probe(const Numbers& offsets, const Numbers& rows, const Bytes& copies, int n_bits,
                          std::int64_t count, std::int64_t k, double budget_ns, int threads) {
  check_threads(threads);
  const MultiIndexView view = view_of(offsets, rows, copies, n_bits);
  check(count >= 1 && k >= 1, "count and k must be at least 1");
  const py::gil_scoped_release unlocked;
  return probe_multi_index(view, count, k, budget_ns, threads);
}

}  // namespace

void register_multi_index(py::module_& m) {
  const auto offsets = [] { return py::arg("offsets").noconvert(); };
  const auto rows = [] { return py::arg("rows").noconvert(); };
  const auto copies = [] { return py::arg("copies").noconvert(); };
  const auto queries = [] { return py::arg("queries").noconvert(); };
  const auto mask = [] { return py::arg("mask").noconvert().none(true); };
  const auto rank = [] { return py::arg("rank").noconvert().none(true); };
  m.attr("MIN_INDEXED_BITS") = kMinIndexedBits;
  m.attr("MAX_INDEXED_BITS") = kMaxIndexedBits;
  m.def(
      "multi_index_bytes",
      [](std::int64_t n, int n_bits) { return wanted_shape(n, n_bits, {}).total_bytes(); }, py::arg("n"),
      py::arg("n_bits"));
  m.def("build_multi_index", &build, py::arg("codes").noconvert(), py::arg("n_bits"),
        py::arg("n_tables").none(true), py::arg("threads"));
  m.def("check_multi_index", &check_content, offsets(), rows(), copies(), py::arg("n_bits"),
        py::arg("threads"),
        "The functions below take only arrays that were built above or passed this check.");
  m.def("multi_index_topk", &topk, offsets(), rows(), copies(), py::arg("n_bits"), queries(), py::arg("k"),
        mask(), rank(), py::arg("budget_ns"), py::arg("threads"));
  m.def("multi_index_range", &range, offsets(), rows(), copies(), py::arg("n_bits"), queries(),
        py::arg("radius"), mask(), rank(), py::arg("budget_ns"), py::arg("threads"));
  m.def("probe_multi_index", &probe, offsets(), rows(), copies(), py::arg("n_bits"), py::arg("count"),
        py::arg("k"), py::arg("budget_ns"), py::arg("threads"));
}

}  // namespace sdc
