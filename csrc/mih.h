// Exact multi-index hashing (Norouzi, Punjani, Fleet: Fast Exact Search in Hamming Space with Multi-Index
// Hashing, TPAMI 2014) for codes of 32 to 256 bits.
//
// A code of n_bits is cut into n_tables substrings of consecutive bits. Table t groups all codes by the value
// of their substring t. If table t has been searched up to substring radius r_t (-1: not at all), an item not
// met yet differs from the query in at least r_t + 1 bits of every substring t, so its distance is at least
// the sum of (r_t + 1): each further shell, of whichever table, raises that proven distance by one.
//
// Layout: three flat arrays, which belong to the caller (numpy, or a memory-mapped file).
//   offsets  uint32, for each table 2^substring_bits + 1 entries: where its buckets begin, the last is n
//   rows     uint32 (n_tables, n): the rows of table t's items, by (substring, row)
//   copies   uint8 (n_tables, n, stride): their codes in the same order, zeros after the last byte
// Sizes come from MultiIndexShape. 64 bits in 4 tables: 48 bytes a code beside the offsets (1 MB).
//
// Limits: 32 <= n_bits <= 256, 0 <= n < 2^32. Codes and queries are rows of ceil(n_bits / 8) bytes as
// numpy.packbits makes them, without alignment; nothing beyond the last byte is read. No function keeps a
// pointer. Results are the same bytes for every instruction-set level, number of threads and of tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sdc {

inline constexpr int kMinIndexedBits = 32;
inline constexpr int kMaxIndexedBits = 256;
inline constexpr int kMaxSubstringBits = 22;
inline constexpr int kMaxTables = 32;
inline constexpr std::int64_t kMaxIndexedCodes = 4294967295;

// How codes are cut and how large the three arrays are: all of it follows from these three numbers.
struct MultiIndexShape {
  std::int64_t n;
  int n_bits;
  int n_tables;

  int n_bytes() const { return (n_bits + 7) / 8; }
  // Bytes of one code in `copies`: whole machine words.
  int stride() const { return n_bytes() <= 4 ? 4 : (n_bytes() + 7) / 8 * 8; }
  // The first n_bits % n_tables substrings are one bit longer than the others.
  int substring_bits(int table) const { return n_bits / n_tables + (table < n_bits % n_tables ? 1 : 0); }
  int first_bit(int table) const;
  std::size_t first_offset(int table) const;  // where table's part of `offsets` begins

  std::size_t offsets_size() const { return first_offset(n_tables); }
  std::size_t rows_size() const { return static_cast<std::size_t>(n) * static_cast<std::size_t>(n_tables); }
  std::size_t copies_size() const { return rows_size() * static_cast<std::size_t>(stride()); }
  std::size_t total_bytes() const { return 4 * (offsets_size() + rows_size()) + copies_size(); }

  // Empty if the shape is within the limits, else a sentence that says what is not.
  std::string problem() const;
};

// The number of tables expected to serve k = 10 fastest, if the codes were uniform.
int best_table_count(std::int64_t n, int n_bits);

// Borrows the arrays of a built index.
struct MultiIndexView {
  MultiIndexShape shape;
  const std::uint32_t* offsets;
  const std::uint32_t* rows;
  const std::uint8_t* copies;
};

// Fills the three arrays from `codes` (shape.n, shape.n_bytes()). Needs a few MB a thread beside them, up to
// one table's share if the codes crowd into few buckets. shape.problem() must be empty.
void build_multi_index(const MultiIndexShape& shape, const std::uint8_t* codes, int threads,
                       std::uint32_t* offsets, std::uint32_t* rows, std::uint8_t* copies);

// For arrays from a file, whose sizes the caller has checked: empty if no search can leave them, else a
// sentence that says what would lead one astray. It does not compare the copies with any codes.
std::string multi_index_problem(const MultiIndexView& view, int threads);

// Which items may be returned, and how ties are broken. Null pointers: all, and by the smaller row.
struct MultiIndexFilter {
  const std::uint32_t* rank = nullptr;  // (n,) row -> position of its id among all ids sorted
  const std::uint8_t* mask =
      nullptr;  // true = may be returned: a byte an item, or a bit as packbits packs it
  bool mask_is_packed = false;
};

// Writes to `distances` and `rows` (n_queries, k) each query's k nearest items, ordered by (distance, rank),
// and finished[query] = 1. k >= 1. Where fewer than k may be returned the rest of a row is (kNoDistance,
// kNoId). Padding bits must be zero, ranks distinct. A query whose tables would cost more than `budget_ns`,
// or that wants all items, so that no radius proves it complete, gets finished[query] = 0 and a row of
// (kNoDistance, kNoId): it is for the caller to scan. Costs are estimated from counted work and not from a
// clock, so that the same input always finishes the same queries.
void multi_index_topk(const MultiIndexView& view, const std::uint8_t* queries, std::int64_t n_queries,
                      std::int64_t k, const MultiIndexFilter& filter, double budget_ns, int threads,
                      std::int32_t* distances, std::int64_t* rows, std::uint8_t* finished);

// Query i's hits are [lims[i], lims[i + 1]), ordered by (distance, rank).
struct MultiIndexRange {
  bool finished;  // else a query would have cost more than the budget, and nothing below is filled in
  std::vector<std::int64_t> lims;
  std::vector<std::int32_t> distances;
  std::vector<std::int64_t> rows;
};

// All items with distance <= radius (radius >= 0). The budget is that of one query.
MultiIndexRange multi_index_range(const MultiIndexView& view, const std::uint8_t* queries,
                                  std::int64_t n_queries, std::int32_t radius, const MultiIndexFilter& filter,
                                  double budget_ns, int threads);

// The estimated nanoseconds of searching for the k nearest (1 <= k < n) to each of up to `count` stored
// codes, evenly spread over the values of the first substring; for one that would cost more than `budget_ns`,
// what it would at least. The same input gives the same estimates.
std::vector<double> probe_multi_index(const MultiIndexView& view, std::int64_t count, std::int64_t k,
                                      double budget_ns, int threads);

}  // namespace sdc
