// The calibration loss of p = 1 without a sort: a histogram of the teacher's similarities brackets every
// rank. The driver sees the similarities several times, in blocks that it may keep or compute again each
// time:
//   histogram of all t -> Brackets -> classify all (s, t) -> if anything is open, collect and resolve.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
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

  // From the counts of all bins in several parts, each empty or one number a bin; in all they are n =
  // quantiles.n. Quantiles are rounded to float.
  Brackets(const Bins& bins, const std::vector<std::vector<std::uint32_t>>& counts,
           const Quantiles& quantiles, int threads);

  const Bracket* table() const { return table_.data(); }

  // A bound of what the means can cost the sum of the n distances, if the order of the numbers inside one bin
  // has nothing to do with their signs: four standard deviations.
  double loss_error() const { return loss_error_; }

  // Makes room for the numbers of the bins of `open`; false if there are more than `most`. Those bins have
  // wanted()[bin] = 1, all others 0.
  bool want(const std::vector<TeacherPair>& open, std::int64_t most);
  const std::uint8_t* wanted() const { return wanted_.data(); }

  // Takes a number of a wanted bin; each once, from any thread and in any order.
  void add(float t, std::int64_t index);

  // Ranks each of `open` exactly among the numbers taken, which are all of the wanted bins, open ones too.
  // signs[i] is that of open[i]. Returns by how much the true distances exceed those to the means, summed.
  double resolve(const std::vector<TeacherPair>& open, std::vector<std::int8_t>* signs);

 private:
  template <class Parts>
  double fill(std::int64_t first, std::int64_t last_end, Parts parts);
  std::int32_t bin_of(float t) const;

  Bins bins_;
  Quantiles quantiles_;
  std::vector<std::uint32_t> begins_;  // the first rank of each bin
  std::vector<Bracket> table_;
  double loss_error_ = 0;

  // The wanted bins, numbered as they come in `open`: group g holds the keys from starts_[g] on, the next one
  // goes to nexts_[g].
  std::vector<std::uint8_t> wanted_;
  std::unique_ptr<std::uint32_t[]> group_of_;  // of each wanted bin
  std::vector<std::uint32_t> opens_, starts_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> nexts_;
  std::unique_ptr<std::uint64_t[]> keys_;
};

}  // namespace sdc
