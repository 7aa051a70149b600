// The x86 intrinsics and the function attributes that allow them, in one place.
//
// SDC_SEARCH_EMULATE_SIMD (tests only) takes SIMDe instead, so that the code of a level runs on a machine
// without it.
#pragma once

#if defined(SDC_SEARCH_EMULATE_SIMD)

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cstdint>
#include <cstring>

// What SIMDe 0.7.4 lacks.
static inline __m512i emulated_cvtepu32_epi64(__m256i v) {
  std::uint32_t w[8];
  std::memcpy(w, &v, sizeof w);
  return _mm512_setr_epi64(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
}
#define _mm512_cvtepu32_epi64 emulated_cvtepu32_epi64

#define SDC_TARGET_AVX2
#define SDC_TARGET_AVX512
#define SDC_TARGET_AVX512_VPOPCNT

#else

#include <immintrin.h>

#define SDC_TARGET_AVX2 __attribute__((target("avx2,popcnt,lzcnt,bmi,bmi2")))
#define SDC_TARGET_AVX512 __attribute__((target("avx2,popcnt,lzcnt,bmi,bmi2,avx512f,avx512bw,avx512vl")))
#define SDC_TARGET_AVX512_VPOPCNT \
  __attribute__((target("avx2,popcnt,lzcnt,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512vpopcntdq")))

#endif
