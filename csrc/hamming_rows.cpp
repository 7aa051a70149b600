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

PackedMask::PackedMask(const HammingMask& mask, std::int64_t n, const HammingKernels& kernels)
    : n_allowed(n), kernels_(kernels) {
  if (mask.data == nullptr) return;
  bits_ = mask.data;
  if (!mask.packed) {
    const std::size_t whole = static_cast<std::size_t>(n / 8);
    own_bits_ = std::make_unique_for_overwrite<std::uint8_t[]>(whole + 1);
    kernels.pack_bools(mask.data, whole, own_bits_.get());
    std::uint8_t last[8] = {};
    std::copy_n(mask.data + 8 * whole, n % 8, last);
    kernels.pack_bools(last, 1, own_bits_.get() + whole);
    bits_ = own_bits_.get();
  }
  n_words_ = n / 64;
  std::copy_n(bits_ + 8 * n_words_, (n % 64 + 7) / 8, last_word_);
  if (n % 8 != 0) last_word_[n % 64 / 8] &= static_cast<std::uint8_t>(0xFF00 >> (n % 8));
  n_allowed = kernels.count_bits(bits_, static_cast<std::size_t>(8 * n_words_)) +
              kernels.count_bits(last_word_, sizeof last_word_);
}

std::size_t PackedMask::list(std::int64_t first, std::int64_t last, std::int64_t* rows) const {
  const std::int64_t whole = std::min(last / 64, n_words_) - first / 64;
  std::size_t n = kernels_.list_rows(bits_ + first / 8, static_cast<std::size_t>(whole), first, rows);
  if (last % 64 != 0) n += kernels_.list_rows(last_word_, 1, 64 * n_words_, rows + n);
  return n;
}

RowReader::RowReader(const HammingCodes& codes, int width_class, const PackedMask* mask,
                     const HammingKernels& kernels)
    : codes_(codes),
      width_class_(width_class),
      mask_(mask),
      kernels_(kernels),
      in_place_(mask == nullptr && codes.n_bytes == class_bytes(width_class)) {
  const std::size_t bytes = static_cast<std::size_t>(class_bytes(width_class));
  if (mask != nullptr) {
    buffer_ = AlignedBytes(2 * kBatchRows * bytes);
    rows_ = std::make_unique_for_overwrite<std::int64_t[]>(2 * kBatchRows + 4);
  } else if (!in_place_) {
    padded_rows_ = std::max<std::int64_t>(kernels.block_codes(), kPaddedBytes / class_bytes(width_class));
    buffer_ = AlignedBytes(static_cast<std::size_t>(padded_rows_) * bytes);
  }
}

void RowReader::start(std::int64_t first, std::int64_t last) {
  at_ = first;
  last_ = last;
}

bool RowReader::next(RowBatch& batch) {
  if (mask_ != nullptr) return next_masked(batch);
  const std::int64_t n = in_place_ ? last_ - at_ : std::min(padded_rows_, last_ - at_);
  if (n <= 0) return false;
  const std::uint8_t* codes = codes_.data + at_ * codes_.n_bytes;
  if (!in_place_) {
    kernels_.pad[width_class_](codes, static_cast<std::size_t>(n), static_cast<std::size_t>(codes_.n_bytes),
                               buffer_.get());
    codes = buffer_.get();
  }
  batch = {codes, static_cast<std::size_t>(n), at_, nullptr};
  at_ += n;
  return true;
}

// Copies as many bytes as the class has, a few moves, and clears those of the next code. The last codes,
// which have too little behind them, go the slow way.
template <int bytes>
void RowReader::gather(std::size_t n) {
  constexpr std::size_t word_bytes = bytes < 8 ? bytes : 8, n_words = bytes / word_bytes, ahead = 24;
  std::uint64_t kept[n_words] = {};
  std::memset(kept, 0xFF, static_cast<std::size_t>(codes_.n_bytes));
  const std::uint8_t* end = codes_.data + codes_.n * codes_.n_bytes;
  // Copies, since what is written might be anything but those.
  const auto code_of = [data = codes_.data, rows = rows_.get(), n_bytes = codes_.n_bytes](std::size_t i) {
    return data + rows[i] * n_bytes;
  };
  std::size_t n_whole = n;
  while (n_whole > 0 && end - code_of(n_whole - 1) < bytes) --n_whole;
  std::uint8_t* out = buffer_.get();
  for (std::size_t i = 0; i < n_whole; ++i, out += bytes) {
    // The processor itself looks far enough ahead over short codes.
    if constexpr (bytes > 16) __builtin_prefetch(code_of(std::min(i + ahead, n - 1)));
    const std::uint8_t* code = code_of(i);
    for (std::size_t w = 0; w < n_words; ++w) {
      std::uint64_t word = 0;
      std::memcpy(&word, code + w * word_bytes, word_bytes);
      word &= kept[w];
      std::memcpy(out + w * word_bytes, &word, word_bytes);
    }
  }
  for (std::size_t i = n_whole; i < n; ++i, out += bytes) {
    kernels_.pad[width_class_](code_of(i), 1, static_cast<std::size_t>(codes_.n_bytes), out);
  }
}

// First the rows, then their codes: so the loop that waits for memory has nothing to guess.
bool RowReader::next_masked(RowBatch& batch) {
  std::size_t n = 0;
  while (at_ < last_ && n < kBatchRows) {
    const std::int64_t end = std::min(at_ + kBatchRows, last_);
    n += mask_->list(at_, end, rows_.get() + n);
    at_ = end;
  }
  static_assert(kWidthClasses == 7);
  constexpr void (RowReader::* gathers[])(std::size_t) = {
      &RowReader::gather<4>,  &RowReader::gather<8>,   &RowReader::gather<16>, &RowReader::gather<32>,
      &RowReader::gather<64>, &RowReader::gather<128>, &RowReader::gather<256>};
  (this->*gathers[width_class_])(n);
  batch = {buffer_.get(), n, 0, rows_.get()};
  return n > 0;
}

}  // namespace sdc
