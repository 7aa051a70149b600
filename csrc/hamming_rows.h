// The rows of a search, in batches that the kernels can take: contiguous, padded to the width class, without
// those that the mask leaves out. Internal.
#pragma once

#include <cstdint>
#include <memory>

#include "hamming.h"
#include "hamming_kernels.h"

namespace sdc {

// Allocated once a worker; the kernels want whole vectors.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(std::size_t size);
  ~AlignedBytes();
  AlignedBytes(AlignedBytes&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  AlignedBytes& operator=(AlignedBytes&& other) noexcept;
  std::uint8_t* get() const { return data_; }

 private:
  std::uint8_t* data_ = nullptr;
};

struct RowBatch {
  const std::uint8_t* codes;
  std::size_t n;
  std::int64_t first;  // the row of code i is first + i, or, with `rows`, rows[i]
  const std::int64_t* rows;

  std::int64_t row(std::size_t i) const {
    return rows == nullptr ? first + static_cast<std::int64_t>(i) : rows[i];
  }
};

// A mask as bits, and how many rows it lets through. A mask that is packed already is not copied.
class PackedMask {
 public:
  PackedMask(const HammingMask& mask, std::int64_t n, const HammingKernels& kernels);

  bool allows(std::int64_t row) const { return (bits_[row / 8] >> (7 - row % 8)) & 1; }

  // Writes the rows in [first, last) that it lets through and returns their number. `first` is a multiple of
  // 64, `last` another or the number of rows; `rows` has room for four more than that.
  std::size_t list(std::int64_t first, std::int64_t last, std::int64_t* rows) const;

  std::int64_t n_allowed;

 private:
  const HammingKernels& kernels_;
  std::unique_ptr<std::uint8_t[]> own_bits_;
  const std::uint8_t* bits_ = nullptr;
  std::int64_t n_words_ = 0;  // that are whole
  std::uint8_t last_word_[8] = {};
};

// Reads the rows of one unit after another; one reader a worker. The batches of a unit come in ascending
// order of rows, of at most 2 kBatchRows rows where they are copied, and stay valid until the next.
class RowReader {
 public:
  static constexpr std::int64_t kBatchRows = 4096;

  // Without `mask` every row is read.
  RowReader(const HammingCodes& codes, int width_class, const PackedMask* mask,
            const HammingKernels& kernels);

  // The unit begins at a multiple of 64.
  void start(std::int64_t first, std::int64_t last);
  bool next(RowBatch& batch);

 private:
  bool next_masked(RowBatch& batch);
  template <int bytes>
  void gather(std::size_t n);

  // Codes that are padded should still be in the first-level cache when they are compared.
  static constexpr std::int64_t kPaddedBytes = 16 << 10;

  HammingCodes codes_;
  int width_class_;
  const PackedMask* mask_;
  const HammingKernels& kernels_;
  bool in_place_;
  std::int64_t padded_rows_ = 0;  // at once
  std::int64_t at_ = 0, last_ = 0;
  AlignedBytes buffer_;
  std::unique_ptr<std::int64_t[]> rows_;
};

}  // namespace sdc
