// Reads one substring of a packed code as a number.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace sdc {

class SubstringReader {
 public:
  // Codes of n_bytes bytes; bits [first, first + n_bits) counted from the most significant bit of byte 0.
  // n_bits <= kMaxSubstringBits, so that eight bytes hold it wherever it begins.
  SubstringReader(int n_bytes, int first, int n_bits)
      : byte_(n_bytes < 8 ? 0 : std::min(first / 8, n_bytes - 8)),
        n_bytes_(std::min(n_bytes, 8)),
        shift_(64 - (first - 8 * byte_) - n_bits),
        mask_((1u << n_bits) - 1) {}

  std::uint32_t operator()(const std::uint8_t* code) const {
    std::uint64_t word = 0;
    if (n_bytes_ == 8) {
      std::memcpy(&word, code + byte_, 8);
    } else {
      std::memcpy(&word, code, static_cast<std::size_t>(n_bytes_));
    }
    if constexpr (std::endian::native == std::endian::little) word = __builtin_bswap64(word);
    return static_cast<std::uint32_t>(word >> shift_) & mask_;
  }

 private:
  int byte_;
  int n_bytes_;
  int shift_;
  std::uint32_t mask_;
};

}  // namespace sdc
