// Comparing the codes of one bucket with a query: the inner loop of multi-index hashing.
#pragma once

#include <cstdint>

namespace sdc {

inline constexpr int kMaxCodeWords = 4;

// The bits of one substring within a code loaded as native words (it touches at most two), and the radius
// up to which its table has been searched.
struct SearchedSubstring {
  std::uint64_t masks[2];
  std::uint32_t word;
  std::uint32_t radius;
};

struct VerifyTarget {
  std::uint64_t query[kMaxCodeWords];  // zeros after the last byte
  // An item within the radius of any of these has been met before and is passed over.
  const SearchedSubstring* searched;
  int n_searched;
};

struct FoundCode {
  std::uint32_t position;  // within the codes compared
  std::uint32_t distance;
};

// Writes to `found` (room for n) the codes at distance <= bound that have not been met before, ascending by
// position, and returns how many. `codes` is n codes of the kernel's stride.
using VerifyKernel = std::uint32_t (*)(const VerifyTarget& target, const std::uint8_t* codes, std::uint32_t n,
                                       std::uint32_t bound, FoundCode* found);

// stride: 4, 8, 16, 24 or 32. The level is that of active_isa().
VerifyKernel verify_kernel(int stride);

}  // namespace sdc
