// Multi-index hashing against brute force: every width, hostile data, ties, ranks, masks, damaged arrays.
#include "../../csrc/mih.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "../../csrc/hamming.h"
#include "../../csrc/isa.h"

namespace {

using Bytes = std::vector<std::uint8_t>;

int checks = 0;
int by_tables = 0;  // queries that no scan had to finish

void require(bool holds, const std::string& what) {
  ++checks;
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  std::exit(1);
}

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

struct Index {
  sdc::MultiIndexShape shape;
  std::vector<std::uint32_t> offsets;
  std::vector<std::uint32_t> rows;
  Bytes copies;

  Index(const Bytes& codes, std::int64_t n, int n_bits, int n_tables, int threads)
      : shape{n, n_bits, n_tables},
        offsets(shape.offsets_size()),
        rows(shape.rows_size()),
        copies(shape.copies_size()) {
    require(shape.problem().empty(), shape.problem());
    sdc::build_multi_index(shape, codes.data(), threads, offsets.data(), rows.data(), copies.data());
  }
  sdc::MultiIndexView view() const { return {shape, offsets.data(), rows.data(), copies.data()}; }
};

enum class Data { uniform, clustered, all_equal, few_values };
constexpr Data kAllData[] = {Data::uniform, Data::clustered, Data::all_equal, Data::few_values};

void clear_padding(Bytes& codes, int n_bits) {
  const std::size_t n_bytes = size((n_bits + 7) / 8);
  if (n_bits % 8 == 0) return;
  for (std::size_t i = n_bytes - 1; i < codes.size(); i += n_bytes) {
    codes[i] = static_cast<std::uint8_t>(codes[i] & 0xff << (8 - n_bits % 8));
  }
}

Bytes make_codes(Data data, std::int64_t n, int n_bits, std::mt19937_64& random) {
  const std::size_t n_bytes = size((n_bits + 7) / 8);
  Bytes codes(size(n) * n_bytes);
  const std::size_t n_centres = data == Data::all_equal ? 1 : data == Data::few_values ? 3 : 5;
  Bytes centres(n_centres * n_bytes);
  for (auto& byte : centres) byte = static_cast<std::uint8_t>(random());
  for (std::size_t i = 0; i < size(n); ++i) {
    const std::size_t centre = random() % n_centres;
    for (std::size_t b = 0; b < n_bytes; ++b) {
      std::uint8_t byte = static_cast<std::uint8_t>(random());
      if (data != Data::uniform) byte = centres[centre * n_bytes + b];
      if (data == Data::clustered && random() % 2 == 0) {
        byte = static_cast<std::uint8_t>(byte ^ 1u << random() % 8);
      }
      codes[i * n_bytes + b] = byte;
    }
  }
  clear_padding(codes, n_bits);
  return codes;
}

struct Neighbour {
  std::int32_t distance;
  std::uint32_t rank;
  std::int64_t row;
  bool operator<(const Neighbour& o) const {
    return distance != o.distance ? distance < o.distance : rank < o.rank;
  }
};

bool allowed(const sdc::MultiIndexFilter& filter, std::int64_t row) {
  if (filter.mask == nullptr) return true;
  if (!filter.mask_is_packed) return filter.mask[row] != 0;
  return (filter.mask[row / 8] >> (7 - row % 8) & 1) != 0;
}

std::vector<Neighbour> brute_force(const Bytes& codes, std::int64_t n, int n_bytes, const std::uint8_t* query,
                                   const sdc::MultiIndexFilter& filter) {
  std::vector<Neighbour> all;
  for (std::int64_t row = 0; row < n; ++row) {
    if (!allowed(filter, row)) continue;
    std::int32_t distance = 0;
    for (int b = 0; b < n_bytes; ++b) {
      distance += std::popcount(static_cast<std::uint8_t>(codes[size(row * n_bytes + b)] ^ query[b]));
    }
    const auto rank = filter.rank == nullptr ? static_cast<std::uint32_t>(row) : filter.rank[row];
    all.push_back({distance, rank, row});
  }
  std::sort(all.begin(), all.end());
  return all;
}

using Expected = std::vector<std::vector<Neighbour>>;

void check_topk(const Index& index, const Bytes& queries, std::int64_t n_queries, std::int64_t k,
                const sdc::MultiIndexFilter& filter, double budget, int threads, const Expected& expected,
                const std::string& what) {
  std::vector<std::int32_t> distances(size(n_queries * k), -7);
  std::vector<std::int64_t> rows(size(n_queries * k), -7);
  Bytes finished(size(n_queries), 1);
  sdc::multi_index_topk(index.view(), queries.data(), n_queries, k, filter, budget, threads, distances.data(),
                        rows.data(), finished.data());
  for (std::int64_t q = 0; q < n_queries; ++q) {
    const auto& nearest = expected[size(q)];
    if (!finished[size(q)]) continue;
    for (std::int64_t i = 0; i < k; ++i) {
      const bool found = i < static_cast<std::int64_t>(nearest.size());
      require(
          distances[size(q * k + i)] == (found ? nearest[size(i)].distance : sdc::kNoDistance) &&
              rows[size(q * k + i)] == (found ? nearest[size(i)].row : sdc::kNoId),
          what + " k=" + std::to_string(k) + " query " + std::to_string(q) + " place " + std::to_string(i));
    }
  }
  std::vector<std::int32_t> distances_again(size(n_queries * k), -7);
  std::vector<std::int64_t> rows_again(size(n_queries * k), -7);
  sdc::multi_index_topk(index.view(), queries.data(), n_queries, k, filter, budget, threads,
                        distances_again.data(), rows_again.data(), finished.data());
  for (std::int64_t q = 0; q < n_queries; ++q) {
    const auto first = static_cast<std::ptrdiff_t>(q * k);
    const bool same = std::equal(rows.begin() + first, rows.begin() + first + k, rows_again.begin() + first);
    by_tables += finished[size(q)];
    require(finished[size(q)] ? same : rows_again[size(q * k)] == sdc::kNoId, what + ": finished");
  }
}

void check_range(const Index& index, const Bytes& queries, std::int64_t n_queries, std::int32_t radius,
                 const sdc::MultiIndexFilter& filter, int threads, const Expected& expected,
                 const std::string& what) {
  const sdc::MultiIndexRange range =
      sdc::multi_index_range(index.view(), queries.data(), n_queries, radius, filter, 1e300, threads);
  require(range.lims.size() == size(n_queries) + 1 && range.lims[0] == 0, what + ": lims");
  for (std::int64_t q = 0; q < n_queries; ++q) {
    std::int64_t at = range.lims[size(q)];
    for (const Neighbour& neighbour : expected[size(q)]) {
      if (neighbour.distance > radius) break;
      require(at < range.lims[size(q) + 1] && range.rows[size(at)] == neighbour.row &&
                  range.distances[size(at)] == neighbour.distance,
              what + " radius " + std::to_string(radius));
      ++at;
    }
    require(at == range.lims[size(q) + 1], what + ": too many within the radius");
  }
}

// Queries near the data, so that small radii find something, and one that is not.
Bytes make_queries(const Bytes& codes, std::int64_t n, int n_bits, std::int64_t n_queries,
                   std::mt19937_64& random) {
  const std::size_t n_bytes = size((n_bits + 7) / 8);
  Bytes queries = make_codes(Data::uniform, n_queries, n_bits, random);
  for (std::size_t q = 1; n > 0 && q < size(n_queries); ++q) {
    const std::size_t row = random() % size(n);
    std::copy_n(codes.begin() + static_cast<std::ptrdiff_t>(row * n_bytes), n_bytes,
                queries.begin() + static_cast<std::ptrdiff_t>(q * n_bytes));
    for (std::size_t flips = q % 4; flips > 0; --flips) {
      const std::size_t bit = random() % size(n_bits);
      queries[q * n_bytes + bit / 8] =
          static_cast<std::uint8_t>(queries[q * n_bytes + bit / 8] ^ 0x80u >> bit % 8);
    }
  }
  return queries;
}

void check_case(Data data, std::int64_t n, int n_bits, int n_tables, std::mt19937_64& random) {
  const std::string what = "data " + std::to_string(static_cast<int>(data)) + " n=" + std::to_string(n) +
                           " " + std::to_string(n_bits) + " bits " + std::to_string(n_tables) + " tables";
  const int n_bytes = (n_bits + 7) / 8;
  constexpr std::int64_t kQueries = 6;
  const Bytes codes = make_codes(data, n, n_bits, random);
  const Bytes queries = make_queries(codes, n, n_bits, kQueries, random);
  const Index index(codes, n, n_bits, n_tables, 2);
  const Index same(codes, n, n_bits, n_tables, 1);
  require(index.offsets == same.offsets && index.rows == same.rows && index.copies == same.copies,
          what + ": the build depends on the threads");
  require(sdc::multi_index_problem(index.view(), 2).empty(), what + ": built index refused");

  std::vector<std::uint32_t> rank(size(n));
  std::iota(rank.begin(), rank.end(), 0u);
  std::shuffle(rank.begin(), rank.end(), random);
  Bytes bools(size(n)), packed(size((n + 7) / 8));
  for (std::size_t i = 0; i < size(n); ++i) {
    bools[i] = random() % 3 == 0;
    if (bools[i]) packed[i / 8] = static_cast<std::uint8_t>(packed[i / 8] | 0x80 >> i % 8);
  }
  const Bytes none(size(n));
  const sdc::MultiIndexFilter filters[] = {{},
                                           {rank.data(), nullptr, false},
                                           {nullptr, bools.data(), false},
                                           {rank.data(), packed.data(), true},
                                           {nullptr, none.data(), false}};
  for (const auto& filter : filters) {
    Expected expected;
    for (std::int64_t q = 0; q < kQueries; ++q) {
      expected.push_back(brute_force(codes, n, n_bytes, queries.data() + q * n_bytes, filter));
    }
    for (const std::int64_t k : {std::int64_t{1}, std::int64_t{10}, std::int64_t{100}, n + 3}) {
      check_topk(index, queries, kQueries, k, filter, 1e300, 2, expected, what);
    }
    check_topk(index, queries, kQueries, 5, filter, 800, 1, expected, what + " small budget");
    for (const int radius : {0, 1, 3, n_bits / 4, 3 * n_bits}) {
      check_range(index, queries, kQueries, radius, filter, 2, expected, what);
    }
    if (n == 0) continue;
    if (n < 2) continue;
    for (const double ns :
         sdc::probe_multi_index(index.view(), 4, std::min<std::int64_t>(3, n - 1), 5000, 2)) {
      require(ns > 0, what + ": probe");
    }
  }
}

// Very many ties at the bound, so that hits are pruned while the search goes on.
void check_pruning(std::mt19937_64& random) {
  constexpr std::int64_t kCodes = 60000;
  Bytes codes(size(kCodes) * 8, 0x5a);
  for (std::size_t i = 0; i < size(kCodes); i += 3) codes[8 * i + 7] = 0x5b;
  for (std::size_t i = 30000; i < 30005; ++i) codes[8 * i] = 0;
  std::vector<std::uint32_t> rank(size(kCodes));
  std::iota(rank.begin(), rank.end(), 0u);
  std::shuffle(rank.begin(), rank.end(), random);
  Bytes queries(codes.begin(), codes.begin() + 16);
  queries[0] = 0x5b;
  const Index index(codes, kCodes, 64, 4, 2);
  for (const auto& filter : {sdc::MultiIndexFilter{}, sdc::MultiIndexFilter{rank.data(), nullptr, false}}) {
    Expected expected;
    for (int q = 0; q < 2; ++q)
      expected.push_back(brute_force(codes, kCodes, 8, queries.data() + 8 * q, filter));
    for (const std::int64_t k : {1, 10, 5000, 25000}) {
      check_topk(index, queries, 2, k, filter, 1e300, 2, expected, "pruning");
    }
  }
}

void check_damage(std::mt19937_64& random) {
  const Bytes codes = make_codes(Data::uniform, 1000, 64, random);
  const auto refused = [&](auto damage, const char* what) {
    Index index(codes, 1000, 64, 8, 1);
    damage(index);
    require(!sdc::multi_index_problem(index.view(), 2).empty(), what);
  };
  refused([](Index& i) { i.rows[777] = 1000; }, "a row beyond the codes is accepted");
  refused([](Index& i) { i.rows.back() = 0xffffffff; }, "a last row beyond the codes is accepted");
  refused([](Index& i) { i.offsets[0] = 1; }, "a first offset of 1 is accepted");
  refused([](Index& i) { i.offsets.back() = 999; }, "a short last offset is accepted");
  refused([](Index& i) { i.offsets[300] = 5; }, "falling offsets are accepted");
  refused([](Index& i) { i.offsets[3] = 1001; }, "an offset beyond the codes is accepted");
  refused([](Index& i) { i.shape.n_bits = 31; }, "31 bits are accepted");
  refused([](Index& i) { i.shape.n_bits = 264; }, "264 bits are accepted");
  refused([](Index& i) { i.shape.n_tables = 2; }, "substrings of 32 bits are accepted");
  refused([](Index& i) { i.shape.n_tables = 0; }, "no tables are accepted");
  refused([](Index& i) { i.shape.n = -1; }, "a negative count is accepted");
  // Arrays that pass but lie about the codes: any result will do, within memory.
  Index lies(codes, 1000, 64, 8, 1);
  for (auto& byte : lies.copies) byte = static_cast<std::uint8_t>(random());
  std::shuffle(lies.rows.begin(), lies.rows.end(), random);
  std::vector<std::int32_t> distances(20);
  Bytes finished(2);
  std::vector<std::int64_t> rows(20);
  sdc::multi_index_topk(lies.view(), codes.data(), 2, 10, {}, 1e300, 1, distances.data(), rows.data(),
                        finished.data());
}

void check_table_counts() {
  for (const std::int64_t n : {0LL, 1LL, 1000LL, 1000000LL, 10000000LL, 1000000000LL, 4294967295LL}) {
    for (int n_bits = sdc::kMinIndexedBits; n_bits <= sdc::kMaxIndexedBits; ++n_bits) {
      const sdc::MultiIndexShape shape{n, n_bits, sdc::best_table_count(n, n_bits)};
      require(shape.problem().empty(), shape.problem());
    }
  }
}

void check_all(std::uint64_t seed, bool quick) {
  std::mt19937_64 random(seed);
  check_table_counts();
  check_damage(random);
  check_pruning(random);
  for (int n_bytes = 4; n_bytes <= 32; ++n_bytes) {
    for (const int n_bits : {8 * n_bytes, 8 * n_bytes - (n_bytes > 4 ? n_bytes % 7 : 0)}) {
      for (const Data data : kAllData) {
        const std::int64_t n = quick ? 300 : 2000;
        check_case(data, n, n_bits, sdc::best_table_count(n, n_bits), random);
        check_case(data, n, n_bits, std::clamp(n_bits / 11, 2, sdc::kMaxTables), random);
      }
    }
  }
  for (const std::int64_t n : {0, 1, 2, 7, 255, 256, 257}) {
    for (const Data data : kAllData) check_case(data, n, 64, sdc::best_table_count(n, 64), random);
  }
  if (!quick) check_case(Data::uniform, 150000, 64, 4, random);
  if (!quick) check_case(Data::clustered, 150000, 128, 8, random);
  if (!quick) check_case(Data::all_equal, 150000, 32, 2, random);
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::string(argv[1]) == "quick";
  for (const sdc::Isa isa : sdc::available_isas()) {
    sdc::set_active_isa(isa);
    check_all(quick ? 7 : 1, quick);
    std::printf("%s: %d checks passed, %d queries answered by the tables\n", sdc::isa_name(isa), checks,
                by_tables);
  }
}
