// Hamming kernels for AVX-512: the levels avx512 (F, BW, VL) and avx512_vpopcnt (VPOPCNTDQ besides), which
// differ only in how the bits of a vector are counted.
#if defined(__x86_64__) && !defined(SDC_SEARCH_PORTABLE_ONLY)

#include <cstring>

#include "hamming_kernels.h"
#include "simd_x86.h"

// gcc 12 warns about variables inside its own intrinsics (gcc.gnu.org/PR105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace sdc {
namespace {

namespace avx512 {

SDC_TARGET_AVX512 inline __attribute__((always_inline)) __m512i count_by_nibbles(__m512i v) {
  const __m512i counts =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i low = _mm512_shuffle_epi8(counts, _mm512_and_si512(v, nibble));
  const __m512i high = _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi64(v, 4), nibble));
  return _mm512_sad_epu8(_mm512_add_epi8(low, high), _mm512_setzero_si512());
}

#define SDC_TARGET SDC_TARGET_AVX512
#define SDC_COUNT_LANES(v) count_by_nibbles(v)
#include "hamming_avx512.inl"
#undef SDC_TARGET
#undef SDC_INLINE
#undef SDC_COUNT_LANES

}  // namespace avx512

namespace avx512_vpopcnt {

#define SDC_TARGET SDC_TARGET_AVX512_VPOPCNT
#define SDC_COUNT_LANES(v) _mm512_popcnt_epi64(v)
#include "hamming_avx512.inl"
#undef SDC_TARGET
#undef SDC_INLINE
#undef SDC_COUNT_LANES

}  // namespace avx512_vpopcnt

}  // namespace

constinit const HammingKernels hamming_avx512 = avx512::x86_kernels_of(Isa::avx512, avx512::direct512);
constinit const HammingKernels hamming_avx512_vpopcnt =
    avx512_vpopcnt::x86_kernels_of(Isa::avx512_vpopcnt, avx512_vpopcnt::direct512);

}  // namespace sdc

#endif
