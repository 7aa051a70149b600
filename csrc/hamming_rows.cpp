#include "hamming_rows.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace sdc {
namespace {

constexpr std::align_val_t alignment{64};

}  // namespace

AlignedBytes::AlignedBytes(std::size_t size)
    : data_(static_cast<std::uint8_t*>(::operator new(size, alignment))) {}

AlignedBytes::~AlignedBytes() { ::operator delete(data_, alignment); }

AlignedBytes& AlignedBytes::operator=(AlignedBytes&& other) noexcept {
  std::swap(data_, other.data_);
  return *this;
}

PackedMask::PackedMask(const HammingMask& mask, std::int64_t n, const HammingKernels& kernels) {
  if (mask.data == nullptr) {
    n_allowed = n;
    return;
  }
  const std::size_t whole = static_cast<std::size_t>(n / 8);
  bits_.resize(static_cast<std::size_t>((n + 63) / 64) * 8);
  if (mask.packed) {
    std::copy_n(mask.data, whole, bits_.data());
  } else {
    kernels.pack_bools(mask.data, whole, bits_.data());
  }
  for (std::int64_t row = static_cast<std::int64_t>(8 * whole); row < n; ++row) {
    const int bit = mask.packed ? (mask.data[row / 8] >> (7 - row % 8)) & 1 : mask.data[row] != 0;
    bits_[static_cast<std::size_t>(row / 8)] |= static_cast<std::uint8_t>(bit << (7 - row % 8));
  }
  n_allowed = kernels.count_bits(bits_.data(), bits_.size());
}

void pad_codes(const std::uint8_t* codes, std::int64_t n, std::int64_t n_bytes, std::int64_t padded,
               std::uint8_t* out) {
  if (n_bytes == padded) {
    if (n > 0) std::memcpy(out, codes, static_cast<std::size_t>(n * n_bytes));
    return;
  }
  for (std::int64_t i = 0; i < n; ++i, codes += n_bytes, out += padded) {
    std::memcpy(out, codes, static_cast<std::size_t>(n_bytes));
    std::memset(out + n_bytes, 0, static_cast<std::size_t>(padded - n_bytes));
  }
}

RowReader::RowReader(const HammingCodes& codes, int padded_bytes, const PackedMask* mask,
                     const HammingKernels& kernels)
    : codes_(codes),
      padded_(padded_bytes),
      mask_(mask),
      kernels_(kernels),
      in_place_(mask == nullptr && codes.n_bytes == padded_bytes) {
  if (!in_place_) buffer_ = AlignedBytes(static_cast<std::size_t>(2 * kBatchRows * padded_));
  if (mask != nullptr) rows_.resize(2 * kBatchRows + 4);
}

void RowReader::start(std::int64_t first, std::int64_t last) {
  at_ = first;
  last_ = last;
}

bool RowReader::next(RowBatch& batch) {
  if (mask_ != nullptr) return next_masked(batch);
  const std::int64_t n = std::min(kBatchRows, last_ - at_);
  if (n <= 0) return false;
  const std::uint8_t* codes = codes_.data + at_ * codes_.n_bytes;
  if (!in_place_) {
    pad_codes(codes, n, codes_.n_bytes, padded_, buffer_.get());
    codes = buffer_.get();
  }
  batch = {codes, static_cast<std::size_t>(n), at_, nullptr};
  at_ += n;
  return true;
}

template <int bytes>
void RowReader::gather(std::size_t n) {
  std::uint8_t* out = buffer_.get();
  for (std::size_t i = 0; i < n; ++i, out += padded_) {
    const std::uint8_t* code = codes_.data + rows_[i] * codes_.n_bytes;
    if constexpr (bytes > 0) {
      std::memcpy(out, code, bytes);
    } else {
      pad_codes(code, 1, codes_.n_bytes, padded_, out);
    }
  }
}

// First the rows, then their codes: so the loop that waits for memory has nothing to guess.
bool RowReader::next_masked(RowBatch& batch) {
  std::size_t n = 0;
  while (at_ < last_ && n < kBatchRows) {
    const std::int64_t end = std::min(at_ + kBatchRows, last_);
    n += kernels_.list_rows(mask_->words_from(at_), static_cast<std::size_t>((end - at_ + 63) / 64), at_,
                            rows_.data() + n);
    at_ = end;
  }
  // Copies of a known size are a few moves; others are calls.
  switch (codes_.n_bytes) {
    case 4:
      gather<4>(n);
      break;
    case 8:
      gather<8>(n);
      break;
    case 16:
      gather<16>(n);
      break;
    case 32:
      gather<32>(n);
      break;
    case 64:
      gather<64>(n);
      break;
    case 128:
      gather<128>(n);
      break;
    default:
      gather<0>(n);
  }
  batch = {buffer_.get(), n, 0, rows_.data()};
  return n > 0;
}

}  // namespace sdc
