// What the x86 levels share beyond hamming_sliced.inl, written with AVX2. No include guard: each level
// includes it in its own namespace, after hamming_sliced.inl.

// pack_bools() 32 rows at a time: a byte's lowest bit becomes its sign, which a move collects from the last
// byte to the first.
SDC_TARGET inline void pack_signs(const std::uint8_t* bools, std::size_t n_bytes, std::uint8_t* packed) {
  const __m256i last_first = _mm256_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5,
                                              4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
  std::size_t i = 0;
  for (; i + 4 <= n_bytes; i += 4) {
    const __m256i rows = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bools + 8 * i));
    const int bits = _mm256_movemask_epi8(_mm256_shuffle_epi8(_mm256_slli_epi16(rows, 7), last_first));
    std::memcpy(packed + i, &bits, 4);
  }
  pack_bools(bools + 8 * i, n_bytes - i, packed + i);
}

// pad() for 4 or 8 bytes: both halves of a vector take several codes at once.
template <int bytes>
SDC_TARGET void pad_short(const std::uint8_t* codes, std::size_t n, std::size_t n_bytes,
                          std::uint8_t* padded) {
  constexpr std::size_t half = 16 / bytes;
  alignas(32) std::uint8_t sources[32];
  for (std::size_t b = 0; b < 32; ++b) {
    const std::size_t code = b % 16 / bytes, byte = b % bytes;
    sources[b] = static_cast<std::uint8_t>(byte < n_bytes ? code * n_bytes + byte : 0x80);
  }
  const __m256i shuffle = _mm256_load_si256(reinterpret_cast<const __m256i*>(sources));
  std::size_t i = 0;
  for (; (i + half) * n_bytes + 16 <= n * n_bytes; i += 2 * half) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i * n_bytes));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + (i + half) * n_bytes));
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(padded + i * bytes), _mm256_shuffle_epi8(both, shuffle));
  }
  pad<bytes>(codes + i * n_bytes, n - i, n_bytes, padded + i * bytes);
}

constexpr HammingKernels x86_kernels_of(Isa isa, const DirectKernel (&direct)[kWidthClasses]) {
  HammingKernels kernels = kernels_of(isa, direct);
  kernels.pad[0] = pad_short<4>;
  kernels.pad[1] = pad_short<8>;
  kernels.pack_bools = pack_signs;
  return kernels;
}
