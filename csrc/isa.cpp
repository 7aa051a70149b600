#include "isa.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sdc {
namespace {

constexpr Isa kAllIsas[] = {Isa::portable, Isa::neon, Isa::avx2, Isa::avx512, Isa::avx512_vpopcnt};
constexpr int kUndecided = -1;

std::atomic<int> active{kUndecided};

#if defined(__x86_64__) && !defined(SDC_SEARCH_PORTABLE_ONLY) && !defined(SDC_SEARCH_EMULATE_SIMD)
// Not every compiler's __builtin_cpu_supports knows it.
bool has_lzcnt() {
  unsigned a, b, c = 0, d;
  return __get_cpuid(0x80000001u, &a, &b, &c, &d) != 0 && (c & bit_ABM) != 0;
}
#endif

// __builtin_cpu_supports also asks (by XGETBV) whether the operating system saves the wide registers.
bool machine_has(Isa isa) {
#if defined(SDC_SEARCH_PORTABLE_ONLY)
  return isa == Isa::portable;
#elif defined(SDC_SEARCH_EMULATE_SIMD)
  return isa != Isa::neon;
#elif defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_lzcnt();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl");
  switch (isa) {
    case Isa::portable:
      return true;
    case Isa::neon:
      return false;
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx512;
    case Isa::avx512_vpopcnt:
      return avx512 && __builtin_cpu_supports("avx512vpopcntdq");
  }
  return false;
#elif defined(__aarch64__)
  return isa == Isa::portable || isa == Isa::neon;
#else
  return isa == Isa::portable;
#endif
}

std::string available_names() {
  std::string names;
  for (const Isa isa : available_isas()) names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  return names;
}

Isa chosen_by_environment() {
  const char* wanted = std::getenv("SDC_SEARCH_ISA");
  if (wanted == nullptr || *wanted == '\0') return available_isas().back();
  for (const Isa isa : kAllIsas) {
    if (isa_name(isa) != std::string(wanted)) continue;
    if (machine_has(isa)) return isa;
    throw std::invalid_argument("SDC_SEARCH_ISA: this machine lacks '" + std::string(wanted) + "'; it has " +
                                available_names());
  }
  throw std::invalid_argument("SDC_SEARCH_ISA: unknown level '" + std::string(wanted) +
                              "'; this machine has " + available_names());
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return "portable";
    case Isa::neon:
      return "neon";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_vpopcnt:
      return "avx512_vpopcnt";
  }
  return "unknown";
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  std::copy_if(std::begin(kAllIsas), std::end(kAllIsas), std::back_inserter(isas), machine_has);
  return isas;
}

Isa active_isa() {
  int isa = active.load(std::memory_order_relaxed);
  if (isa == kUndecided) {
    const int chosen = static_cast<int>(chosen_by_environment());
    // A concurrent set_active_isa wins: `isa` is then its level.
    if (active.compare_exchange_strong(isa, chosen)) isa = chosen;
  }
  return static_cast<Isa>(isa);
}

void set_active_isa(Isa isa) {
  if (!machine_has(isa)) {
    throw std::invalid_argument("this machine lacks '" + std::string(isa_name(isa)) + "'; it has " +
                                available_names());
  }
  active.store(static_cast<int>(isa));
}

}  // namespace sdc
