// The whole loss of SDC on a batch: normalise, cosines of pairs, calibration, quantisation, and its gradient.
#pragma once

#include <cstdint>

#include "quantiles.h"

namespace sdc {

// The batch, row-major: features (n, d), which are the teacher, and outputs (n, k), before the sign. n >= 2.
struct Batch {
  const float* features;
  const float* outputs;
  std::int64_t n, d, k;
};

// calibration_loss (p = 1) of the cosines of pairs of outputs, ordered by the cosines of the same pairs of
// features, plus quantization * mean over i of (1 - cos(v_i, sign v_i)). A row whose norm is below 1e-12 has
// cosine 0 with every other one and gradient 0. A NaN anywhere makes the loss and the gradient NaN.
// `gradient`, if not null, receives d loss / d outputs, (n, k).
//
// Half: the n / 2 pairs (i, i + n / 2); the last row of an odd n is quantised only. quantiles.n is their
// number.
double sdc_loss_half(const Batch& batch, const Quantiles& quantiles, double quantization, int threads,
                     float* gradient);

// All: the n (n - 1) / 2 pairs i < j, fewer than 2^32 of them, in that order where features' cosines are
// equal. Tiles of similarities pass through the cache; besides 8 gradients (n, k), those of the features are
// kept up to 40 MB and computed again beyond. Batches of few pairs, and those where the bracket of
// wasserstein.h does not suffice (many equal cosines, or hardly any loss), take 32 bytes a pair for a sort
// instead.
double sdc_loss_all(const Batch& batch, const Quantiles& quantiles, double quantization, int threads,
                    float* gradient);

}  // namespace sdc
