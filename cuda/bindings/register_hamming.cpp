#include <pybind11/pybind11.h>

#include <cstdint>

#include "../hamming.h"

namespace py = pybind11;

namespace sdc::cuda {
namespace {

template <class T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

Codes codes_of(std::uintptr_t codes, std::int64_t n, int n_bytes) {
  return {pointer<const std::uint8_t>(codes), n, n_bytes};
}

Queries queries_of(std::uintptr_t queries, int n) { return {pointer<const std::uint8_t>(queries), n}; }

Mask mask_of(std::uintptr_t mask, bool packed) { return {pointer<const std::uint8_t>(mask), packed}; }

Workspace workspace_of(std::uintptr_t workspace, std::size_t bytes) {
  return {pointer<void>(workspace), bytes};
}

Target target_of(int device, std::uintptr_t stream) {
  return {device, reinterpret_cast<cudaStream_t>(stream)};
}

void topk(std::uintptr_t codes, std::int64_t n, int n_bytes, std::uintptr_t queries, int n_queries,
          std::int64_t k, std::uintptr_t mask, bool packed, std::uintptr_t workspace,
          std::size_t workspace_size, std::uintptr_t distances, std::uintptr_t ids, int device,
          std::uintptr_t stream) {
  hamming_topk(codes_of(codes, n, n_bytes), queries_of(queries, n_queries), k, mask_of(mask, packed),
               workspace_of(workspace, workspace_size), pointer<std::int32_t>(distances),
               pointer<std::int64_t>(ids), target_of(device, stream));
}

void range_count(std::uintptr_t codes, std::int64_t n, int n_bytes, std::uintptr_t queries, int n_queries,
                 int radius, std::uintptr_t mask, bool packed, std::uintptr_t workspace,
                 std::size_t workspace_size, std::uintptr_t counts, int device, std::uintptr_t stream) {
  hamming_range_count(codes_of(codes, n, n_bytes), queries_of(queries, n_queries), radius,
                      mask_of(mask, packed), workspace_of(workspace, workspace_size),
                      pointer<std::int64_t>(counts), target_of(device, stream));
}

void range_emit(std::uintptr_t codes, std::int64_t n, int n_bytes, std::uintptr_t queries, int n_queries,
                std::uintptr_t mask, bool packed, std::uintptr_t workspace, std::size_t workspace_size,
                std::uintptr_t first, std::uintptr_t distances, std::uintptr_t ids, int device,
                std::uintptr_t stream) {
  hamming_range_emit(codes_of(codes, n, n_bytes), queries_of(queries, n_queries), mask_of(mask, packed),
                     workspace_of(workspace, workspace_size), pointer<const std::int64_t>(first),
                     pointer<std::int32_t>(distances), pointer<std::int64_t>(ids), target_of(device, stream));
}

void distance(std::uintptr_t codes, std::int64_t n, int n_bytes, std::uintptr_t queries, int n_queries,
              std::uintptr_t distances, int device, std::uintptr_t stream) {
  hamming_distance(codes_of(codes, n, n_bytes), queries_of(queries, n_queries),
                   pointer<std::int32_t>(distances), target_of(device, stream));
}

}  // namespace

void register_hamming(py::module_& m) {
  const py::call_guard<py::gil_scoped_release> unlocked;
  m.def("max_queries", &max_queries, py::arg("n_bytes"));
  m.def("workspace_bytes", &workspace_bytes, py::arg("n"), py::arg("n_bytes"), py::arg("n_queries"),
        py::arg("device"));
  m.def("hamming_topk", &topk, unlocked);
  m.def("hamming_range_count", &range_count, unlocked);
  m.def("hamming_range_emit", &range_emit, unlocked);
  m.def("hamming_distance", &distance, unlocked);
}

}  // namespace sdc::cuda
