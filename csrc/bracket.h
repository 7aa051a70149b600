// The calibration loss of p = 1 without a sort: a histogram of the teacher's similarities brackets every
// rank. The driver sees the similarities several times, in blocks that it may keep or compute again each
// time:
//   histogram of all t -> Brackets -> classify all (s, t) -> if anything is open, collect and resolve.
#pragma once

#include <cstdint>
#include <vector>

#include "calibration_kernels.h"
#include "quantiles.h"

namespace sdc {

// A similarity of the teacher and the one of the codes at its index, which orders it among equals. Below
// 2^32.
struct TeacherPair {
  float s, t;
  std::int64_t index;
};

class Brackets {
 public:
  // Bins for n numbers in [low, high], both finite; false where no histogram can tell them apart.
  static bool choose_bins(float low, float high, std::int64_t n, Bins* bins);

  // From the counts of all bins, which add up to n = quantiles.n. Quantiles are rounded to float.
  Brackets(const Bins& bins, const std::uint32_t* counts, const Quantiles& quantiles, int threads);

  const Bracket* table() const { return table_.data(); }

  // A bound of what the means can cost the sum of the n distances, if the order of the numbers inside one bin
  // has nothing to do with their signs: four standard deviations.
  double loss_error() const { return loss_error_; }

  // wanted[bin] = 1 for the bins of `open`, else 0. Returns how many numbers those bins hold.
  std::int64_t want(const std::vector<TeacherPair>& open, std::vector<std::uint8_t>* wanted) const;

  // Ranks each of `open` exactly among `members`, all the numbers of the wanted bins, open ones included.
  // signs[i] is that of open[i]. Returns by how much the true distances exceed those to the means, summed.
  double resolve(const std::vector<TeacherPair>& open, const std::vector<TeacherPair>& members,
                 std::vector<std::int8_t>* signs) const;

 private:
  template <class Parts>
  double fill(std::int64_t first, Parts parts);
  std::int32_t bin_of(float t) const;

  Bins bins_;
  Quantiles quantiles_;
  std::vector<std::uint32_t> begins_;  // the first rank of each bin
  std::vector<Bracket> table_;
  double loss_error_ = 0;
};

}  // namespace sdc
