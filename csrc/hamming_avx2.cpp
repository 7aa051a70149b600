// Hamming kernels for AVX2.
#if defined(__x86_64__) && !defined(SDC_SEARCH_PORTABLE_ONLY)

#include <cstring>
#include <utility>

#include "hamming_kernels.h"
#include "simd_x86.h"

#define SDC_TARGET SDC_TARGET_AVX2

namespace sdc {
namespace avx2 {
namespace {

#define SDC_OP SDC_TARGET inline __attribute__((always_inline))

using Vec = __m256i;
constexpr int lanes = 4;

SDC_OP Vec load(const Vec* p) { return _mm256_load_si256(p); }
SDC_OP void store(Vec* p, Vec v) { _mm256_store_si256(p, v); }
SDC_OP Vec broadcast(std::uint64_t x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
SDC_OP Vec bit_xor(Vec a, Vec b) { return _mm256_xor_si256(a, b); }
SDC_OP Vec bit_and(Vec a, Vec b) { return _mm256_and_si256(a, b); }
SDC_OP Vec bit_or(Vec a, Vec b) { return _mm256_or_si256(a, b); }
SDC_OP Vec bit_not(Vec a) { return bit_xor(a, broadcast(~0ull)); }
template <int S>
SDC_OP Vec shift_left(Vec a) {
  return _mm256_slli_epi64(a, S);
}
template <int S>
SDC_OP Vec shift_right(Vec a) {
  return _mm256_srli_epi64(a, S);
}
SDC_OP bool all_ones(Vec a) { return _mm256_testc_si256(a, broadcast(~0ull)); }
SDC_OP int popcount(std::uint64_t x) { return __builtin_popcountll(x); }

SDC_OP void full_add(Vec a, Vec b, Vec c, Vec& sum, Vec& carry) {
  const Vec t = bit_xor(a, b);
  carry = bit_xor(bit_and(t, bit_xor(b, c)), b);
  sum = bit_xor(t, c);
}
SDC_OP Vec majority(Vec a, Vec b, Vec c) { return bit_xor(bit_and(bit_xor(a, b), bit_xor(b, c)), b); }

template <int bytes>
SDC_OP void word_planes(const std::uint8_t* codes, Vec* planes) {
  for (int v = 0; v < 64; ++v) {
    const std::uint8_t* first = codes + v * lanes * bytes;
    if constexpr (bytes == 4) {
      store(planes + v, _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(first))));
    } else if constexpr (bytes == 8) {
      store(planes + v, _mm256_loadu_si256(reinterpret_cast<const Vec*>(first)));
    } else if constexpr (bytes == 16) {
      const Vec a = _mm256_loadu_si256(reinterpret_cast<const Vec*>(first));
      const Vec b = _mm256_loadu_si256(reinterpret_cast<const Vec*>(first + 32));
      store(planes + v, _mm256_permute4x64_epi64(_mm256_unpacklo_epi64(a, b), 0xD8));
      store(planes + 64 + v, _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(a, b), 0xD8));
    } else {
      for (int w = 0; w < bytes / 8; w += 4) {
        const auto words = [&](int i) SDC_TARGET {
          return _mm256_loadu_si256(reinterpret_cast<const Vec*>(first + i * bytes + 8 * w));
        };
        const Vec c0 = words(0), c1 = words(1), c2 = words(2), c3 = words(3);
        const Vec lo01 = _mm256_unpacklo_epi64(c0, c1), hi01 = _mm256_unpackhi_epi64(c0, c1);
        const Vec lo23 = _mm256_unpacklo_epi64(c2, c3), hi23 = _mm256_unpackhi_epi64(c2, c3);
        store(planes + 64 * w + v, _mm256_permute2x128_si256(lo01, lo23, 0x20));
        store(planes + 64 * (w + 1) + v, _mm256_permute2x128_si256(hi01, hi23, 0x20));
        store(planes + 64 * (w + 2) + v, _mm256_permute2x128_si256(lo01, lo23, 0x31));
        store(planes + 64 * (w + 3) + v, _mm256_permute2x128_si256(hi01, hi23, 0x31));
      }
    }
  }
}

#include "hamming_sliced.inl"
#include "hamming_x86.inl"

// The one bits of every byte.
SDC_OP Vec count_bytes(Vec v) {
  const Vec counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3,
                                      1, 2, 2, 3, 2, 3, 3, 4);
  const Vec nibble = _mm256_set1_epi8(15);
  const Vec low = _mm256_shuffle_epi8(counts, bit_and(v, nibble));
  const Vec high = _mm256_shuffle_epi8(counts, bit_and(_mm256_srli_epi16(v, 4), nibble));
  return _mm256_add_epi8(low, high);
}

SDC_OP Vec mismatches(const std::uint8_t* codes, Vec query) {
  return count_bytes(bit_xor(_mm256_loadu_si256(reinterpret_cast<const Vec*>(codes)), query));
}

// The one bits of every word of four codes or two, 64 bits a word.
SDC_OP Vec word_mismatches(const std::uint8_t* codes, Vec query) {
  return _mm256_sad_epu8(mismatches(codes, query), _mm256_setzero_si256());
}

// Even 32-bit elements of a and b: four sums of 64-bit lanes from each, in the order a0 a1 b0 b1 | a2 a3 b2
// b3.
SDC_OP Vec even_elements(Vec a, Vec b) {
  return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
}

// The distances of 16 short codes as 16-bit elements, in an order that place_of() tells.
template <int bytes>
SDC_OP Vec sixteen_distances(const std::uint8_t* codes, Vec query) {
  if constexpr (bytes == 4) {
    const Vec ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    const Vec a = _mm256_madd_epi16(_mm256_maddubs_epi16(mismatches(codes, query), ones8), ones16);
    const Vec b = _mm256_madd_epi16(_mm256_maddubs_epi16(mismatches(codes + 32, query), ones8), ones16);
    return _mm256_packus_epi32(a, b);
  } else if constexpr (bytes == 8) {
    const Vec a = even_elements(word_mismatches(codes, query), word_mismatches(codes + 32, query));
    const Vec b = even_elements(word_mismatches(codes + 64, query), word_mismatches(codes + 96, query));
    return _mm256_packus_epi32(a, b);
  } else {
    static_assert(bytes == 16);
    Vec sums[2];
    for (int h = 0; h < 2; ++h, codes += 128) {
      const Vec a = even_elements(word_mismatches(codes, query), word_mismatches(codes + 32, query));
      const Vec b = even_elements(word_mismatches(codes + 64, query), word_mismatches(codes + 96, query));
      sums[h] = _mm256_hadd_epi32(a, b);
    }
    return _mm256_packus_epi32(sums[0], sums[1]);
  }
}

template <int bytes>
constexpr int place_of(int c) {
  if (bytes == 4) return 8 * ((c >> 2) & 1) + 4 * (c >> 3) + (c & 3);
  if (bytes == 8) return 8 * ((c >> 1) & 1) + 2 * (c >> 2) + (c & 1);
  return 8 * (c & 1) + (c >> 1);
}

template <int bytes>
SDC_OP Vec repeat_query(const std::uint8_t* query) {
  alignas(32) std::uint8_t repeated[32];
  for (int i = 0; i < 32; i += bytes) std::memcpy(repeated + i, query, bytes);
  return load(reinterpret_cast<const Vec*>(repeated));
}

template <int bytes>
SDC_TARGET void short_distances(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                                std::uint16_t* out) {
  const Vec wide = repeat_query<bytes>(query);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    alignas(32) std::uint16_t d[16];
    store(reinterpret_cast<Vec*>(d), sixteen_distances<bytes>(codes + i * bytes, wide));
    for (int c = 0; c < 16; ++c) out[i + static_cast<std::size_t>(c)] = d[place_of<bytes>(c)];
  }
  distances<bytes>(codes + i * bytes, n - i, query, out + i);
}

// Further ahead than the hardware looks, since a page ends its own prefetching.
constexpr std::size_t kPrefetchBytes = 4096;

// Lower bounds of the distances of four codes of 64 bits, for three quarters of the work: a bit of either
// nibble counts once. Of random codes they let 1 in 500 through at a threshold of 16, 1 in 170 at 17.
SDC_OP Vec folded_mismatches(const std::uint8_t* codes, Vec query) {
  const Vec counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3,
                                      1, 2, 2, 3, 2, 3, 3, 4);
  const Vec v = bit_xor(_mm256_loadu_si256(reinterpret_cast<const Vec*>(codes)), query);
  const Vec folded = bit_and(bit_or(v, _mm256_srli_epi16(v, 4)), _mm256_set1_epi8(15));
  return _mm256_sad_epu8(_mm256_shuffle_epi8(counts, folded), _mm256_setzero_si256());
}

// The least distance, or lower bound, in each lane of 16 codes of 64 bits.
template <bool folded>
SDC_OP Vec least_of_sixteen(const std::uint8_t* codes, Vec query) {
  const auto four = [&](int i) SDC_TARGET {
    return folded ? folded_mismatches(codes + 32 * i, query) : word_mismatches(codes + 32 * i, query);
  };
  return _mm256_min_epi32(_mm256_min_epi32(four(0), four(1)), _mm256_min_epi32(four(2), four(3)));
}

// Whether any of 64-bit lanes of small numbers is below the limit, whose upper halves are 0.
SDC_OP bool any_below(Vec v, Vec limit) { return _mm256_movemask_epi8(_mm256_cmpgt_epi32(limit, v)) != 0; }

template <bool folded>
SDC_OP std::size_t words_within(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                                unsigned threshold, std::uint64_t first_row, std::uint64_t* found) {
  std::uint64_t word;
  std::memcpy(&word, query, 8);
  const Vec wide = broadcast(word);
  const Vec limit = broadcast(threshold + 1);
  std::size_t m = 0, i = 0;
  for (; i + 32 <= n; i += 32) {
    const std::uint8_t* block = codes + 8 * i;
    for (int b = 0; b < 256; b += 64) __builtin_prefetch(block + kPrefetchBytes + b);
    const Vec least[2] = {least_of_sixteen<folded>(block, wide), least_of_sixteen<folded>(block + 128, wide)};
    if (__builtin_expect(!any_below(_mm256_min_epi32(least[0], least[1]), limit), 1)) continue;
    for (std::size_t half = 0; half < 2; ++half) {
      if (!any_below(least[half], limit)) continue;
      if (folded && !any_below(least_of_sixteen<false>(block + 128 * half, wide), limit)) continue;
      m += within<8>(block + 128 * half, 16, query, threshold, first_row + i + 16 * half, found + m);
    }
  }
  return m + within<8>(codes + 8 * i, n - i, query, threshold, first_row + i, found + m);
}

template <int bytes>
SDC_TARGET std::size_t short_within(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                                    unsigned threshold, std::uint64_t first_row, std::uint64_t* found) {
  const Vec wide = repeat_query<bytes>(query);
  const Vec limit = _mm256_set1_epi16(static_cast<short>(threshold + 1));
  std::size_t m = 0, i = 0;
  for (; i + 16 <= n; i += 16) {
    const std::uint8_t* sixteen = codes + i * bytes;
    for (int b = 0; b < 16 * bytes; b += 64) __builtin_prefetch(sixteen + kPrefetchBytes + b);
    const Vec distance = sixteen_distances<bytes>(sixteen, wide);
    if (__builtin_expect(_mm256_movemask_epi8(_mm256_cmpgt_epi16(limit, distance)) == 0, 1)) continue;
    m += within<bytes>(sixteen, 16, query, threshold, first_row + i, found + m);
  }
  return m + within<bytes>(codes + i * bytes, n - i, query, threshold, first_row + i, found + m);
}

template <>
SDC_TARGET std::size_t short_within<8>(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                                       unsigned threshold, std::uint64_t first_row, std::uint64_t* found) {
  return threshold <= 16 ? words_within<true>(codes, n, query, threshold, first_row, found)
                         : words_within<false>(codes, n, query, threshold, first_row, found);
}

template <int bytes>
SDC_TARGET std::size_t long_within(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                                   unsigned threshold, std::uint64_t first_row, std::uint64_t* found) {
  std::size_t m = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t* code = codes + i * bytes;
    for (int b = 0; b < bytes; b += 64) __builtin_prefetch(code + kPrefetchBytes + b);
    const std::uint64_t d = code_distance<bytes>(code, query);
    if (__builtin_expect(d <= threshold, 0)) found[m++] = (d << 48) + first_row + i;
  }
  return m;
}

constexpr DirectKernel direct[kWidthClasses] = {
    {short_distances<4>, short_within<4>},   {short_distances<8>, short_within<8>},
    {short_distances<16>, short_within<16>}, {distances<32>, long_within<32>},
    {distances<64>, long_within<64>},        {distances<128>, long_within<128>},
    {distances<256>, long_within<256>}};

}  // namespace
}  // namespace avx2

constinit const HammingKernels hamming_avx2 = avx2::x86_kernels_of(Isa::avx2, avx2::direct);

}  // namespace sdc

#endif
