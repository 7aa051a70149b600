// Hamming kernels in plain C++, for any processor. The vectors are two words, which compilers turn into
// whatever the baseline has (SSE2 on x86-64).
#include <cstring>

#include "hamming_kernels.h"

#define SDC_TARGET

namespace sdc {
namespace portable {
namespace {

#define SDC_OP inline

struct alignas(16) Vec {
  std::uint64_t w[2];
};
constexpr int lanes = 2;

SDC_OP Vec load(const Vec* p) { return *p; }
SDC_OP void store(Vec* p, Vec v) { *p = v; }
SDC_OP Vec broadcast(std::uint64_t x) { return {{x, x}}; }
SDC_OP Vec bit_xor(Vec a, Vec b) { return {{a.w[0] ^ b.w[0], a.w[1] ^ b.w[1]}}; }
SDC_OP Vec bit_and(Vec a, Vec b) { return {{a.w[0] & b.w[0], a.w[1] & b.w[1]}}; }
SDC_OP Vec bit_or(Vec a, Vec b) { return {{a.w[0] | b.w[0], a.w[1] | b.w[1]}}; }
SDC_OP Vec bit_not(Vec a) { return {{~a.w[0], ~a.w[1]}}; }
template <int S>
SDC_OP Vec shift_left(Vec a) {
  return {{a.w[0] << S, a.w[1] << S}};
}
template <int S>
SDC_OP Vec shift_right(Vec a) {
  return {{a.w[0] >> S, a.w[1] >> S}};
}
SDC_OP bool all_ones(Vec a) { return (a.w[0] & a.w[1]) == ~std::uint64_t{0}; }

// Without a POPCNT instruction the builtin is a call.
SDC_OP int popcount(std::uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
  return static_cast<int>((x * 0x0101010101010101u) >> 56);
}

SDC_OP Vec majority(Vec a, Vec b, Vec c) { return bit_xor(bit_and(bit_xor(a, b), bit_xor(b, c)), b); }
SDC_OP void full_add(Vec a, Vec b, Vec c, Vec& sum, Vec& carry) {
  carry = majority(a, b, c);
  sum = bit_xor(bit_xor(a, b), c);
}

template <int bytes>
SDC_OP void word_planes(const std::uint8_t* codes, Vec* planes) {
  for (int v = 0; v < 64; ++v) {
    for (int l = 0; l < lanes; ++l) {
      const std::uint8_t* code = codes + (v * lanes + l) * bytes;
      if constexpr (bytes == 4) {
        std::uint32_t word;
        std::memcpy(&word, code, 4);
        planes[v].w[l] = word;
      } else {
        for (int w = 0; w < bytes / 8; ++w) std::memcpy(&planes[64 * w + v].w[l], code + 8 * w, 8);
      }
    }
  }
}

#include "hamming_sliced.inl"

constexpr DirectKernel direct[kWidthClasses] = {{distances<4>, within<4>},    {distances<8>, within<8>},
                                                {distances<16>, within<16>},  {distances<32>, within<32>},
                                                {distances<64>, within<64>},  {distances<128>, within<128>},
                                                {distances<256>, within<256>}};

}  // namespace
}  // namespace portable

constinit const HammingKernels hamming_portable = portable::kernels_of(Isa::portable, portable::direct);

}  // namespace sdc
