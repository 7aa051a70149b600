#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "metrics.h"

namespace py = pybind11;

namespace sdc {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

// The Python layer names the argument at fault; this only keeps a direct call from reading outside an array.
void require(bool condition, const char* wanted) {
  if (!condition) throw std::invalid_argument(wanted);
}

// Relevance together with the arrays that it points into.
class OwnedRelevance {
 public:
  static OwnedRelevance equal(const Array<std::uint64_t>& items, const Array<std::uint64_t>& queries) {
    require(items.ndim() == 1 && queries.ndim() == 1, "labels must be (n,) and (q,)");
    OwnedRelevance owned(items, queries, items.shape(0), queries.shape(0));
    owned.relevance_ = {.kind = Relevance::Kind::equal, .items = items.data(), .queries = queries.data()};
    return owned;
  }

  // A yes or no, or, `counted`, how many labels are shared: one grade more than any query has labels.
  static OwnedRelevance shared(const Array<std::uint64_t>& items, const Array<std::uint64_t>& queries,
                               bool counted) {
    require(items.ndim() == 2 && queries.ndim() == 2 && items.shape(1) == queries.shape(1),
            "labels must be (n, words) and (q, words)");
    OwnedRelevance owned(items, queries, items.shape(0), queries.shape(0));
    owned.relevance_ = {.kind = counted ? Relevance::Kind::counted : Relevance::Kind::shared,
                        .items = items.data(),
                        .queries = queries.data(),
                        .words = items.shape(1)};
    if (counted) owned.relevance_.n_grades = most_labels(owned.relevance_, queries.shape(0)) + 1;
    return owned;
  }

  static OwnedRelevance listed(const Array<std::int64_t>& lims, const Array<std::int64_t>& rows,
                               std::int64_t n) {
    require(lims.ndim() == 1 && rows.ndim() == 1 && lims.shape(0) >= 1 && lims.at(0) == 0 &&
                lims.at(lims.shape(0) - 1) == rows.shape(0),
            "lims must be (q + 1,), from 0 to the number of rows");
    for (py::ssize_t q = 0; q + 1 < lims.shape(0); ++q)
      require(lims.at(q) <= lims.at(q + 1), "lims must not fall");
    for (py::ssize_t i = 0; i < rows.shape(0); ++i)
      require(rows.at(i) >= 0 && rows.at(i) < n, "rows must be those of the database");
    OwnedRelevance owned(lims, rows, n, lims.shape(0) - 1);
    owned.relevance_ = {.kind = Relevance::Kind::listed, .lims = lims.data(), .rows = rows.data()};
    return owned;
  }

  Retrieval retrieval(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                      int threads) const {
    require(codes.ndim() == 2 && queries.ndim() == 2 && codes.shape(1) == queries.shape(1) &&
                codes.shape(0) == n_ && queries.shape(0) == n_queries_,
            "codes must be (n, n_bytes) and queries (q, n_bytes), one for each label");
    return {.codes = {codes.data(), codes.shape(0), codes.shape(1)},
            .queries = queries.data(),
            .n_queries = queries.shape(0),
            .relevance = relevance_,
            .threads = threads};
  }

  int n_grades() const { return relevance_.n_grades; }
  std::int64_t n_items() const { return n_; }
  std::int64_t n_queries() const { return n_queries_; }
  const Relevance& relevance() const { return relevance_; }

 private:
  OwnedRelevance(const py::array& first, const py::array& second, std::int64_t n, std::int64_t n_queries)
      : first_(first), second_(second), n_(n), n_queries_(n_queries) {}

  py::array first_, second_;
  std::int64_t n_, n_queries_;
  Relevance relevance_{};
};

Ties ties_of(const std::string& name) {
  if (name == "expected") return Ties::expected;
  if (name == "optimistic") return Ties::optimistic;
  require(name == "pessimistic", "ties must be 'expected', 'optimistic' or 'pessimistic'");
  return Ties::pessimistic;
}

Normalizer normalizer_of(const std::string& name) {
  if (name == "relevant_in_top") return Normalizer::relevant_in_top;
  if (name == "all_relevant") return Normalizer::all_relevant;
  require(name == "relevant_up_to_at",
          "normalizer must be 'relevant_in_top', 'all_relevant' or 'relevant_up_to_at'");
  return Normalizer::relevant_up_to_at;
}

void require_binary(const OwnedRelevance& relevance) {
  require(relevance.n_grades() == 2, "relevance must be a yes or no");
}

void require_ranks(const Array<std::int64_t>& ranks) {
  require(ranks.ndim() == 1 && ranks.shape(0) >= 1, "ranks must be (n_ranks,)");
}

py::tuple average_precisions(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                             const OwnedRelevance& relevance, std::int64_t at, const std::string& ties,
                             const std::string& normalizer, int threads) {
  require_binary(relevance);
  const Retrieval retrieval = relevance.retrieval(codes, queries, threads);
  const Ties chosen = ties_of(ties);
  const Normalizer divisor = normalizer_of(normalizer);
  Array<double> precision(retrieval.n_queries), least(retrieval.n_queries), most(retrieval.n_queries);
  double *out_precision = precision.mutable_data(), *out_least = least.mutable_data(),
         *out_most = most.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    average_precision(retrieval, at, chosen, divisor, out_precision, out_least, out_most);
  }
  return py::make_tuple(precision, least, most);
}

py::tuple hits(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
               const OwnedRelevance& relevance, const Array<std::int64_t>& ranks, const std::string& ties,
               int threads) {
  require_binary(relevance);
  require_ranks(ranks);
  const Retrieval retrieval = relevance.retrieval(codes, queries, threads);
  const Ties chosen = ties_of(ties);
  Array<double> found({queries.shape(0), ranks.shape(0)}), chance({queries.shape(0), ranks.shape(0)});
  double *out_found = found.mutable_data(), *out_chance = chance.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    hits_at(retrieval, ranks.data(), ranks.shape(0), chosen, out_found, out_chance);
  }
  return py::make_tuple(found, chance);
}

void require_gains(const Array<double>& gains, const OwnedRelevance& relevance) {
  require(gains.ndim() == 1 && gains.shape(0) == relevance.n_grades(), "gains must be (n_grades,)");
}

Array<double> discounted_gain(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                              const OwnedRelevance& relevance, const Array<std::int64_t>& ranks,
                              const std::string& ties, const Array<double>& gains, int threads) {
  require_ranks(ranks);
  require_gains(gains, relevance);
  const Retrieval retrieval = relevance.retrieval(codes, queries, threads);
  const Ties chosen = ties_of(ties);
  Array<double> gain({queries.shape(0), ranks.shape(0)});
  double* out = gain.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    discounted_gain_at(retrieval, ranks.data(), ranks.shape(0), chosen, gains.data(), out);
  }
  return gain;
}

Array<double> ideal_gain(const OwnedRelevance& relevance, const Array<std::int64_t>& ranks,
                         const Array<double>& gains, int threads) {
  require_ranks(ranks);
  require_gains(gains, relevance);
  Array<double> gain({py::ssize_t{relevance.n_queries()}, ranks.shape(0)});
  double* out = gain.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    ideal_gain_at(relevance.relevance(), relevance.n_items(), relevance.n_queries(), ranks.data(),
                  ranks.shape(0), gains.data(), threads, out);
  }
  return gain;
}

Array<std::int64_t> histograms(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                               const OwnedRelevance& relevance, int threads) {
  const Retrieval retrieval = relevance.retrieval(codes, queries, threads);
  Array<std::int64_t> counts({queries.shape(0), 8 * codes.shape(1) + 1, py::ssize_t{relevance.n_grades()}});
  std::int64_t* out = counts.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    distance_histograms(retrieval, out);
  }
  return counts;
}

Array<std::int64_t> grade_counts(const OwnedRelevance& relevance, int threads) {
  const std::vector<std::int64_t> totals =
      count_grades(relevance.relevance(), relevance.n_items(), relevance.n_queries(), threads);
  Array<std::int64_t> counts({relevance.n_queries(), std::int64_t{relevance.n_grades()}});
  std::copy(totals.begin(), totals.end(), counts.mutable_data());
  return counts;
}

}  // namespace

void register_metrics(py::module_& m) {
  py::class_<OwnedRelevance>(m, "Relevance")
      .def_static("equal", &OwnedRelevance::equal, py::arg("items").noconvert(),
                  py::arg("queries").noconvert())
      .def_static("shared", &OwnedRelevance::shared, py::arg("items").noconvert(),
                  py::arg("queries").noconvert(), py::arg("counted"))
      .def_static("listed", &OwnedRelevance::listed, py::arg("lims").noconvert(), py::arg("rows").noconvert(),
                  py::arg("n"))
      .def_property_readonly("n_grades", &OwnedRelevance::n_grades)
      .def("count", &grade_counts, py::arg("threads"));
  m.def("average_precision", &average_precisions, py::arg("codes").noconvert(),
        py::arg("queries").noconvert(), py::arg("relevance"), py::arg("at"), py::arg("ties"),
        py::arg("normalizer"), py::arg("threads"));
  m.def("hits_at", &hits, py::arg("codes").noconvert(), py::arg("queries").noconvert(), py::arg("relevance"),
        py::arg("ranks").noconvert(), py::arg("ties"), py::arg("threads"));
  m.def("discounted_gain_at", &discounted_gain, py::arg("codes").noconvert(), py::arg("queries").noconvert(),
        py::arg("relevance"), py::arg("ranks").noconvert(), py::arg("ties"), py::arg("gains").noconvert(),
        py::arg("threads"));
  m.def("ideal_gain_at", &ideal_gain, py::arg("relevance"), py::arg("ranks").noconvert(),
        py::arg("gains").noconvert(), py::arg("threads"));
  m.def("distance_histograms", &histograms, py::arg("codes").noconvert(), py::arg("queries").noconvert(),
        py::arg("relevance"), py::arg("threads"));
}

}  // namespace sdc
