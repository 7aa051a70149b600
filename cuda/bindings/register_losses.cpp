#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>

#include "../bracket.h"
#include "../calibration.h"
#include "../wasserstein.h"

namespace py = pybind11;

namespace sdc::cuda {
namespace {

using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

template <class T, class U>
void calibrate(Address code, Address teacher, Address table, std::int64_t stride, std::int64_t rows,
               std::int64_t n, double p, bool bracket, double tolerance, Address workspace,
               std::size_t workspace_size, Address losses, Address gradient, int device, Address stream) {
  calibration_loss(at<const T>(code), at<const U>(teacher), Quantiles<T>{n, at<const T>(table), {}}, stride,
                   rows, p, bracket, tolerance, at<void>(workspace), workspace_size, at<T>(losses),
                   at<T>(gradient), device, reinterpret_cast<cudaStream_t>(stream));
}

void calibration(Address code, bool code64, Address teacher, bool teacher64, Address table,
                 std::int64_t stride, std::int64_t rows, std::int64_t n, double p, bool bracket,
                 double tolerance, Address workspace, std::size_t workspace_size, Address losses,
                 Address gradient, int device, Address stream) {
  const auto run = code64 ? (teacher64 ? &calibrate<double, double> : &calibrate<double, float>)
                          : (teacher64 ? &calibrate<float, double> : &calibrate<float, float>);
  run(code, teacher, table, stride, rows, n, p, bracket, tolerance, workspace, workspace_size, losses,
      gradient, device, stream);
}

std::size_t calibration_bytes(bool code64, bool teacher64, std::int64_t rows, std::int64_t n, bool bracket) {
  const auto bytes = code64 ? (teacher64 ? &calibration_workspace_bytes<double, double>
                                         : &calibration_workspace_bytes<double, float>)
                            : (teacher64 ? &calibration_workspace_bytes<float, double>
                                         : &calibration_workspace_bytes<float, float>);
  return bytes(rows, n, bracket);
}

template <class T>
void transport(Address x, Address y, Address x_weights, Address y_weights, std::int64_t rows, std::int64_t n,
               std::int64_t m, double p, bool root, Address workspace, std::size_t workspace_size,
               Address losses, Address x_gradient, Address y_gradient, int device, Address stream) {
  wasserstein_1d(at<const T>(x), at<const T>(y), at<const T>(x_weights), at<const T>(y_weights), rows, n, m,
                 p, root, at<void>(workspace), workspace_size, at<T>(losses), at<T>(x_gradient),
                 at<T>(y_gradient), device, reinterpret_cast<cudaStream_t>(stream));
}

void wasserstein(Address x, Address y, Address x_weights, Address y_weights, bool real64, std::int64_t rows,
                 std::int64_t n, std::int64_t m, double p, bool root, Address workspace,
                 std::size_t workspace_size, Address losses, Address x_gradient, Address y_gradient,
                 int device, Address stream) {
  (real64 ? &transport<double> : &transport<float>)(x, y, x_weights, y_weights, rows, n, m, p, root,
                                                    workspace, workspace_size, losses, x_gradient, y_gradient,
                                                    device, stream);
}

std::size_t wasserstein_bytes(bool real64, std::int64_t rows, std::int64_t n, std::int64_t m, bool weighted) {
  return (real64 ? &wasserstein_workspace_bytes<double> : &wasserstein_workspace_bytes<float>)(rows, n, m,
                                                                                               weighted);
}

}  // namespace

void register_losses(py::module_& m) {
  const py::call_guard<py::gil_scoped_release> unlocked;
  m.def("calibration_workspace_bytes", &calibration_bytes);
  m.def("calibration_loss", &calibration, unlocked);
  m.def("wasserstein_workspace_bytes", &wasserstein_bytes);
  m.def("wasserstein_1d", &wasserstein, unlocked);
}

}  // namespace sdc::cuda
