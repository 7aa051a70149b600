// Hamming kernels for 64-bit Arm.
#if defined(__aarch64__) && !defined(SDC_SEARCH_PORTABLE_ONLY)

#include <arm_neon.h>

#include <cstring>

#include "hamming_kernels.h"

#define SDC_TARGET

namespace sdc {
namespace neon {
namespace {

#define SDC_OP inline __attribute__((always_inline))

using Vec = uint64x2_t;
constexpr int lanes = 2;

SDC_OP const std::uint64_t* words(const Vec* p) { return reinterpret_cast<const std::uint64_t*>(p); }
SDC_OP Vec load(const Vec* p) { return vld1q_u64(words(p)); }
SDC_OP void store(Vec* p, Vec v) { vst1q_u64(reinterpret_cast<std::uint64_t*>(p), v); }
SDC_OP Vec broadcast(std::uint64_t x) { return vdupq_n_u64(x); }
SDC_OP Vec bit_xor(Vec a, Vec b) { return veorq_u64(a, b); }
SDC_OP Vec bit_and(Vec a, Vec b) { return vandq_u64(a, b); }
SDC_OP Vec bit_or(Vec a, Vec b) { return vorrq_u64(a, b); }
SDC_OP Vec bit_not(Vec a) { return veorq_u64(a, broadcast(~std::uint64_t{0})); }
template <int S>
SDC_OP Vec shift_left(Vec a) {
  return vshlq_n_u64(a, S);
}
template <int S>
SDC_OP Vec shift_right(Vec a) {
  return vshrq_n_u64(a, S);
}
SDC_OP bool all_ones(Vec a) { return (vgetq_lane_u64(a, 0) & vgetq_lane_u64(a, 1)) == ~std::uint64_t{0}; }
SDC_OP int popcount(std::uint64_t x) { return vaddv_u8(vcnt_u8(vcreate_u8(x))); }

// A select instruction takes the place of two of the five operations of an adder.
SDC_OP Vec majority(Vec a, Vec b, Vec c) { return vbslq_u64(bit_xor(a, b), c, a); }
SDC_OP void full_add(Vec a, Vec b, Vec c, Vec& sum, Vec& carry) {
  const Vec t = bit_xor(a, b);
  carry = vbslq_u64(t, c, a);
  sum = bit_xor(t, c);
}

template <int bytes>
SDC_OP void word_planes(const std::uint8_t* codes, Vec* planes) {
  for (int v = 0; v < 64; ++v, codes += lanes * bytes) {
    if constexpr (bytes == 4) {
      store(planes + v, vmovl_u32(vreinterpret_u32_u8(vld1_u8(codes))));
    } else if constexpr (bytes == 8) {
      store(planes + v, vreinterpretq_u64_u8(vld1q_u8(codes)));
    } else {
      for (int w = 0; w < bytes / 8; w += 2) {
        const Vec a = vreinterpretq_u64_u8(vld1q_u8(codes + 8 * w));
        const Vec b = vreinterpretq_u64_u8(vld1q_u8(codes + bytes + 8 * w));
        store(planes + 64 * w + v, vzip1q_u64(a, b));
        store(planes + 64 * (w + 1) + v, vzip2q_u64(a, b));
      }
    }
  }
}

#include "hamming_sliced.inl"

SDC_OP uint8x16_t mismatches(const std::uint8_t* a, const std::uint8_t* b) {
  return vcntq_u8(veorq_u8(vld1q_u8(a), vld1q_u8(b)));
}

template <int bytes>
SDC_OP unsigned wide_distance(const std::uint8_t* code, const std::uint8_t* query) {
  uint16x8_t sum = vdupq_n_u16(0);
  for (int i = 0; i < bytes; i += 16) sum = vpadalq_u8(sum, mismatches(code + i, query + i));
  return vaddlvq_u16(sum);
}

template <int bytes>
void wide_distances(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query, std::uint16_t* out) {
  for (std::size_t i = 0; i < n; ++i)
    out[i] = static_cast<std::uint16_t>(wide_distance<bytes>(codes + i * bytes, query));
}

template <int bytes>
std::size_t wide_within(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                        unsigned threshold, std::uint64_t first_row, std::uint64_t* found) {
  std::size_t m = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t d = wide_distance<bytes>(codes + i * bytes, query);
    if (d <= threshold) found[m++] = (d << 48) + first_row + i;
  }
  return m;
}

constexpr DirectKernel direct[kWidthClasses] = {{distances<4>, within<4>},
                                                {distances<8>, within<8>},
                                                {wide_distances<16>, wide_within<16>},
                                                {wide_distances<32>, wide_within<32>},
                                                {wide_distances<64>, wide_within<64>},
                                                {wide_distances<128>, wide_within<128>},
                                                {wide_distances<256>, wide_within<256>}};

}  // namespace
}  // namespace neon

constinit const HammingKernels hamming_neon = neon::kernels_of(Isa::neon, neon::direct);

}  // namespace sdc

#endif
