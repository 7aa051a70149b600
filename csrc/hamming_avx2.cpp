#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#include "hamming_kernels.h"

#define SDC_AVX2 __attribute__((target("avx2,popcnt")))

namespace sdc {
namespace {

// Bit counts of each byte, by two table look-ups of its halves.
SDC_AVX2 __m256i byte_popcounts(__m256i v) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2,
                                         3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(0x0f);
  return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)),
                         _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

SDC_AVX2 std::int32_t tail_distance(const std::uint8_t* a, const std::uint8_t* b, int n_bytes) {
  std::int32_t sum = 0;
  int i = 0;
  for (; i + 8 <= n_bytes; i += 8) {
    std::uint64_t x, y;
    std::memcpy(&x, a + i, 8);
    std::memcpy(&y, b + i, 8);
    sum += static_cast<std::int32_t>(_mm_popcnt_u64(x ^ y));
  }
  std::uint64_t x = 0, y = 0;
  std::memcpy(&x, a + i, static_cast<std::size_t>(n_bytes - i));
  std::memcpy(&y, b + i, static_cast<std::size_t>(n_bytes - i));
  return sum + static_cast<std::int32_t>(_mm_popcnt_u64(x ^ y));
}

// Four codes of 8 bytes fill one register, and the sum of absolute differences adds up each of them.
SDC_AVX2 void distances_8(const std::uint8_t* query, const std::uint8_t* codes, std::int64_t n,
                          std::int32_t* out) {
  long long word;
  std::memcpy(&word, query, 8);
  const __m256i q = _mm256_set1_epi64x(word);
  const __m256i evens = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const __m256i x =
        _mm256_xor_si256(q, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 8 * i)));
    const __m256i sums = _mm256_sad_epu8(byte_popcounts(x), _mm256_setzero_si256());
    const __m256i packed = _mm256_permutevar8x32_epi32(sums, evens);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_castsi256_si128(packed));
  }
  for (; i < n; ++i) out[i] = tail_distance(query, codes + 8 * i, 8);
}

SDC_AVX2 void distances(const std::uint8_t* query, const std::uint8_t* codes, std::int64_t n, int n_bytes,
                        std::int32_t* out) {
  if (n_bytes == 8) return distances_8(query, codes, n, out);
  for (std::int64_t i = 0; i < n; ++i) out[i] = tail_distance(query, codes + i * n_bytes, n_bytes);
}

}  // namespace

const HammingKernels kAvx2Hamming = {distances};

}  // namespace sdc

#endif
