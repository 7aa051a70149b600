// The sliced kernels and the verification of their candidates, written once for every vector width. No
// include guard: each hamming_<isa>.cpp includes it inside a namespace of its own, after defining
//
//   SDC_TARGET     the function attributes of the level (no file is compiled with SIMD flags)
//   Vec, lanes     a vector type and its number of 64-bit lanes
//   load, store, bit_xor, bit_and, bit_or, bit_not, shift_left<S>, shift_right<S>, broadcast, all_ones(v) ->
//   bool full_add(a, b, c, sum, carry), majority(a, b, c) word_planes<words>(codes, planes)   planes[64 w +
//   v] = words w of the codes lanes * v, ..., lanes * v + lanes - 1 popcount(uint64_t)

#define SDC_INLINE SDC_TARGET inline __attribute__((always_inline))

constexpr int block_codes = 64 * lanes;

constexpr int log2_exact(int n) {
  int log = 0;
  while ((1 << log) < n) ++log;
  return log;
}

// How the planes of a width are grouped, where the tables lie, and what a query's record holds. `by` is 7
// or 3.
template <int bits_, int by>
struct Layout {
  static constexpr int bits = bits_;
  static constexpr int groups7 = by == 7 ? (bits - 2) / 6 : 0;
  static constexpr int groups3 = (bits - 2 - 6 * groups7) / 2;
  static constexpr int n_planes = bits + groups7 + groups3;
  static constexpr int top = log2_exact(bits) - 1;  // thresholds below 2^top = bits / 2
  static constexpr int record_length = groups7 + groups3 + 2 + top;
  static constexpr int vec = sizeof(Vec);
  static constexpr std::size_t at_group7(int g) { return std::size_t(g) * 128 * 2 * vec; }
  static constexpr std::size_t at_group3(int g) { return at_group7(groups7) + std::size_t(g) * 8 * vec; }
  static constexpr std::size_t at_plane(int p) { return at_group3(groups3) + std::size_t(p) * 2 * vec; }
  static constexpr std::size_t at_constant = at_plane(2);
  static constexpr std::size_t table_bytes = at_constant + 2 * vec;
  static_assert(bits == n_planes - groups7 - groups3 && 7 * groups7 + 3 * groups3 + 2 == n_planes);
  static_assert(127 * 2 * vec < 65536, "offsets are uint16");
};

// Planes to tables.

SDC_INLINE void store_with_complement(Vec* table, int variant, int last, int stride, Vec v) {
  store(table + variant * stride, v);
  store(table + (last - variant) * stride, bit_not(v));
}

// carry[v] = majority of the three planes, each complemented where v has a bit.
SDC_INLINE void carries3(const Vec* planes, Vec* carry) {
  const Vec a = load(planes), b = load(planes + 1), c = load(planes + 2);
  const Vec not_a = bit_not(a), not_b = bit_not(b);
  store_with_complement(carry, 0, 7, 1, majority(a, b, c));
  store_with_complement(carry, 1, 7, 1, majority(not_a, b, c));
  store_with_complement(carry, 2, 7, 1, majority(a, not_b, c));
  store_with_complement(carry, 3, 7, 1, majority(not_a, not_b, c));
}

SDC_INLINE Vec parity3(const Vec* planes) {
  return bit_xor(bit_xor(load(planes), load(planes + 1)), load(planes + 2));
}

SDC_INLINE Vec build_group7(const Vec* planes, Vec* table) {
  alignas(kTableAlignment) Vec carry_a[8], carry_b[8];
  carries3(planes, carry_a);
  carries3(planes + 3, carry_b);
  const Vec parity_a = parity3(planes), parity_b = parity3(planes + 3), c = load(planes + 6);
  const Vec not_a = bit_not(parity_a), not_b = bit_not(parity_b);
  const Vec carry_c[4] = {majority(parity_a, parity_b, c), majority(not_a, parity_b, c),
                          majority(parity_a, not_b, c), majority(not_a, not_b, c)};
  for (int vb = 0; vb < 8; ++vb) {
    const Vec y = load(carry_b + vb);
    for (int va = 0; va < 8; ++va) {
      const int odd_a = (0x96 >> va) & 1, odd_b = (0x96 >> vb) & 1;
      Vec h1, h2;
      full_add(load(carry_a + va), y, carry_c[odd_a + 2 * odd_b], h1, h2);
      store_with_complement(table, va + 8 * vb, 127, 2, h1);
      store_with_complement(table + 1, va + 8 * vb, 127, 2, h2);
    }
  }
  return bit_xor(bit_xor(parity_a, parity_b), c);
}

// 64 x 64 bits transposed in every lane: bit b of vector v becomes bit v of vector b. Three of the six
// exchanges at a time stay in registers.
template <int S>
SDC_INLINE void exchange(Vec& a, Vec& b) {
  constexpr std::uint64_t low = S == 32   ? 0x00000000FFFFFFFFu
                                : S == 16 ? 0x0000FFFF0000FFFFu
                                : S == 8  ? 0x00FF00FF00FF00FFu
                                : S == 4  ? 0x0F0F0F0F0F0F0F0Fu
                                : S == 2  ? 0x3333333333333333u
                                          : 0x5555555555555555u;
  const Vec t = bit_and(bit_xor(shift_right<S>(a), b), broadcast(low));
  b = bit_xor(b, t);
  a = bit_xor(a, shift_left<S>(t));
}

template <int stride>
SDC_INLINE void exchange_eight(Vec* v) {
  Vec r0 = load(v), r1 = load(v + stride), r2 = load(v + 2 * stride), r3 = load(v + 3 * stride);
  Vec r4 = load(v + 4 * stride), r5 = load(v + 5 * stride), r6 = load(v + 6 * stride),
      r7 = load(v + 7 * stride);
  exchange<4 * stride>(r0, r4), exchange<4 * stride>(r1, r5), exchange<4 * stride>(r2, r6),
      exchange<4 * stride>(r3, r7);
  exchange<2 * stride>(r0, r2), exchange<2 * stride>(r1, r3), exchange<2 * stride>(r4, r6),
      exchange<2 * stride>(r5, r7);
  exchange<stride>(r0, r1), exchange<stride>(r2, r3), exchange<stride>(r4, r5), exchange<stride>(r6, r7);
  store(v, r0), store(v + stride, r1), store(v + 2 * stride, r2), store(v + 3 * stride, r3);
  store(v + 4 * stride, r4), store(v + 5 * stride, r5), store(v + 6 * stride, r6), store(v + 7 * stride, r7);
}

SDC_INLINE void transpose_bits(Vec* v) {
  for (int i = 0; i < 8; ++i) exchange_eight<8>(v + i);
  for (int i = 0; i < 8; ++i) exchange_eight<1>(v + 8 * i);
}

template <class L>
SDC_TARGET void build(const std::uint8_t* codes, void* scratch, void* tables) {
  Vec* planes = static_cast<Vec*>(scratch);
  constexpr int words = L::bits < 64 ? 1 : L::bits / 64;
  word_planes<L::bits / 8>(codes, planes);
  for (int w = 0; w < words; ++w) transpose_bits(planes + 64 * w);

  char* base = static_cast<char*>(tables);
  const Vec* next = planes;
  Vec* parity = planes + L::bits;
  for (int g = 0; g < L::groups7; ++g, next += 7) {
    store(parity++, build_group7(next, reinterpret_cast<Vec*>(base + L::at_group7(g))));
  }
  for (int g = 0; g < L::groups3; ++g, next += 3) {
    carries3(next, reinterpret_cast<Vec*>(base + L::at_group3(g)));
    store(parity++, parity3(next));
  }
  for (int p = 0; p < 2; ++p, ++next) {
    store_with_complement(reinterpret_cast<Vec*>(base + L::at_plane(p)), 0, 1, 1, load(next));
  }
  store_with_complement(reinterpret_cast<Vec*>(base + L::at_constant), 0, 1, 1, broadcast(0));
}

struct QueryBits {
  const std::uint8_t* next;
  std::uint8_t* parity;
};

// The offset of the variant that the next `size` bits choose; their parity joins the queue.
inline std::uint16_t take_group(QueryBits& bits, int size, int entry_bytes) {
  int variant = 0;
  for (int i = 0; i < size; ++i) variant |= *bits.next++ << i;
  *bits.parity++ = static_cast<std::uint8_t>(__builtin_parity(static_cast<unsigned>(variant)));
  return static_cast<std::uint16_t>(variant * entry_bytes);
}

template <class L>
void encode(const std::uint8_t* query, std::uint16_t* record) {
  std::uint8_t queue[L::n_planes + 2];
  for (int i = 0; i < L::bits; ++i) queue[i] = (query[i / 8] >> (i % 8)) & 1;
  QueryBits bits{queue, queue + L::bits};
  for (int g = 0; g < L::groups7; ++g) *record++ = take_group(bits, 7, 2 * L::vec);
  for (int g = 0; g < L::groups3; ++g) *record++ = take_group(bits, 3, L::vec);
  for (int p = 0; p < 2; ++p) *record++ = take_group(bits, 1, L::vec);
}

template <class L>
void set_threshold(unsigned threshold, std::uint16_t* record) {
  const unsigned constant = (1u << L::top) - 1 - threshold;
  std::uint16_t* entry = record + L::record_length - L::top;
  for (int b = 0; b < L::top; ++b) entry[b] = static_cast<std::uint16_t>(((constant >> b) & 1) * L::vec);
}

// A carry-save adder whose shape is known at compile time: `state` holds, two bits a level, how many numbers
// of weight 2^level are waiting (0 to 2). Carries of weight 2^top are only collected.
template <int top>
struct Adder {
  Vec waiting[top][2];
  Vec overflow;
};

constexpr int waiting_at(std::uint32_t state, int level) { return (state >> (2 * level)) & 3; }

constexpr std::uint32_t state_after(std::uint32_t state, int level, int top) {
  for (; level < top && waiting_at(state, level) == 2; ++level) state -= 1u << (2 * level);
  return level < top ? state + (1u << (2 * level)) : state;
}

template <int top, std::uint32_t state, int level>
SDC_INLINE void push(Adder<top>& adder, Vec x) {
  if constexpr (level == top) {
    adder.overflow = bit_or(adder.overflow, x);
  } else if constexpr (waiting_at(state, level) < 2) {
    adder.waiting[level][waiting_at(state, level)] = x;
  } else {
    Vec sum, carry;
    full_add(adder.waiting[level][1], x, adder.waiting[level][0], sum, carry);
    adder.waiting[level][0] = sum;
    push<top, state, level + 1>(adder, carry);
  }
}

// The planes of a record, in the order of its entries.
template <class L>
constexpr std::uint32_t state_before_group(int group) {
  std::uint32_t state = 0;
  for (int level = 0; level < L::top; ++level) state = state_after(state, level, L::top);
  for (int p = 0; p < 2; ++p) state = state_after(state, 0, L::top);
  for (int g = 0; g < group; ++g) {
    state = state_after(state, 1, L::top);
    if (g < L::groups7) state = state_after(state, 2, L::top);
  }
  return state;
}

template <class L, int g>
SDC_INLINE void add_group(Adder<L::top>& adder, const char* tables, const std::uint16_t* record) {
  constexpr std::uint32_t state = state_before_group<L>(g);
  if constexpr (g < L::groups7) {
    const Vec* entry = reinterpret_cast<const Vec*>(tables + L::at_group7(g) + record[g]);
    push<L::top, state, 1>(adder, load(entry));
    push<L::top, state_after(state, 1, L::top), 2>(adder, load(entry + 1));
  } else {
    push<L::top, state, 1>(
        adder, load(reinterpret_cast<const Vec*>(tables + L::at_group3(g - L::groups7) + record[g])));
  }
}

// By halves, since compilers limit how deep expansions may nest.
template <class L, int first, int n>
SDC_INLINE void add_groups(Adder<L::top>& adder, const char* tables, const std::uint16_t* record) {
  if constexpr (n == 1) {
    add_group<L, first>(adder, tables, record);
  } else {
    add_groups<L, first, n / 2>(adder, tables, record);
    add_groups<L, first + n / 2, n - n / 2>(adder, tables, record);
  }
}

// Reduces every level, lowest first, until only the overflow matters.
template <int top, std::uint32_t state, int level>
SDC_INLINE void finish(Adder<top>& adder) {
  if constexpr (level < top) {
    if constexpr (waiting_at(state, level) == 2) {
      push<top, state, level + 1>(adder, bit_and(adder.waiting[level][0], adder.waiting[level][1]));
      finish<top, state_after(state, level + 1, top), level + 1>(adder);
    } else {
      finish<top, state, level + 1>(adder);
    }
  }
}

// The constant and the two planes come first, so that few additions depend on what is loaded last.
template <class L>
SDC_INLINE Vec beyond_threshold(const char* tables, const std::uint16_t* record) {
  constexpr int groups = L::groups7 + L::groups3;
  Adder<L::top> adder;
  adder.overflow = broadcast(0);
  const std::uint16_t* constant = record + groups + 2;
  for (int level = 0; level < L::top; ++level) {
    adder.waiting[level][0] = load(reinterpret_cast<const Vec*>(tables + L::at_constant + constant[level]));
  }
  constexpr std::uint32_t one_each = (1u << (2 * L::top)) / 3;
  push<L::top, one_each, 0>(adder,
                            load(reinterpret_cast<const Vec*>(tables + L::at_plane(0) + record[groups])));
  push<L::top, one_each + 1, 0>(
      adder, load(reinterpret_cast<const Vec*>(tables + L::at_plane(1) + record[groups + 1])));
  add_groups<L, 0, groups>(adder, tables, record);
  finish<L::top, state_before_group<L>(groups), 0>(adder);
  return adder.overflow;
}

// Whether a query has candidates is a coin toss at large k, so nothing branches on it.
template <class L>
SDC_TARGET std::size_t scan(const void* tables, const std::uint16_t* records, const std::uint32_t* queries,
                            std::size_t n, std::uint64_t* masks, std::uint32_t* found) {
  const char* base = static_cast<const char*>(tables);
  std::size_t m = 0;
  for (std::size_t j = 0; j < n; ++j) {
    const std::uint16_t* record = records + std::size_t(queries[j]) * L::record_length;
    const Vec beyond = beyond_threshold<L>(base, record);
    store(reinterpret_cast<Vec*>(masks + m * lanes), bit_not(beyond));
    found[m] = queries[j];
    m += !all_ones(beyond);
  }
  return m;
}

template <int bytes>
SDC_TARGET inline unsigned code_distance(const std::uint8_t* a, const std::uint8_t* b) {
  if constexpr (bytes == 4) {
    std::uint32_t x, y;
    std::memcpy(&x, a, 4), std::memcpy(&y, b, 4);
    return popcount(x ^ y);
  } else {
    unsigned d = 0;
#pragma GCC unroll 8
    for (int i = 0; i < bytes; i += 8) {
      std::uint64_t x, y;
      std::memcpy(&x, a + i, 8), std::memcpy(&y, b + i, 8);
      d += popcount(x ^ y);
    }
    return d;
  }
}

template <int bytes>
SDC_TARGET std::size_t verify(const std::uint8_t* codes, std::size_t n_valid, const std::uint8_t* queries,
                              const std::uint64_t* masks, const std::uint32_t* found, std::size_t n,
                              Hit* hits) {
  std::size_t n_hits = 0;
  for (std::size_t m = 0; m < n; ++m, masks += lanes) {
    const std::uint8_t* query = queries + std::size_t(found[m]) * bytes;
    std::uint64_t any = 0;
    for (int l = 0; l < lanes; ++l) any |= masks[l];
    for (; any != 0; any &= any - 1) {
      const int bit = __builtin_ctzll(any);
      unsigned in_lanes = 0;
      for (int l = 0; l < lanes; ++l) in_lanes |= static_cast<unsigned>((masks[l] >> bit) & 1) << l;
      for (; in_lanes != 0; in_lanes &= in_lanes - 1) {
        const std::size_t row = static_cast<std::size_t>(bit * lanes + __builtin_ctz(in_lanes));
        if (row >= n_valid) break;
        hits[n_hits++] = {found[m], static_cast<std::uint16_t>(row),
                          static_cast<std::uint16_t>(code_distance<bytes>(codes + row * bytes, query))};
      }
    }
  }
  return n_hits;
}

// Direct kernels by general-purpose registers; a level replaces them where it has something faster.

template <int bytes>
SDC_TARGET void distances(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                          std::uint16_t* out) {
  for (std::size_t i = 0; i < n; ++i)
    out[i] = static_cast<std::uint16_t>(code_distance<bytes>(codes + i * bytes, query));
}

template <int bytes>
SDC_TARGET std::size_t within(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                              unsigned threshold, std::uint64_t first_row, std::uint64_t* found) {
  std::size_t m = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t d = code_distance<bytes>(codes + i * bytes, query);
    if (d <= threshold) found[m++] = (d << 48) + first_row + i;
  }
  return m;
}

SDC_TARGET inline std::int64_t count_bits(const std::uint8_t* data, std::size_t n) {
  std::int64_t count = 0;
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    std::uint64_t words[4];
    std::memcpy(words, data + i, 32);
    count += (popcount(words[0]) + popcount(words[1])) + (popcount(words[2]) + popcount(words[3]));
  }
  for (; i < n; ++i) count += popcount(data[i]);
  return count;
}

// packed[i] = the mask of rows 8 i to 8 i + 7, the first in the most significant bit. The product moves the
// lowest bit of byte b to bit 63 - b.
SDC_TARGET inline void pack_bools(const std::uint8_t* bools, std::size_t n_bytes, std::uint8_t* packed) {
  for (std::size_t i = 0; i < n_bytes; ++i) {
    std::uint64_t eight;
    std::memcpy(&eight, bools + 8 * i, 8);
    packed[i] = static_cast<std::uint8_t>((eight * 0x8040201008040201u) >> 56);
  }
}

// Takes the first row, the most significant bit, out of a word; 63 when there is none.
SDC_TARGET inline int take_first_row(std::uint64_t& word) {
  const int i = __builtin_clzll(word | 1);
  word &= (~std::uint64_t{0} >> 1) >> i;
  return i;
}

// Whether a word of a sparse mask has rows is anyone's guess, so the words that have are gathered without
// asking; most of those have one or two, which are written whatever the number is.
SDC_TARGET inline std::size_t list_rows(const std::uint8_t* packed, std::size_t n_words, std::int64_t first,
                                        std::int64_t* rows) {
  constexpr std::size_t at_once = 64;
  std::uint64_t words[at_once];
  std::uint8_t places[at_once];
  std::size_t n = 0;
  for (std::size_t begin = 0; begin < n_words; begin += at_once) {
    const std::size_t end = n_words - begin < at_once ? n_words - begin : at_once;
    std::size_t n_filled = 0;
    for (std::size_t w = 0; w < end; ++w) {
      std::uint64_t word;
      std::memcpy(&word, packed + 8 * (begin + w), 8);
      words[n_filled] = word;
      places[n_filled] = static_cast<std::uint8_t>(w);
      n_filled += word != 0;
    }
    for (std::size_t f = 0; f < n_filled; ++f) {
      std::uint64_t word = __builtin_bswap64(words[f]);
      const std::int64_t base = first + 64 * static_cast<std::int64_t>(begin + places[f]);
      const std::size_t count = static_cast<std::size_t>(popcount(word));
      std::int64_t* out = rows + n;
      out[0] = base + take_first_row(word);
      out[1] = base + take_first_row(word);
      for (std::size_t j = 2; j < count; j += 4) {
        for (std::size_t i = 0; i < 4; ++i) out[j + i] = base + take_first_row(word);
      }
      n += count;
    }
  }
  return n;
}

// Whole words are read where they lie within the codes, and what belongs to the next code is cleared.
template <int bytes>
SDC_TARGET void pad(const std::uint8_t* codes, std::size_t n, std::size_t n_bytes, std::uint8_t* padded) {
  constexpr std::size_t word_bytes = bytes < 8 ? bytes : 8, n_words = bytes / word_bytes, ahead = 4096;
  std::uint64_t kept[n_words] = {};
  std::memset(kept, 0xFF, n_bytes);
  const std::size_t size = n * n_bytes;
  std::size_t i = 0;
  for (; i * n_bytes + bytes <= size; ++i) {
    const std::uint8_t* code = codes + i * n_bytes;
    for (int b = 0; b < bytes && bytes >= 64; b += 64) __builtin_prefetch(code + ahead + b);
    for (std::size_t w = 0; w < n_words; ++w) {
      std::uint64_t word = 0;
      std::memcpy(&word, code + w * word_bytes, word_bytes);
      word &= kept[w];
      std::memcpy(padded + i * bytes + w * word_bytes, &word, word_bytes);
    }
  }
  for (; i < n; ++i) {
    std::memset(padded + i * bytes, 0, bytes);
    std::memcpy(padded + i * bytes, codes + i * n_bytes, n_bytes);
  }
}

template <int bits, int by>
constexpr SlicedKernel sliced_kernel() {
  using L = Layout<bits, by>;
  constexpr int planes = L::n_planes < 64 ? 64 : L::n_planes;
  return {.table_bytes = L::table_bytes,
          .record_length = L::record_length,
          .max_threshold = (1u << L::top) - 1,
          .plane_bytes = planes * sizeof(Vec),
          .build = build<L>,
          .encode = encode<L>,
          .set_threshold = set_threshold<L>,
          .scan = scan<L>};
}

constexpr HammingKernels kernels_of(Isa isa, const DirectKernel (&direct)[kWidthClasses]) {
  HammingKernels kernels = {
      .isa = isa,
      .lanes = lanes,
      .direct = {},
      .sliced_by_3 = {sliced_kernel<32, 3>(), sliced_kernel<64, 3>(), sliced_kernel<128, 3>(),
                      sliced_kernel<256, 3>(), sliced_kernel<512, 3>(), sliced_kernel<1024, 3>()},
      .sliced_by_7 = {sliced_kernel<32, 7>(), sliced_kernel<64, 7>(), sliced_kernel<128, 7>(),
                      sliced_kernel<256, 7>(), sliced_kernel<512, 7>(), sliced_kernel<1024, 7>()},
      .verify = {verify<4>, verify<8>, verify<16>, verify<32>, verify<64>, verify<128>},
      .pad = {pad<4>, pad<8>, pad<16>, pad<32>, pad<64>, pad<128>, pad<256>},
      .count_bits = count_bits,
      .pack_bools = pack_bools,
      .list_rows = list_rows,
  };
  for (int c = 0; c < kWidthClasses; ++c) kernels.direct[c] = direct[c];
  return kernels;
}
