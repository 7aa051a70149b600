// Building and checking the tables of mih.h.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "mih.h"
#include "mih_substring.h"
#include "threads.h"

namespace sdc {
namespace {

// A partition's codes and rows should stay in the L2 cache while they are ordered.
constexpr int kPartitionItemsLog2 = 16;
constexpr int kMaxPartitionBits = 11;
constexpr std::int64_t kMinChunk = 1 << 16;
constexpr std::int64_t kMaxChunks = 64;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Builds one table by two stable counting sorts: by the substring's upper bits into partitions, which are
// already in their final places, then by its lower bits within each. A single sort would write to 2^16
// places at once, more than the cache and the TLB follow.
template <int kStride>
class TableBuilder {
 public:
  TableBuilder(const MultiIndexShape& shape, int table, const std::uint8_t* codes, int threads,
               std::uint32_t* offsets, std::uint32_t* rows, std::uint8_t* copies)
      : shape_(shape),
        codes_(codes),
        threads_(threads),
        offsets_(offsets + shape.first_offset(table)),
        rows_(rows + size(table * shape.n)),
        copies_(copies + size(table * shape.n) * kStride),
        key_of_code_(shape.n_bytes(), shape.first_bit(table), shape.substring_bits(table)),
        key_of_copy_(kStride, shape.first_bit(table), shape.substring_bits(table)) {
    const int wanted = static_cast<int>(std::bit_width(size(shape.n))) - kPartitionItemsLog2;
    const int bits = shape.substring_bits(table);
    lower_bits_ = bits - std::clamp(wanted, 0, std::min(bits, kMaxPartitionBits));
    n_partitions_ = std::int64_t{1} << (bits - lower_bits_);
    n_chunks_ = std::clamp(shape.n / kMinChunk, std::int64_t{1}, kMaxChunks);
    cursors_.resize(size(n_chunks_ * n_partitions_));
    partition_begins_.resize(size(n_partitions_ + 1));
  }

  void build() {
    parallel_for(n_chunks_, threads_, [this](std::int64_t chunk, int) { count(chunk); });
    place_partitions();
    parallel_for(n_chunks_, threads_, [this](std::int64_t chunk, int) { scatter(chunk); });
    std::vector<Scratch> scratch(size(threads_));
    parallel_for(n_partitions_, threads_,
                 [&](std::int64_t partition, int worker) { order(partition, scratch[size(worker)]); });
    offsets_[size(n_partitions_) << lower_bits_] = static_cast<std::uint32_t>(shape_.n);
  }

 private:
  struct Scratch {
    std::vector<std::uint32_t> rows;
    std::vector<std::uint8_t> copies;
    std::vector<std::uint32_t> cursors;
  };

  std::int64_t chunk_begin(std::int64_t chunk) const { return shape_.n * chunk / n_chunks_; }

  // The loops below work on local copies of members: the compiler must assume that a byte written to the
  // tables may change a member.
  void count(std::int64_t chunk) {
    std::uint32_t* const counts = &cursors_[size(chunk * n_partitions_)];
    const SubstringReader key = key_of_code_;
    const int lower_bits = lower_bits_;
    const std::size_t n_bytes = size(shape_.n_bytes());
    const std::uint8_t* code = codes_ + size(chunk_begin(chunk)) * n_bytes;
    for (std::int64_t left = chunk_begin(chunk + 1) - chunk_begin(chunk); left > 0; --left, code += n_bytes) {
      ++counts[key(code) >> lower_bits];
    }
  }

  // Turns the counts into the places where each chunk's items of each partition begin.
  void place_partitions() {
    std::uint32_t begin = 0;
    for (std::int64_t partition = 0; partition < n_partitions_; ++partition) {
      partition_begins_[size(partition)] = begin;
      for (std::int64_t chunk = 0; chunk < n_chunks_; ++chunk) {
        std::uint32_t& cursor = cursors_[size(chunk * n_partitions_ + partition)];
        const std::uint32_t items = cursor;
        cursor = begin;
        begin += items;
      }
    }
    partition_begins_[size(n_partitions_)] = begin;
  }

  void scatter(std::int64_t chunk) {
    std::uint32_t* const cursors = &cursors_[size(chunk * n_partitions_)];
    std::uint32_t* const rows = rows_;
    std::uint8_t* const copies = copies_;
    const SubstringReader key = key_of_code_;
    const int lower_bits = lower_bits_;
    const std::size_t n_bytes = size(shape_.n_bytes());
    const auto end = static_cast<std::uint32_t>(chunk_begin(chunk + 1));
    const std::uint8_t* code = codes_ + size(chunk_begin(chunk)) * n_bytes;
    for (auto row = static_cast<std::uint32_t>(chunk_begin(chunk)); row < end; ++row, code += n_bytes) {
      const std::uint32_t place = cursors[key(code) >> lower_bits]++;
      rows[place] = row;
      std::uint8_t copy[kStride] = {};
      if (n_bytes == kStride) {  // of constant length: no call
        std::memcpy(copy, code, kStride);
      } else {
        std::memcpy(copy, code, n_bytes);
      }
      std::memcpy(copies + size(place) * kStride, copy, kStride);
    }
  }

  void order(std::int64_t partition, Scratch& scratch) {
    const std::uint32_t begin = partition_begins_[size(partition)];
    const std::uint32_t items = partition_begins_[size(partition + 1)] - begin;
    scratch.rows.assign(rows_ + begin, rows_ + begin + items);
    scratch.copies.assign(copies_ + size(begin) * kStride,
                          copies_ + size(begin) * kStride + size(items) * kStride);
    scratch.cursors.assign(size(1) << lower_bits_, 0);

    const std::uint32_t* const from_rows = scratch.rows.data();
    const std::uint8_t* const from_copies = scratch.copies.data();
    std::uint32_t* const cursors = scratch.cursors.data();
    std::uint32_t* const rows = rows_;
    std::uint8_t* const copies = copies_;
    const SubstringReader key = key_of_copy_;
    const std::uint32_t lower_mask = (1u << lower_bits_) - 1;
    for (std::uint32_t i = 0; i < items; ++i) ++cursors[key(from_copies + size(i) * kStride) & lower_mask];
    begin_buckets(begin, scratch.cursors, offsets_ + (size(partition) << lower_bits_));
    for (std::uint32_t i = 0; i < items; ++i) {
      const std::uint8_t* copy = from_copies + size(i) * kStride;
      const std::uint32_t place = cursors[key(copy) & lower_mask]++;
      rows[place] = from_rows[i];
      std::memcpy(copies + size(place) * kStride, copy, kStride);
    }
  }

  // Turns a partition's counts into the places where its buckets begin.
  static void begin_buckets(std::uint32_t begin, std::vector<std::uint32_t>& counts, std::uint32_t* offsets) {
    for (std::uint32_t& count : counts) {
      *offsets++ = begin;
      begin += std::exchange(count, begin);
    }
  }

  const MultiIndexShape& shape_;
  const std::uint8_t* codes_;
  int threads_;
  std::uint32_t* offsets_;
  std::uint32_t* rows_;
  std::uint8_t* copies_;
  SubstringReader key_of_code_;
  SubstringReader key_of_copy_;
  int lower_bits_;
  std::int64_t n_partitions_;
  std::int64_t n_chunks_;
  std::vector<std::uint32_t> cursors_;  // (chunk, partition)
  std::vector<std::uint32_t> partition_begins_;
};

template <int kStride>
void build_tables(const MultiIndexShape& shape, const std::uint8_t* codes, int threads,
                  std::uint32_t* offsets, std::uint32_t* rows, std::uint8_t* copies) {
  for (int table = 0; table < shape.n_tables; ++table) {
    TableBuilder<kStride>(shape, table, codes, threads, offsets, rows, copies).build();
  }
}

bool ascending_to_n(const std::uint32_t* offsets, std::size_t buckets, std::int64_t n) {
  if (offsets[0] != 0 || offsets[buckets] != n) return false;
  for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
    if (offsets[bucket] > offsets[bucket + 1]) return false;
  }
  return true;
}

}  // namespace

int MultiIndexShape::first_bit(int table) const {
  return n_bits / n_tables * table + std::min(table, n_bits % n_tables);
}

std::size_t MultiIndexShape::first_offset(int table) const {
  std::size_t first = 0;
  for (int t = 0; t < table; ++t) first += (std::size_t{1} << substring_bits(t)) + 1;
  return first;
}

std::string MultiIndexShape::problem() const {
  if (n < 0 || n > kMaxIndexedCodes) return "tables hold up to 2**32 - 1 codes, got " + std::to_string(n);
  if (n_bits < kMinIndexedBits || n_bits > kMaxIndexedBits) {
    return "tables are for codes of 32 to 256 bits, got " + std::to_string(n_bits);
  }
  if (n_tables < 1 || n_tables > kMaxTables) {
    return "the number of tables must be from 1 to 32, got " + std::to_string(n_tables);
  }
  if (substring_bits(0) > kMaxSubstringBits) {
    return std::to_string(n_bits) + " bits need at least " +
           std::to_string((n_bits + kMaxSubstringBits - 1) / kMaxSubstringBits) + " tables, got " +
           std::to_string(n_tables);
  }
  return "";
}

int best_table_count(std::int64_t n, int n_bits) {
  // Buckets of some 2^6 codes: reading them in a row costs about as much as finding the bucket. Longer
  // substrings leave fewer codes to compare but ask for many more buckets at the same radius.
  constexpr double kBucketItemsLog2 = 6;
  const double bits = std::log2(static_cast<double>(std::max<std::int64_t>(n, 1))) - kBucketItemsLog2;
  const int tables = static_cast<int>(std::lround(n_bits / std::max(bits, 1.0)));
  const int fewest = (n_bits + kMaxSubstringBits - 1) / kMaxSubstringBits;
  return std::clamp(tables, fewest, std::min(n_bits / 8, kMaxTables));
}

void build_multi_index(const MultiIndexShape& shape, const std::uint8_t* codes, int threads,
                       std::uint32_t* offsets, std::uint32_t* rows, std::uint8_t* copies) {
  const auto build = [&] {
    switch (shape.stride()) {
      case 4:
        return build_tables<4>;
      case 8:
        return build_tables<8>;
      case 16:
        return build_tables<16>;
      case 24:
        return build_tables<24>;
      default:
        return build_tables<32>;
    }
  }();
  build(shape, codes, threads, offsets, rows, copies);
}

std::string multi_index_problem(const MultiIndexView& view, int threads) {
  const MultiIndexShape& shape = view.shape;
  if (std::string problem = shape.problem(); !problem.empty()) return problem;
  for (int table = 0; table < shape.n_tables; ++table) {
    const std::size_t buckets = std::size_t{1} << shape.substring_bits(table);
    if (!ascending_to_n(view.offsets + shape.first_offset(table), buckets, shape.n)) {
      return "the offsets of table " + std::to_string(table) + " do not ascend from 0 to " +
             std::to_string(shape.n);
    }
  }
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  const std::size_t blocks = (shape.rows_size() + kBlock - 1) / kBlock;
  std::atomic<bool> inside{true};
  parallel_for(static_cast<std::int64_t>(blocks), threads, [&](std::int64_t block, int) {
    const std::size_t begin = size(block) * kBlock;
    const std::size_t end = std::min(begin + kBlock, shape.rows_size());
    std::uint32_t largest = 0;
    for (std::size_t i = begin; i < end; ++i) largest = std::max(largest, view.rows[i]);
    if (largest >= shape.n) inside.store(false);
  });
  if (!inside.load()) return "a table holds a row that is not below " + std::to_string(shape.n);
  return "";
}

}  // namespace sdc
