// What one instruction-set level provides to the search. One file a level defines its table.
#pragma once

#include <cstdint>

namespace sdc {

struct HammingKernels {
  // distances[i] = popcount(query xor codes[i]) for i < n, each of n_bytes bytes.
  void (*distances)(const std::uint8_t* query, const std::uint8_t* codes, std::int64_t n, int n_bytes,
                    std::int32_t* distances);
};

extern const HammingKernels kPortableHamming;
#if defined(__x86_64__)
extern const HammingKernels kAvx2Hamming;
extern const HammingKernels kAvx512VpopcntHamming;
#endif

}  // namespace sdc
