#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#include "hamming_kernels.h"

#define SDC_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vpopcntdq,popcnt")))

namespace sdc {
namespace {

// Eight codes of 8 bytes fill one register and need no sum across lanes.
SDC_AVX512 void distances_8(const std::uint8_t* query, const std::uint8_t* codes, std::int64_t n,
                            std::int32_t* out) {
  long long word;
  std::memcpy(&word, query, 8);
  const __m512i q = _mm512_set1_epi64(word);
  for (std::int64_t i = 0; i < n; i += 8) {
    const __mmask8 live = n - i >= 8 ? 0xff : static_cast<__mmask8>((1u << (n - i)) - 1);
    const __m512i x = _mm512_xor_si512(q, _mm512_maskz_loadu_epi64(live, codes + 8 * i));
    _mm256_mask_storeu_epi32(out + i, live, _mm512_cvtepi64_epi32(_mm512_popcnt_epi64(x)));
  }
}

SDC_AVX512 void distances(const std::uint8_t* query, const std::uint8_t* codes, std::int64_t n, int n_bytes,
                          std::int32_t* out) {
  if (n_bytes == 8) return distances_8(query, codes, n, out);
  const int tail = n_bytes % 64;
  const __mmask64 tail_bytes = (1ull << tail) - 1;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint8_t* code = codes + i * n_bytes;
    __m512i sum = _mm512_setzero_si512();
    int j = 0;
    for (; j + 64 <= n_bytes; j += 64) {
      const __m512i x = _mm512_xor_si512(_mm512_loadu_si512(query + j), _mm512_loadu_si512(code + j));
      sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(x));
    }
    if (tail) {
      const __m512i x = _mm512_xor_si512(_mm512_maskz_loadu_epi8(tail_bytes, query + j),
                                         _mm512_maskz_loadu_epi8(tail_bytes, code + j));
      sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(x));
    }
    out[i] = static_cast<std::int32_t>(_mm512_reduce_add_epi64(sum));
  }
}

}  // namespace

const HammingKernels kAvx512VpopcntHamming = {distances};

}  // namespace sdc

#endif
