#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include "quantiles.h"
#include "sdc_loss.h"
#include "wasserstein.h"

namespace py = pybind11;

// Tensors arrive as addresses (Tensor.data_ptr()), which costs a call of 32 numbers a tenth of what arrays
// would; ops.py has checked dtype, shape, contiguity and device. An address of 0 is an argument that is
// absent.
namespace sdc {
namespace {

using Address = std::uintptr_t;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr): that is what data_ptr() gives
}

void check_sizes(std::int64_t rows, std::int64_t n) {
  if (rows < 1 || n < 1 || n > std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("a loss needs at least one row, of 1 to 2^32 - 1 numbers");
  }
}

Method method_of(const std::string& name) {
  if (name == "automatic") return Method::automatic;
  if (name == "sort") return Method::sort;
  if (name == "bracket") return Method::bracket;
  throw std::invalid_argument("method must be automatic, sort or bracket");
}

template <class T, class U>
void calibrate(Address code, Address teacher, const Quantiles& quantiles, std::int64_t stride,
               std::int64_t rows, std::int64_t n, double p, int threads, Method method, Address loss,
               Address signs, Address gradient) {
  *pointer<T>(loss) = static_cast<T>(calibration_loss(pointer<const T>(code), pointer<const U>(teacher),
                                                      quantiles, stride, rows, n, p, threads, method,
                                                      pointer<std::int8_t>(signs), pointer<T>(gradient)));
}

void calibration(Address code, bool code64, Address teacher, bool teacher64, Address table, bool table64,
                 std::int64_t stride, std::int64_t rows, std::int64_t n, double p, int threads, Address loss,
                 Address signs, Address gradient, const std::string& method) {
  check_sizes(rows, n);
  Quantiles quantiles;
  quantiles.n = n;
  (table64 ? (void)(quantiles.table64 = pointer<const double>(table))
           : (void)(quantiles.table32 = pointer<const float>(table)));
  const auto run = code64 ? (teacher64 ? &calibrate<double, double> : &calibrate<double, float>)
                          : (teacher64 ? &calibrate<float, double> : &calibrate<float, float>);
  const Method chosen = method_of(method);
  const py::gil_scoped_release unlocked;
  run(code, teacher, quantiles, stride, rows, n, p, threads, chosen, loss, signs, gradient);
}

void signs_to_gradient(Address signs, std::int64_t n, double scale, int threads, Address out, bool out64) {
  const py::gil_scoped_release unlocked;
  if (out64) {
    scale_signs(pointer<const std::int8_t>(signs), n, scale, threads, pointer<double>(out));
  } else {
    scale_signs(pointer<const std::int8_t>(signs), n, static_cast<float>(scale), threads,
                pointer<float>(out));
  }
}

template <class T>
void transport(Address x, Address y, Address x_weights, Address y_weights, std::int64_t rows, std::int64_t n,
               std::int64_t m, double p, bool root, int threads, Address losses, Address x_gradient,
               Address y_gradient) {
  wasserstein_1d(pointer<const T>(x), pointer<const T>(y), pointer<const T>(x_weights),
                 pointer<const T>(y_weights), rows, n, m, p, root, threads, pointer<T>(losses),
                 pointer<T>(x_gradient), pointer<T>(y_gradient));
}

void wasserstein(Address x, Address y, Address x_weights, Address y_weights, bool real64, std::int64_t rows,
                 std::int64_t n, std::int64_t m, double p, bool root, int threads, Address losses,
                 Address x_gradient, Address y_gradient) {
  check_sizes(rows, n);
  check_sizes(rows, m);
  const py::gil_scoped_release unlocked;
  (real64 ? &transport<double> : &transport<float>)(x, y, x_weights, y_weights, rows, n, m, p, root, threads,
                                                    losses, x_gradient, y_gradient);
}

// Owns the nodes of both halves of a Beta distribution's quantile function.
class BetaSpline {
 public:
  using Nodes = py::array_t<double, py::array::c_style>;

  BetaSpline(double alpha, Nodes lower_values, Nodes lower_slopes, double beta, Nodes upper_values,
             Nodes upper_slopes)
      : nodes_{std::move(lower_values), std::move(lower_slopes), std::move(upper_values),
               std::move(upper_slopes)} {
    for (const Nodes& nodes : nodes_) {
      if (nodes.ndim() != 1 || nodes.size() < 2 || nodes.size() != nodes_[0].size()) {
        throw std::invalid_argument("all nodes must be of one length, at least 2");
      }
    }
    halves_[0] = {alpha, nodes_[0].data(), nodes_[1].data(), nodes_[0].size()};
    halves_[1] = {beta, nodes_[2].data(), nodes_[3].data(), nodes_[0].size()};
  }

  py::array_t<double> table(std::int64_t n, int threads) const {
    py::array_t<double> out(n);
    double* data = out.mutable_data();
    const py::gil_scoped_release unlocked;
    beta_quantiles(halves_, n, threads, data);
    return out;
  }

  const BetaHalf* halves() const { return halves_; }

 private:
  Nodes nodes_[4];
  BetaHalf halves_[2];
};

Batch batch_of(Address features, Address outputs, std::int64_t n, std::int64_t d, std::int64_t k) {
  if (n < 2 || n > 92'000 || d < 1 || k < 1) {
    throw std::invalid_argument("a batch needs 2 to 92,000 rows and at least one column");
  }
  return {pointer<const float>(features), pointer<const float>(outputs), n, d, k};
}

void half(Address features, Address outputs, std::int64_t n, std::int64_t d, std::int64_t k, Address table,
          double quantization, int threads, Address loss, Address gradient) {
  const Batch batch = batch_of(features, outputs, n, d, k);
  Quantiles quantiles;
  quantiles.n = n / 2;
  quantiles.table64 = pointer<const double>(table);
  const py::gil_scoped_release unlocked;
  *pointer<float>(loss) =
      static_cast<float>(sdc_loss_half(batch, quantiles, quantization, threads, pointer<float>(gradient)));
}

// Quantiles from a table, or where that is absent from the spline.
void all(Address features, Address outputs, std::int64_t n, std::int64_t d, std::int64_t k, Address table,
         const BetaSpline* spline, double floor, double quantization, int threads, Address loss,
         Address gradient) {
  const Batch batch = batch_of(features, outputs, n, d, k);
  Quantiles quantiles;
  quantiles.n = n * (n - 1) / 2;
  quantiles.table64 = pointer<const double>(table);
  if (table == 0 && spline == nullptr) throw std::invalid_argument("a table or a spline must be there");
  if (table == 0) quantiles.halves = spline->halves();
  quantiles.floor = floor;
  const py::gil_scoped_release unlocked;
  *pointer<float>(loss) =
      static_cast<float>(sdc_loss_all(batch, quantiles, quantization, threads, pointer<float>(gradient)));
}

}  // namespace

void register_losses(py::module_& m) {
  py::class_<BetaSpline>(m, "BetaSpline")
      .def(py::init<double, BetaSpline::Nodes, BetaSpline::Nodes, double, BetaSpline::Nodes,
                    BetaSpline::Nodes>(),
           py::arg("alpha"), py::arg("lower_values"), py::arg("lower_slopes"), py::arg("beta"),
           py::arg("upper_values"), py::arg("upper_slopes"))
      .def("table", &BetaSpline::table, py::arg("n"), py::arg("threads"));
  m.def("calibration_loss", &calibration);
  m.def("scale_signs", &signs_to_gradient);
  m.def("wasserstein_1d", &wasserstein);
  m.def("sdc_loss_half", &half);
  m.def("sdc_loss_all", &all);
}

}  // namespace sdc
