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

// The rows of a byte of a packed mask, in order.
struct RowsOfByte {
  std::uint8_t rows[256][8];
};
constexpr RowsOfByte list_rows_of_bytes() {
  RowsOfByte list{};
  for (int byte = 0; byte < 256; ++byte) {
    for (int row = 0, n = 0; row < 8; ++row) {
      if ((byte >> (7 - row) & 1) != 0) list.rows[byte][n++] = static_cast<std::uint8_t>(row);
    }
  }
  return list;
}
constexpr RowsOfByte rows_of_byte = list_rows_of_bytes();

// list_rows() for sparse masks, most of whose bytes are zero. Which bytes are not, and how many rows they
// have, is anyone's guess, so eight of 64 bytes are taken, and four rows of each written, without asking.
SDC_TARGET inline std::size_t list_sparse_rows(const std::uint8_t* packed, std::size_t n_words,
                                               std::int64_t first, std::int64_t* rows) {
  constexpr std::size_t at_once = 8 * 64;
  constexpr int many = 20;
  std::uint32_t places[at_once + 8];
  const auto zeros = [](const std::uint8_t* bytes) SDC_TARGET {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256())));
  };
  std::size_t n = 0;
  for (; n_words >= at_once / 8; n_words -= at_once / 8, packed += at_once, first += 8 * at_once) {
    std::size_t n_filled = 0;
    bool sparse = true;
    for (std::uint32_t at = 0; at < at_once && sparse; at += 64) {
      std::uint64_t filled = ~(zeros(packed + at) | std::uint64_t{zeros(packed + at + 32)} << 32);
      const int count = popcount(filled);
      sparse = count <= many;
      for (int i = 0; i < 8 || (i < count && sparse); ++i, filled &= filled - 1) {
        std::uint32_t place = at + static_cast<std::uint32_t>(__builtin_ctzll(filled | 1ull << 63));
        asm("" : "+r"(place));  // else gcc collects the eight in a vector before it stores them
        places[n_filled + static_cast<std::size_t>(i)] = place;
      }
      n_filled += static_cast<std::size_t>(count);
    }
    if (!sparse) {
      n += list_rows(packed, at_once / 8, first, rows + n);
      continue;
    }
    for (std::size_t i = 0; i < n_filled; ++i) {
      const std::uint8_t byte = packed[places[i]];
      const std::uint8_t* of_byte = rows_of_byte.rows[byte];
      const std::int64_t base = first + 8 * std::int64_t{places[i]};
      std::int32_t four;
      std::memcpy(&four, of_byte, 4);
      const __m256i offsets = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(rows + n),
                          _mm256_add_epi64(_mm256_set1_epi64x(base), offsets));
      const std::size_t count = static_cast<std::size_t>(popcount(byte));
      for (std::size_t j = 4; j < count; ++j) rows[n + j] = base + of_byte[j];
      n += count;
    }
  }
  return n + list_rows(packed, n_words, first, rows + n);
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
  kernels.list_rows = list_sparse_rows;
  return kernels;
}
