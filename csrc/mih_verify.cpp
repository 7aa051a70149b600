#include "mih_verify.h"

#include <bit>
#include <cstring>

#include "isa.h"

#if defined(__x86_64__) && !defined(SDC_SEARCH_PORTABLE_ONLY)
#define SDC_X86
#include <immintrin.h>
#endif

namespace sdc {
namespace {

// Inlined into functions of different target attributes, each of which compiles std::popcount its own way.
#define SDC_ALWAYS_INLINE inline __attribute__((always_inline))

template <int kStride>
struct Words {
  static constexpr int kCount = kStride <= 8 ? 1 : kStride / 8;
  std::uint64_t word[kCount + 1];  // one more, so that a substring may always look at two
};

template <int kStride>
SDC_ALWAYS_INLINE Words<kStride> difference(const std::uint64_t* query, const std::uint8_t* code) {
  Words<kStride> x;
  for (int w = 0; w < Words<kStride>::kCount; ++w) {
    std::uint64_t word = 0;
    std::memcpy(&word, code + 8 * w, kStride < 8 ? kStride : 8);
    x.word[w] = word ^ query[w];
  }
  x.word[Words<kStride>::kCount] = 0;
  return x;
}

SDC_ALWAYS_INLINE bool met_before(const VerifyTarget& target, const std::uint64_t* difference) {
  for (int i = 0; i < target.n_searched; ++i) {
    const SearchedSubstring& s = target.searched[i];
    const int distance =
        std::popcount(difference[s.word] & s.masks[0]) + std::popcount(difference[s.word + 1] & s.masks[1]);
    if (static_cast<std::uint32_t>(distance) <= s.radius) return true;
  }
  return false;
}

// Codes [begin, end); `found` holds `count` already. Returns how many it holds then.
template <int kStride>
SDC_ALWAYS_INLINE std::uint32_t verify(const VerifyTarget& target, const std::uint8_t* codes,
                                       std::uint32_t begin, std::uint32_t end, std::uint32_t bound,
                                       FoundCode* found, std::uint32_t count) {
  constexpr int kWords = Words<kStride>::kCount;
  std::uint64_t query[kWords];
  for (int w = 0; w < kWords; ++w) query[w] = target.query[w];
  for (std::uint32_t i = begin; i < end; ++i) {
    const Words<kStride> x = difference<kStride>(query, codes + static_cast<std::size_t>(i) * kStride);
    std::uint32_t distance = 0;
    for (int w = 0; w < kWords; ++w) distance += static_cast<std::uint32_t>(std::popcount(x.word[w]));
    if (distance > bound || met_before(target, x.word)) continue;
    found[count++] = {i, distance};
  }
  return count;
}

template <int kStride>
std::uint32_t verify_portable(const VerifyTarget& target, const std::uint8_t* codes, std::uint32_t n,
                              std::uint32_t bound, FoundCode* found) {
  return verify<kStride>(target, codes, 0, n, bound, found, 0);
}

#if defined(SDC_X86)
template <int kStride>
__attribute__((target("popcnt"))) std::uint32_t verify_popcnt(const VerifyTarget& target,
                                                              const std::uint8_t* codes, std::uint32_t n,
                                                              std::uint32_t bound, FoundCode* found) {
  return verify<kStride>(target, codes, 0, n, bound, found, 0);
}

#define SDC_AVX2 __attribute__((target("avx2,popcnt")))

// The ones of each 64-bit word.
SDC_AVX2 inline __m256i count_ones(__m256i x) {
  const __m256i of_nibble =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i low = _mm256_set1_epi8(15);
  const __m256i ones =
      _mm256_add_epi8(_mm256_shuffle_epi8(of_nibble, _mm256_and_si256(x, low)),
                      _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
  return _mm256_sad_epu8(ones, _mm256_setzero_si256());
}

// The distances of 4 codes of 8 or 16 bytes, in some order.
template <int kStride>
SDC_AVX2 inline __m256i four_distances(__m256i query, const std::uint8_t* codes) {
  const auto* vectors = reinterpret_cast<const __m256i*>(codes);
  const __m256i first = count_ones(_mm256_xor_si256(query, _mm256_loadu_si256(vectors)));
  if constexpr (kStride == 8) return first;
  const __m256i second = count_ones(_mm256_xor_si256(query, _mm256_loadu_si256(vectors + 1)));
  return _mm256_add_epi64(_mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second));
}

// Looks at 16 codes together, since seldom is one of them near enough; if one is, at each of them.
template <int kStride>
SDC_AVX2 std::uint32_t verify_avx2(const VerifyTarget& target, const std::uint8_t* codes, std::uint32_t n,
                                   std::uint32_t bound, FoundCode* found) {
  constexpr std::uint32_t kTogether = 16;
  const auto word = [&](int w) { return static_cast<long long>(target.query[w % (kStride / 8)]); };
  const __m256i query = _mm256_setr_epi64x(word(0), word(1), word(2), word(3));
  const __m256i beyond = _mm256_set1_epi32(static_cast<int>(bound) + 1);
  std::uint32_t count = 0;
  std::uint32_t i = 0;
  for (; i + kTogether <= n; i += kTogether) {
    const std::uint8_t* here = codes + std::size_t{i} * kStride;
    const __m256i nearest =
        _mm256_min_epi32(_mm256_min_epi32(four_distances<kStride>(query, here),
                                          four_distances<kStride>(query, here + 4 * kStride)),
                         _mm256_min_epi32(four_distances<kStride>(query, here + 8 * kStride),
                                          four_distances<kStride>(query, here + 12 * kStride)));
    // The upper halves of the 64-bit lanes are zero and say nothing.
    const __m256i near = _mm256_slli_epi64(_mm256_cmpgt_epi32(beyond, nearest), 32);
    if (_mm256_testz_si256(near, near)) continue;
    count = verify<kStride>(target, codes, i, i + kTogether, bound, found, count);
  }
  return verify<kStride>(target, codes, i, n, bound, found, count);
}
#endif

template <int kStride>
VerifyKernel kernel_of_level(Isa isa) {
#if defined(SDC_X86)
  if (isa >= Isa::avx2) {
    if constexpr (kStride == 8 || kStride == 16) return verify_avx2<kStride>;
    return verify_popcnt<kStride>;
  }
#endif
  (void)isa;
  return verify_portable<kStride>;
}

}  // namespace

VerifyKernel verify_kernel(int stride) {
  const Isa isa = active_isa();
  switch (stride) {
    case 4:
      return kernel_of_level<4>(isa);
    case 8:
      return kernel_of_level<8>(isa);
    case 16:
      return kernel_of_level<16>(isa);
    case 24:
      return kernel_of_level<24>(isa);
    default:
      return kernel_of_level<32>(isa);
  }
}

}  // namespace sdc
