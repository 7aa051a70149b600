#include "hamming_cost.h"

#include <cmath>
#include <limits>

#include "hamming_kernels.h"

namespace sdc {
namespace {

// Measured on an AMD Zen 3 at 3.2 GHz with AVX2: ns for a pair (direct), a block of 256 codes (build), and a
// query on a block (scan), by width class.
struct Costs {
  double direct, build3, scan3, build7, scan7;
};
constexpr Costs measured[kWidthClasses] = {
    {.30, 210, 9, 640, 7},     {.22, 310, 20, 1490, 15},     {.40, 500, 31, 2470, 24},
    {.85, 1060, 64, 5150, 56}, {1.7, 2300, 144, 12500, 163}, {4.0, 5200, 370, 31000, 340},
    {9.0, 0, 0, 0, 0}};
// What AVX-512's speeds at 64 bits are relative to: kernels alone, without what the engine adds.
constexpr Costs kernels_of_64_bits = {.22, 250, 16, 1190, 12};

// How much another level is faster at each kind of work, for the same number of codes. AVX-512 adds three
// bits in two instructions for twice the codes, but its tables are twice as large and leave the first-level
// cache.
struct Speed {
  double direct, build, scan3, scan7;
};
constexpr Speed speed_of(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return {1, 1, 1, 1};
    case Isa::avx512:
      return {1.5, 1.8, 3.5, 2.5};
    case Isa::avx512_vpopcnt:
      return {3, 1.8, 3.5, 2.5};
    case Isa::neon:
      return {.6, .5, .5, .5};
    case Isa::portable:
      return {.15, .4, .45, .45};
  }
  return {1, 1, 1, 1};
}

}  // namespace

void expected_costs(std::int64_t n, int width_class, std::int64_t n_queries, Isa isa,
                    double (&ns_per_pair)[3]) {
  const bool is_avx512 = isa == Isa::avx512 || isa == Isa::avx512_vpopcnt;
  const Costs& c = is_avx512 && class_bytes(width_class) == 8 ? kernels_of_64_bits : measured[width_class];
  const Speed speed = speed_of(isa);
  const double q = static_cast<double>(n_queries);
  // A last block that is not full costs as much as a full one.
  const double block = 64.0 * hamming_kernels(isa).lanes;
  const double filled = static_cast<double>(n) / (std::ceil(static_cast<double>(n) / block) * block);
  ns_per_pair[0] = c.direct / speed.direct;
  ns_per_pair[1] = (c.build3 / speed.build / q + c.scan3 / speed.scan3) / 256 / filled;
  ns_per_pair[2] = (c.build7 / speed.build / q + c.scan7 / speed.scan7) / 256 / filled;
  if (width_class >= kSlicedClasses)
    ns_per_pair[1] = ns_per_pair[2] = std::numeric_limits<double>::infinity();
}

HammingPlan::Method cheapest_method(const double (&ns)[3]) {
  using Method = HammingPlan::Method;
  if (ns[0] <= ns[1] && ns[0] <= ns[2]) return Method::direct;
  return ns[1] <= ns[2] ? Method::sliced_by_3 : Method::sliced_by_7;
}

bool sampling_pays(std::int64_t n, std::int64_t k) { return k >= 32 && n >= (1 << 18) && n / 64 >= k; }

std::int64_t sample_k(std::int64_t k) {
  const double expected = static_cast<double>(k) / kSampleStride;
  return static_cast<std::int64_t>(std::ceil(expected + 3 * std::sqrt(expected))) + 2;
}

}  // namespace sdc
