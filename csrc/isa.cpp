#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace sdc {
namespace {

constexpr int kUnset = -1;
std::atomic<int> active{kUnset};

Isa chosen_at_start() {
  const std::vector<Isa> levels = available_isas();
  const char* wanted = std::getenv("SDC_SEARCH_ISA");
  if (wanted == nullptr || *wanted == '\0') return levels.back();
  std::string known;
  for (const Isa level : levels) {
    if (std::string(isa_name(level)) == wanted) return level;
    known += known.empty() ? "" : ", ";
    known += isa_name(level);
  }
  throw std::invalid_argument("SDC_SEARCH_ISA is '" + std::string(wanted) +
                              "', but this machine has: " + known);
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::neon:
      return "neon";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_vpopcnt:
      return "avx512_vpopcnt";
    default:
      return "portable";
  }
}

std::vector<Isa> available_isas() {
  std::vector<Isa> levels = {Isa::portable};
#if defined(__x86_64__)
  // These ask the CPU and whether the operating system saves the registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt")) {
    levels.push_back(Isa::avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vpopcntdq")) {
      levels.push_back(Isa::avx512_vpopcnt);
    }
  }
#endif
  return levels;
}

Isa active_isa() {
  const int isa = active.load(std::memory_order_relaxed);
  if (isa != kUnset) return static_cast<Isa>(isa);
  int expected = kUnset;
  active.compare_exchange_strong(expected, static_cast<int>(chosen_at_start()));
  return static_cast<Isa>(active.load());
}

void set_active_isa(Isa isa) { active.store(static_cast<int>(isa)); }

}  // namespace sdc
