// Which instruction-set level the kernels use.
#pragma once

#include <vector>

namespace sdc {

// Ascending; a machine has `portable` and those of the rest that its CPU and operating system support.
enum class Isa : int { portable, neon, avx2, avx512, avx512_vpopcnt };

const char* isa_name(Isa isa);

// The levels of this machine, ascending, `portable` first.
std::vector<Isa> available_isas();

// The level in use: the highest, unless SDC_SEARCH_ISA names another when this is first called. Throws
// std::invalid_argument, listing the levels of this machine, if that names one it does not have.
Isa active_isa();

// For tests: switches the level under all callers. `isa` must be available.
void set_active_isa(Isa isa);

}  // namespace sdc
