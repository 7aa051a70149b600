// Calibration with p = 1 and without a sort on a CUDA device, as csrc/bracket.h does it: a histogram of the
// teacher's similarities bounds every rank, and so the quantile C that belongs to it, from both sides, which
// decides sign(s - C) for all numbers but a few; those are ranked exactly among the numbers of their bins.
//
// Nothing waits for the device: whether the brackets decided is known there alone, at undecided(). They do
// not where a histogram tells too little (ties, one number far from all others, NaN), or where the loss is
// too small for means of bins. Then a sort must follow.
//
// The similarities come in blocks: of a row, or strips of the matrix of all pairs. The steps, each over all
// blocks before the next: begin, range, count, bracket, classify, collect, settle.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "quantiles.h"
#include "similarities.h"

namespace sdc::cuda {

class Brackets {
 public:
  // n numbers in all, 2^32 at most, `n_sums` is sums_of() of each block, added up. The brackets
  // decide where their loss is off by less than `tolerance` of it. Memory as in workspace_bytes, aligned to
  // 16 bytes.
  Brackets(const Quantiles<float>& quantiles, std::int64_t n_sums, double tolerance, void* workspace,
           int device, cudaStream_t stream);
  static std::size_t workspace_bytes(std::int64_t n, std::int64_t n_sums);
  static std::int64_t sums_of(const Similarities& block);

  void begin();
  void range(const Similarities& block);
  void count(const Similarities& block);
  void bracket();
  // Writes sign(s - C) * unit to `out`, which may be `codes`, with the layout of the block, 0 where it is
  // still open and where there is no pair; unless it is null. The block's sums are those from first_sum on.
  void classify(const Similarities& block, const float* codes, std::int64_t first_sum, float unit,
                float* out);
  void collect(const Similarities& block);
  // Decides what is open. For a row, their signs * unit go to `out` unless it is null. *loss becomes the mean
  // distance, if the brackets decide.
  void settle(float unit, float* out, float* loss);
  // sums (n_items, k), in units of 2^-32, += what the open pairs add to the gradient with respect to the
  // directions (n_items, k), whose numbers lie in [-1, 1]. After settle.
  void add_open_pairs(std::int64_t n_items, const float* directions, std::int64_t k, long long* sums);

  // 1 on the device where the brackets do not decide.
  const std::int32_t* undecided() const;

 private:
  struct Memory;
  static Memory memory_of(std::int64_t n, std::int64_t n_sums, void* workspace);

  Quantiles<float> quantiles_;
  std::int64_t n_sums_;
  double tolerance_;
  void* workspace_;
  int device_;
  cudaStream_t stream_;
};

}  // namespace sdc::cuda
