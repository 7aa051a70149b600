// The instruction-set levels that the native core is built for, and the one that is in use.
//
// A level is chosen once for a process, at the first native call: the highest that the processor and the
// operating system support, or the one that the environment variable SDC_SEARCH_ISA names. Every level gives
// the same bytes as `portable`.
#pragma once

#include <vector>

namespace sdc {

enum class Isa : int {
  portable,        // plain C++; always there
  neon,            // 64-bit Arm
  avx2,            // AVX2, POPCNT, LZCNT, BMI1, BMI2
  avx512,          // avx2 and AVX-512 F, BW, VL
  avx512_vpopcnt,  // avx512 and VPOPCNTDQ
};

// The name as SDC_SEARCH_ISA spells it.
const char* isa_name(Isa isa);

// The levels that this machine runs, ascending; never empty. A build with SDC_SEARCH_PORTABLE_ONLY has only
// `portable`.
std::vector<Isa> available_isas();

// The level in use. Throws std::invalid_argument, naming what the machine has, when SDC_SEARCH_ISA names a
// level that is unknown or not available; it then throws again at the next call.
Isa active_isa();

// Uses `isa` from now on; for tests. Throws std::invalid_argument when the machine lacks it.
void set_active_isa(Isa isa);

}  // namespace sdc
