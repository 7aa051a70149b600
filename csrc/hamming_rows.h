// The rows of a search, in batches that the kernels can take: contiguous, padded to the width class, without
// those that the mask leaves out. Internal.
#pragma once

#include <cstdint>
#include <vector>

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

// A mask as bits, whole words of them, the rows beyond the last left out; and how many rows it lets through.
class PackedMask {
 public:
  PackedMask(const HammingMask& mask, std::int64_t n, const HammingKernels& kernels);

  bool allows(std::int64_t row) const {
    return (bits_[static_cast<std::size_t>(row / 8)] >> (7 - row % 8)) & 1;
  }
  // The bits of row `first`, a multiple of 64, and those behind it.
  const std::uint8_t* words_from(std::int64_t first) const { return bits_.data() + first / 8; }

  std::int64_t n_allowed;

 private:
  std::vector<std::uint8_t> bits_;
};

// A copy of n codes, each followed by zero bytes up to `padded` bytes.
void pad_codes(const std::uint8_t* codes, std::int64_t n, std::int64_t n_bytes, std::int64_t padded,
               std::uint8_t* out);

// Reads the rows of one unit after another; one reader a worker. The batches of a unit come in ascending
// order of rows, of at at most 2 kBatchRows rows, and stay valid until the next.
class RowReader {
 public:
  static constexpr std::int64_t kBatchRows = 4096;

  // Without `mask` every row is read.
  RowReader(const HammingCodes& codes, int padded_bytes, const PackedMask* mask,
            const HammingKernels& kernels);

  // The unit begins at a multiple of 64.
  void start(std::int64_t first, std::int64_t last);
  bool next(RowBatch& batch);

 private:
  bool next_masked(RowBatch& batch);
  template <int bytes>
  void gather(std::size_t n);

  HammingCodes codes_;
  std::int64_t padded_;
  const PackedMask* mask_;
  const HammingKernels& kernels_;
  bool in_place_;
  std::int64_t at_ = 0, last_ = 0;
  AlignedBytes buffer_;
  std::vector<std::int64_t> rows_;
};

}  // namespace sdc
