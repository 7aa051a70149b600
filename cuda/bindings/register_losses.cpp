#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>

#include "../bracket.h"
#include "../calibration.h"
#include "../pairs.h"
#include "../wasserstein.h"

namespace py = pybind11;

namespace sdc::cuda {
namespace {

using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
Quantiles<T> quantiles_of(std::int64_t n, Address table, const BetaSpline* spline) {
  return {n, at<const T>(table), spline == nullptr ? BetaSpline{} : *spline};
}

template <class T, class U>
void calibrate(Address code, Address teacher, Address table, const BetaSpline* spline, std::int64_t stride,
               std::int64_t rows, std::int64_t n, double p, bool bracket, double tolerance, Address workspace,
               std::size_t workspace_size, Address losses, Address gradient, int device, Address stream) {
  calibration_loss(at<const T>(code), at<const U>(teacher), quantiles_of<T>(n, table, spline), stride, rows,
                   p, bracket, tolerance, at<void>(workspace), workspace_size, at<T>(losses), at<T>(gradient),
                   device, reinterpret_cast<cudaStream_t>(stream));
}

void calibration(Address code, bool code64, Address teacher, bool teacher64, Address table,
                 const BetaSpline* spline, std::int64_t stride, std::int64_t rows, std::int64_t n, double p,
                 bool bracket, double tolerance, Address workspace, std::size_t workspace_size,
                 Address losses, Address gradient, int device, Address stream) {
  const auto run = code64 ? (teacher64 ? &calibrate<double, double> : &calibrate<double, float>)
                          : (teacher64 ? &calibrate<float, double> : &calibrate<float, float>);
  run(code, teacher, table, spline, stride, rows, n, p, bracket, tolerance, workspace, workspace_size, losses,
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

Similarities strip_of(Address data, std::int64_t n_items, std::int64_t stride, std::int64_t first,
                      std::int64_t rows) {
  return {at<const float>(data), rows, n_items - first, stride, n_items, first};
}

// The steps over strips of the matrix of all pairs of n_items, from the item `first` on.
class PairBrackets {
 public:
  PairBrackets(std::int64_t n_items, std::int64_t stride, Address table, const BetaSpline* spline,
               std::int64_t n_sums, double tolerance, Address workspace, std::size_t workspace_size,
               int device, Address stream)
      : n_items_(n_items),
        stride_(stride),
        brackets_(quantiles_of<float>(n_items * (n_items - 1) / 2, table, spline), n_sums, tolerance,
                  at<void>(workspace), device, reinterpret_cast<cudaStream_t>(stream)) {
    if (workspace_size < bytes(n_items, n_sums)) throw std::invalid_argument("the workspace is too small");
  }

  static std::size_t bytes(std::int64_t n_items, std::int64_t n_sums) {
    return Brackets::workspace_bytes(n_items * (n_items - 1) / 2, n_sums);
  }

  void begin() { brackets_.begin(); }
  void range(Address teacher, std::int64_t first, std::int64_t rows) {
    brackets_.range(strip(teacher, first, rows));
  }
  void count(Address teacher, std::int64_t first, std::int64_t rows) {
    brackets_.count(strip(teacher, first, rows));
  }
  void bracket() { brackets_.bracket(); }
  void classify(Address teacher, std::int64_t first, std::int64_t rows, Address codes,
                std::int64_t first_sum) {
    brackets_.classify(strip(teacher, first, rows), at<const float>(codes), first_sum, 1, at<float>(codes));
  }
  void collect(Address teacher, std::int64_t first, std::int64_t rows) {
    brackets_.collect(strip(teacher, first, rows));
  }
  void settle(Address loss) { brackets_.settle(1, nullptr, at<float>(loss)); }
  void add_open_pairs(Address directions, std::int64_t k, Address sums) {
    brackets_.add_open_pairs(n_items_, at<const float>(directions), k, at<long long>(sums));
  }

 private:
  Similarities strip(Address data, std::int64_t first, std::int64_t rows) const {
    return strip_of(data, n_items_, stride_, first, rows);
  }

  std::int64_t n_items_, stride_;
  Brackets brackets_;
};

void pack(Address strip, std::int64_t n_items, std::int64_t stride, std::int64_t first, std::int64_t rows,
          Address pairs, int device, Address stream) {
  pack_pairs(strip_of(strip, n_items, stride, first, rows), at<float>(pairs), device,
             reinterpret_cast<cudaStream_t>(stream));
}

void unpack(Address pairs, std::int64_t n_items, std::int64_t stride, std::int64_t first, std::int64_t rows,
            Address strip, int device, Address stream) {
  unpack_pairs(strip_of(strip, n_items, stride, first, rows), at<const float>(pairs), at<float>(strip),
               device, reinterpret_cast<cudaStream_t>(stream));
}

std::int64_t sums_of_strip(std::int64_t n_items, std::int64_t stride, std::int64_t first, std::int64_t rows) {
  return Brackets::sums_of(strip_of(0, n_items, stride, first, rows));
}

}  // namespace

void register_losses(py::module_& m) {
  const py::call_guard<py::gil_scoped_release> unlocked;
  // Local, since the emulated module and that of a device may be imported by one process.
  py::class_<BetaSpline>(m, "BetaSpline", py::module_local())
      .def(py::init([](Address nodes, std::int64_t n_nodes, double alpha, double beta, double floor) {
        return BetaSpline{at<const double>(nodes), n_nodes, alpha, beta, floor};
      }));
  py::class_<PairBrackets>(m, "PairBrackets", py::module_local())
      .def(py::init<std::int64_t, std::int64_t, Address, const BetaSpline*, std::int64_t, double, Address,
                    std::size_t, int, Address>())
      .def_static("workspace_bytes", &PairBrackets::bytes)
      .def("begin", &PairBrackets::begin, unlocked)
      .def("range", &PairBrackets::range, unlocked)
      .def("count", &PairBrackets::count, unlocked)
      .def("bracket", &PairBrackets::bracket, unlocked)
      .def("classify", &PairBrackets::classify, unlocked)
      .def("collect", &PairBrackets::collect, unlocked)
      .def("settle", &PairBrackets::settle, unlocked)
      .def("add_open_pairs", &PairBrackets::add_open_pairs, unlocked);
  m.def("sums_of_strip", &sums_of_strip);
  m.def("pack_pairs", &pack, unlocked);
  m.def("unpack_pairs", &unpack, unlocked);
  m.def("calibration_workspace_bytes", &calibration_bytes);
  m.def("calibration_loss", &calibration, unlocked);
  m.def("wasserstein_workspace_bytes", &wasserstein_bytes);
  m.def("wasserstein_1d", &wasserstein, unlocked);
}

}  // namespace sdc::cuda
