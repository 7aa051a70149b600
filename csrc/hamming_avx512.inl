// The AVX-512 kernels, written once for both levels. hamming_avx512.cpp includes it after defining SDC_TARGET
// and SDC_COUNT_LANES(v), the number of one bits in each 64-bit lane.

#define SDC_OP SDC_TARGET inline __attribute__((always_inline))

using Vec = __m512i;
constexpr int lanes = 8;

SDC_OP Vec load(const Vec* p) { return _mm512_load_si512(p); }
SDC_OP Vec load_unaligned(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
SDC_OP void store(Vec* p, Vec v) { _mm512_store_si512(p, v); }
SDC_OP Vec broadcast(std::uint64_t x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
SDC_OP Vec bit_xor(Vec a, Vec b) { return _mm512_xor_si512(a, b); }
SDC_OP Vec bit_and(Vec a, Vec b) { return _mm512_and_si512(a, b); }
SDC_OP Vec bit_or(Vec a, Vec b) { return _mm512_or_si512(a, b); }
SDC_OP Vec bit_not(Vec a) { return _mm512_ternarylogic_epi64(a, a, a, 0x55); }
template <int S>
SDC_OP Vec shift_left(Vec a) {
  return _mm512_slli_epi64(a, S);
}
template <int S>
SDC_OP Vec shift_right(Vec a) {
  return _mm512_srli_epi64(a, S);
}
SDC_OP bool all_ones(Vec a) { return _mm512_cmpeq_epi64_mask(a, broadcast(~0ull)) == 0xFF; }
SDC_OP Vec add(Vec a, Vec b) { return _mm512_add_epi64(a, b); }
SDC_OP int popcount(std::uint64_t x) { return __builtin_popcountll(x); }
SDC_OP void full_add(Vec a, Vec b, Vec c, Vec& sum, Vec& carry) {
  carry = _mm512_ternarylogic_epi64(a, b, c, 0xE8);
  sum = _mm512_ternarylogic_epi64(a, b, c, 0x96);
}
SDC_OP Vec majority(Vec a, Vec b, Vec c) { return _mm512_ternarylogic_epi64(a, b, c, 0xE8); }

// Lane l of the result is lane `l`th argument of a (0 to 7) or b (8 to 15).
template <int i0, int i1, int i2, int i3, int i4, int i5, int i6, int i7>
SDC_OP Vec pick(Vec a, Vec b) {
  return _mm512_permutex2var_epi64(a, _mm512_setr_epi64(i0, i1, i2, i3, i4, i5, i6, i7), b);
}
SDC_OP Vec eight_words32(const std::uint8_t* p) {
  return _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

// out[w] = words w of eight codes, whose first eight words are the vectors of `in`.
SDC_OP void transpose_words(const Vec (&in)[8], Vec (&out)[8]) {
  Vec pairs[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_epi64(in[i], in[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi64(in[i], in[i + 1]);
  }
  for (int odd = 0; odd < 2; ++odd) {
    const Vec low04 = pick<0, 1, 8, 9, 4, 5, 12, 13>(pairs[odd], pairs[2 + odd]);
    const Vec low26 = pick<2, 3, 10, 11, 6, 7, 14, 15>(pairs[odd], pairs[2 + odd]);
    const Vec high04 = pick<0, 1, 8, 9, 4, 5, 12, 13>(pairs[4 + odd], pairs[6 + odd]);
    const Vec high26 = pick<2, 3, 10, 11, 6, 7, 14, 15>(pairs[4 + odd], pairs[6 + odd]);
    out[odd] = pick<0, 1, 2, 3, 8, 9, 10, 11>(low04, high04);
    out[2 + odd] = pick<0, 1, 2, 3, 8, 9, 10, 11>(low26, high26);
    out[4 + odd] = pick<4, 5, 6, 7, 12, 13, 14, 15>(low04, high04);
    out[6 + odd] = pick<4, 5, 6, 7, 12, 13, 14, 15>(low26, high26);
  }
}

template <int bytes>
SDC_OP void word_planes(const std::uint8_t* codes, Vec* planes) {
  for (int v = 0; v < 64; ++v, codes += lanes * bytes) {
    if constexpr (bytes == 4) {
      store(planes + v, eight_words32(codes));
    } else if constexpr (bytes == 8) {
      store(planes + v, load_unaligned(codes));
    } else if constexpr (bytes == 16) {
      const Vec a = load_unaligned(codes), b = load_unaligned(codes + 64);
      store(planes + v, pick<0, 2, 4, 6, 8, 10, 12, 14>(a, b));
      store(planes + 64 + v, pick<1, 3, 5, 7, 9, 11, 13, 15>(a, b));
    } else if constexpr (bytes == 32) {
      const Vec a = load_unaligned(codes), b = load_unaligned(codes + 64);
      const Vec c = load_unaligned(codes + 128), d = load_unaligned(codes + 192);
      const Vec low01 = pick<0, 4, 8, 12, 1, 5, 9, 13>(a, b), high01 = pick<0, 4, 8, 12, 1, 5, 9, 13>(c, d);
      const Vec low23 = pick<2, 6, 10, 14, 3, 7, 11, 15>(a, b),
                high23 = pick<2, 6, 10, 14, 3, 7, 11, 15>(c, d);
      store(planes + v, pick<0, 1, 2, 3, 8, 9, 10, 11>(low01, high01));
      store(planes + 64 + v, pick<4, 5, 6, 7, 12, 13, 14, 15>(low01, high01));
      store(planes + 128 + v, pick<0, 1, 2, 3, 8, 9, 10, 11>(low23, high23));
      store(planes + 192 + v, pick<4, 5, 6, 7, 12, 13, 14, 15>(low23, high23));
    } else {
      for (int w = 0; w < bytes / 8; w += 8) {
        Vec in[8], out[8];
        for (int l = 0; l < 8; ++l) in[l] = load_unaligned(codes + l * bytes + 8 * w);
        transpose_words(in, out);
        for (int i = 0; i < 8; ++i) store(planes + 64 * (w + i) + v, out[i]);
      }
    }
  }
}

#include "hamming_sliced.inl"
#include "hamming_x86.inl"

SDC_OP Vec mismatches(const std::uint8_t* codes, const std::uint8_t* query) {
  const Vec difference = bit_xor(load_unaligned(codes), load_unaligned(query));
  return SDC_COUNT_LANES(difference);
}

SDC_OP Vec add_neighbours(Vec a, Vec b) {
  return add(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

// A query repeated to fill a vector; longer ones as they are.
template <int bytes>
struct WideQuery {
  static constexpr int size = bytes == 4 ? 64 : bytes < 64 ? 64 : bytes;
  alignas(64) std::uint8_t bytes_[size];

  explicit WideQuery(const std::uint8_t* query) {
    if constexpr (bytes == 4) {
      std::memset(bytes_, 0, size);
      for (int i = 0; i < size; i += 8) std::memcpy(bytes_ + i, query, 4);
    } else {
      for (int i = 0; i < size; i += bytes) std::memcpy(bytes_ + i, query, bytes);
    }
  }
};

// The distances of eight codes, in order.
template <int bytes>
SDC_OP Vec eight_distances(const std::uint8_t* codes, const std::uint8_t* query) {
  if constexpr (bytes == 4) {
    const Vec difference = bit_xor(eight_words32(codes), load_unaligned(query));
    return SDC_COUNT_LANES(difference);
  } else if constexpr (bytes == 8) {
    return mismatches(codes, query);
  } else if constexpr (bytes == 16) {
    const Vec sums = add_neighbours(mismatches(codes, query), mismatches(codes + 64, query));
    return pick<0, 2, 4, 6, 1, 3, 5, 7>(sums, sums);
  } else if constexpr (bytes == 32) {
    const Vec a = add_neighbours(mismatches(codes, query), mismatches(codes + 64, query));
    const Vec b = add_neighbours(mismatches(codes + 128, query), mismatches(codes + 192, query));
    return add(pick<0, 4, 1, 5, 8, 12, 9, 13>(a, b), pick<2, 6, 3, 7, 10, 14, 11, 15>(a, b));
  } else {
    Vec counts[8];
    for (int c = 0; c < 8; ++c) {
      counts[c] = mismatches(codes + c * bytes, query);
      for (int i = 64; i < bytes; i += 64) {
        counts[c] = add(counts[c], mismatches(codes + c * bytes + i, query + i));
      }
    }
    Vec quads[2];
    for (int h = 0; h < 2; ++h) {
      const Vec a = add_neighbours(counts[4 * h], counts[4 * h + 1]);
      const Vec b = add_neighbours(counts[4 * h + 2], counts[4 * h + 3]);
      quads[h] = add(pick<0, 1, 8, 9, 4, 5, 12, 13>(a, b), pick<2, 3, 10, 11, 6, 7, 14, 15>(a, b));
    }
    return add(pick<0, 1, 2, 3, 8, 9, 10, 11>(quads[0], quads[1]),
               pick<4, 5, 6, 7, 12, 13, 14, 15>(quads[0], quads[1]));
  }
}

template <int bytes>
SDC_TARGET void distances512(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                             std::uint16_t* out) {
  const WideQuery<bytes> wide(query);
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm512_cvtsepi64_epi16(eight_distances<bytes>(codes + i * bytes, wide.bytes_)));
  }
  distances<bytes>(codes + i * bytes, n - i, query, out + i);
}

// Further ahead than the hardware looks, since a page ends its own prefetching.
constexpr std::size_t kPrefetchBytes = 8192;

template <int bytes>
SDC_TARGET std::size_t within512(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                                 unsigned threshold, std::uint64_t first_row, std::uint64_t* found) {
  const WideQuery<bytes> wide(query);
  const Vec limit = broadcast(threshold);
  std::size_t m = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    const std::uint8_t* eight = codes + i * bytes;
    for (int b = 0; b < 8 * bytes; b += 64) __builtin_prefetch(eight + kPrefetchBytes + b);
    const Vec distance = eight_distances<bytes>(eight, wide.bytes_);
    unsigned hits = _mm512_cmple_epu64_mask(distance, limit);
    if (hits == 0) continue;
    alignas(64) std::uint64_t d[8];
    store(reinterpret_cast<Vec*>(d), distance);
    for (; hits != 0; hits &= hits - 1) {
      const int c = __builtin_ctz(hits);
      found[m++] = (d[c] << 48) + first_row + i + static_cast<std::size_t>(c);
    }
  }
  return m + within<bytes>(codes + i * bytes, n - i, query, threshold, first_row + i, found + m);
}

constexpr DirectKernel direct512[kWidthClasses] = {
    {distances512<4>, within512<4>},    {distances512<8>, within512<8>},
    {distances512<16>, within512<16>},  {distances512<32>, within512<32>},
    {distances512<64>, within512<64>},  {distances512<128>, within512<128>},
    {distances512<256>, within512<256>}};

#undef SDC_OP
