// What an instruction-set level provides to the Hamming engine (hamming.cpp). Internal: not part of the
// public contract.
//
// Codes reach the kernels padded with zero bytes to a *width class* of 4, 8, 16, 32, 64, 128 or 256 bytes;
// queries likewise. Padding changes no distance. Nothing here allocates, throws or keeps state.
//
// Two ways to compare codes with queries:
//
// * direct: XOR and population count, one query at a time.
// * sliced: a block of codes is transposed into bit planes, so that one vector holds one bit of every code of
// the block, and
//   carry-save adders count the mismatching bits of all of them at once. The sum of a small *group* of
//   planes, for every variant of the query's bits there, is tabulated once a block, so that a query begins
//   with loads instead of adders:
//
//     - 7 planes have 128 variants; the sum 0..7 is h1·2 + h2·4 + parity. h1 and h2 come from the table.
//     - 3 planes have 8 variants; the sum 0..3 is h1·2 + parity.
//     - A parity depends on the query only by its own complement, so it is nothing but one more plane, of
//     weight 1, with one
//       more query bit: it joins the queue of planes still to be grouped. Two planes of weight 1 remain at
//       last.
//
//   With L bits to a code this takes (L-2)/6 groups of 7, or (L-2)/2 groups of 3, instead of L full adders.
//   The threshold t enters as the constant 2^m - 1 - t: code i is a candidate unless a carry reaches weight
//   2^m. Candidates are exactly the codes with distance <= t.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.h"

namespace sdc {

constexpr int kWidthClasses = 7;
constexpr int kSlicedClasses = 6;
constexpr int class_bytes(int width_class) { return 4 << width_class; }

constexpr int kMaxBlockCodes = 512;
constexpr std::size_t kTableAlignment = 64;

// A found pair: `row` counts from the start of the codes that the kernel was given.
struct Hit {
  std::uint32_t query;
  std::uint16_t row;
  std::uint16_t distance;
};

struct DirectKernel {
  // distances[i] = distance of code i to the query.
  void (*distances)(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                    std::uint16_t* distances);
  // Writes (distance << 48) + first_row + i for every code i whose distance is at most `threshold`, in
  // ascending order of i, and returns their number. `found` has room for n.
  std::size_t (*within)(const std::uint8_t* codes, std::size_t n, const std::uint8_t* query,
                        unsigned threshold, std::uint64_t first_row, std::uint64_t* found);
};

// One query's record is `record_length` offsets into the tables: one for each group, two for the remaining
// planes and one for each bit of the threshold's constant.
struct SlicedKernel {
  std::size_t table_bytes;    // of the tables of one block, aligned to kTableAlignment
  std::size_t record_length;  // uint16 entries
  unsigned max_threshold;     // the largest threshold that a record can hold
  // Builds the tables of one block of `block_codes` codes; `planes` is scratch of plane_bytes.
  std::size_t plane_bytes;
  void (*build)(const std::uint8_t* codes, void* planes, void* tables);
  void (*encode)(const std::uint8_t* query, std::uint16_t* record);
  void (*set_threshold)(unsigned threshold, std::uint16_t* record);
  // For every j < n: writes the set of candidate codes of query queries[j] to masks[m * lanes ...] and j's
  // query to found[m], where m counts the queries that have any. Returns their number. `masks` has room for
  // (n + 1) * lanes words, aligned to kTableAlignment; `found` has room for n + 1.
  std::size_t (*scan)(const void* tables, const std::uint16_t* records, const std::uint32_t* queries,
                      std::size_t n, std::uint64_t* masks, std::uint32_t* found);
};

struct HammingKernels {
  Isa isa;
  int lanes;  // 64-bit lanes of a vector; a block has 64 * lanes codes, and code c is bit c / lanes of lane c
              // % lanes
  DirectKernel direct[kWidthClasses];
  SlicedKernel sliced_by_3[kSlicedClasses];
  SlicedKernel sliced_by_7[kSlicedClasses];
  // Distances of the candidates of `n` queries, whose masks and numbers scan() wrote: hits in the order of
  // (query in `found`, row). Rows from n_valid on are dropped. Query q's code is at queries + q *
  // class_bytes. `hits` has room for n * 64 * lanes. Returns their number.
  std::size_t (*verify[kSlicedClasses])(const std::uint8_t* codes, std::size_t n_valid,
                                        const std::uint8_t* queries, const std::uint64_t* masks,
                                        const std::uint32_t* found, std::size_t n, Hit* hits);

  // Copies n codes of n_bytes, at most a class's width, each followed by zero bytes up to that width. Reads
  // nothing but the codes.
  void (*pad[kWidthClasses])(const std::uint8_t* codes, std::size_t n, std::size_t n_bytes,
                             std::uint8_t* padded);

  // The number of one bits.
  std::int64_t (*count_bits)(const std::uint8_t* data, std::size_t n);
  // n_bytes bytes of a packed mask (numpy.packbits) from eight times as many bools.
  void (*pack_bools)(const std::uint8_t* bools, std::size_t n_bytes, std::uint8_t* packed);
  // Writes first + i for every bit i that is set among n_words * 64 of a packed mask and returns their
  // number; `rows` has room for four more than there are bits.
  std::size_t (*list_rows)(const std::uint8_t* packed, std::size_t n_words, std::int64_t first,
                           std::int64_t* rows);

  int block_codes() const { return 64 * lanes; }
};

extern const HammingKernels hamming_portable;
#if !defined(SDC_SEARCH_PORTABLE_ONLY)
#if defined(__x86_64__)
extern const HammingKernels hamming_avx2;
extern const HammingKernels hamming_avx512;
extern const HammingKernels hamming_avx512_vpopcnt;
#elif defined(__aarch64__)
extern const HammingKernels hamming_neon;
#endif
#endif

// The kernels of a level. Throws std::invalid_argument when this build has none for it.
const HammingKernels& hamming_kernels(Isa isa);

}  // namespace sdc
