// Every instruction-set level, method and width of the Hamming engine against brute force. Prints what
// differs; exits with 1 if anything does.
#include "../../csrc/hamming.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../csrc/hamming_cost.h"
#include "../../csrc/hamming_kernels.h"
#include "../../csrc/threads.h"

using namespace sdc;

namespace {

using Bytes = std::vector<std::uint8_t>;

long n_checks = 0, n_failures = 0;

void expect(bool ok, const std::string& what) {
  ++n_checks;
  if (ok) return;
  if (++n_failures <= 20) std::printf("FAILED %s [%s]\n", what.c_str(), isa_name(active_isa()));
}

std::mt19937_64 generator(20260101);

Bytes random_bytes(std::size_t n) {
  Bytes bytes(n);
  for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(generator());
  return bytes;
}

int bit_by_bit(const std::uint8_t* a, const std::uint8_t* b, std::int64_t n_bytes) {
  int d = 0;
  for (std::int64_t i = 0; i < 8 * n_bytes; ++i)
    d += ((a[i / 8] >> (i % 8)) & 1) != ((b[i / 8] >> (i % 8)) & 1);
  return d;
}

struct Neighbour {
  int distance;
  std::int64_t id;
  bool operator<(const Neighbour& other) const {
    return distance != other.distance ? distance < other.distance : id < other.id;
  }
};

struct Case {
  std::string name;
  std::int64_t n, n_bytes, n_queries;
  Bytes codes, queries;
  std::vector<char> allowed;      // empty: no mask
  std::vector<std::int64_t> ids;  // empty: rows
  bool ascending = false;
  std::int64_t largest_id = INT64_MAX;

  HammingCodes view() const { return {codes.data(), n, n_bytes}; }
  HammingIds id_view() const { return {ids.empty() ? nullptr : ids.data(), ascending, largest_id}; }
  Bytes packed_mask() const {
    Bytes packed((allowed.size() + 7) / 8);
    for (std::size_t i = 0; i < allowed.size(); ++i)
      packed[i / 8] |= static_cast<std::uint8_t>(allowed[i] << (7 - i % 8));
    return packed;
  }
  std::vector<Neighbour> sorted(std::int64_t query) const {
    std::vector<Neighbour> all;
    for (std::int64_t i = 0; i < n; ++i) {
      if (!allowed.empty() && !allowed[static_cast<std::size_t>(i)]) continue;
      all.push_back({bit_by_bit(&codes[static_cast<std::size_t>(i * n_bytes)],
                                &queries[static_cast<std::size_t>(query * n_bytes)], n_bytes),
                     ids.empty() ? i : ids[static_cast<std::size_t>(i)]});
    }
    std::sort(all.begin(), all.end());
    return all;
  }
};

// Ids that fit beside a distance, or ids beyond 2^61.
void shuffle_ids(Case& c, bool small) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(c.n));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
  std::shuffle(order.begin(), order.end(), generator);
  c.ids.resize(order.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    c.ids[i] = order[i] * 1000003 + (small ? 7 : std::int64_t{1} << 61);
  c.largest_id = small ? 1000003 * c.n + 7 : INT64_MAX;
}

void check_topk(const Case& c, const std::vector<std::vector<Neighbour>>& expected, std::int64_t k,
                const HammingMask& mask, int threads, const std::string& how) {
  const std::size_t size = static_cast<std::size_t>(c.n_queries * k);
  std::vector<std::int32_t> distances(size, -7);
  std::vector<std::int64_t> ids(size, -7);
  hamming_topk(c.view(), c.queries.data(), c.n_queries, k, mask, c.id_view(), threads, distances.data(),
               ids.data());
  bool same = true;
  for (std::int64_t q = 0; q < c.n_queries; ++q) {
    const auto& all = expected[static_cast<std::size_t>(q)];
    for (std::int64_t j = 0; j < k; ++j) {
      const std::size_t at = static_cast<std::size_t>(q * k + j);
      const bool there = j < static_cast<std::int64_t>(all.size());
      same &= distances[at] == (there ? all[static_cast<std::size_t>(j)].distance : kNoDistance);
      same &= ids[at] == (there ? all[static_cast<std::size_t>(j)].id : kNoId);
    }
  }
  expect(same, c.name + " top-" + std::to_string(k) + " threads " + std::to_string(threads) + how);
}

void check_range(const Case& c, const std::vector<std::vector<Neighbour>>& expected, std::int64_t radius,
                 const HammingMask& mask, int threads) {
  const HammingRange range =
      hamming_range(c.view(), c.queries.data(), c.n_queries, radius, mask, c.id_view(), threads);
  bool same = range.lims.size() == static_cast<std::size_t>(c.n_queries) + 1 && range.lims[0] == 0;
  std::size_t at = 0;
  for (std::size_t q = 0; same && q < expected.size(); ++q) {
    for (const Neighbour& neighbour : expected[q]) {
      if (neighbour.distance > radius) break;
      same = same && at < range.ids.size() && range.ids[at] == neighbour.id &&
             range.distances[at] == neighbour.distance;
      ++at;
    }
    same = same && range.lims[q + 1] == static_cast<std::int64_t>(at);
  }
  expect(same && range.ids.size() == at && range.distances.size() == at,
         c.name + " radius " + std::to_string(radius));
}

void check_distances(const Case& c) {
  std::vector<std::int32_t> distances(static_cast<std::size_t>(c.n * c.n_queries), -7);
  hamming_distance(c.view(), c.queries.data(), c.n_queries, 2, distances.data());
  bool same = true;
  for (std::int64_t q = 0; q < c.n_queries; ++q) {
    for (std::int64_t i = 0; i < c.n; ++i) {
      same &= distances[static_cast<std::size_t>(q * c.n + i)] ==
              bit_by_bit(&c.codes[static_cast<std::size_t>(i * c.n_bytes)],
                         &c.queries[static_cast<std::size_t>(q * c.n_bytes)], c.n_bytes);
    }
  }
  expect(same, c.name + " distances");
}

void check_case(const Case& c, const std::vector<Isa>& isas, const std::vector<std::int64_t>& ks) {
  std::vector<std::vector<Neighbour>> expected;
  for (std::int64_t q = 0; q < c.n_queries; ++q) expected.push_back(c.sorted(q));
  const Bytes packed = c.packed_mask();
  const Bytes bools(c.allowed.begin(), c.allowed.end());
  for (const Isa isa : isas) {
    set_active_isa(isa);
    for (const std::int64_t k : ks) {
      for (const int threads : {1, 3}) {
        if (c.allowed.empty()) {
          check_topk(c, expected, k, {}, threads, "");
        } else {
          check_topk(c, expected, k, {packed.data(), true}, threads, " packed");
          check_topk(c, expected, k, {bools.data(), false}, threads, " bools");
        }
      }
    }
    const HammingMask mask = c.allowed.empty() ? HammingMask{} : HammingMask{packed.data(), true};
    for (const std::int64_t radius :
         {std::int64_t{-1}, std::int64_t{0}, 3 * c.n_bytes, 8 * c.n_bytes, 100000 * c.n_bytes}) {
      check_range(c, expected, radius, mask, 2);
    }
    check_distances(c);
  }
}

Case make_case(const std::string& name, std::int64_t n, std::int64_t n_bytes, std::int64_t n_queries) {
  return {.name = name + " n=" + std::to_string(n) + " bytes=" + std::to_string(n_bytes) +
                  " q=" + std::to_string(n_queries),
          .n = n,
          .n_bytes = n_bytes,
          .n_queries = n_queries,
          .codes = random_bytes(static_cast<std::size_t>(n * n_bytes)),
          .queries = random_bytes(static_cast<std::size_t>(n_queries * n_bytes)),
          .allowed = {},
          .ids = {}};
}

// Few distinct codes, so that nearly everything is tied.
void make_tied(Case& c, int distinct) {
  for (std::int64_t i = 0; i < c.n; ++i) {
    const std::int64_t from = static_cast<std::int64_t>(generator() % static_cast<unsigned>(distinct));
    if (from < i)
      std::memcpy(&c.codes[static_cast<std::size_t>(i * c.n_bytes)],
                  &c.codes[static_cast<std::size_t>(from * c.n_bytes)], static_cast<std::size_t>(c.n_bytes));
  }
}

void set_mask(Case& c, double kept) {
  c.allowed.resize(static_cast<std::size_t>(c.n));
  for (char& a : c.allowed) a = static_cast<double>(generator() % 1000000) < kept * 1e6;
}

void test_engine(const std::vector<Isa>& isas, bool thorough) {
  const std::vector<std::int64_t> widths = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256};
  for (const std::int64_t bytes : widths) {
    for (const std::int64_t queries : {1, 40}) {
      for (const std::int64_t n : {0, 1, 127, 128, 129, 255, 256, 257, 511, 513, 1500}) {
        if (!thorough && n != 257 && n != 1500) continue;
        check_case(make_case("random", n, bytes, queries), isas, {1, 10, 2 * n + 3});
      }
      Case tied = make_case("tied", 1100, bytes, queries);
      make_tied(tied, 5);
      check_case(tied, isas, {7, 600});
      shuffle_ids(tied, queries == 1);
      tied.name += " shuffled";
      check_case(tied, isas, {7, 600, 1100});
      Case equal = make_case("equal", 3000, bytes, queries);
      make_tied(equal, 1);
      equal.queries.assign(equal.queries.size(), equal.codes[0]);
      check_case(equal, isas, {5});
      shuffle_ids(equal, queries == 1);
      check_case(equal, isas, {5});
      for (const double kept : {0.0, .01, .4, .9, 1.0}) {
        Case masked = make_case("masked " + std::to_string(kept), 1300, bytes, queries);
        set_mask(masked, kept);
        check_case(masked, isas, {9, 1500});
      }
    }
  }
}

// The codes approach the query one after another, so every one of them is a hit.
void test_descending(const std::vector<Isa>& isas) {
  for (const std::int64_t queries : {1, 30}) {
    Case c = make_case("descending", 20000, 8, queries);
    std::vector<std::pair<int, std::int64_t>> order;
    for (std::int64_t i = 0; i < c.n; ++i)
      order.push_back({-bit_by_bit(&c.codes[static_cast<std::size_t>(8 * i)], c.queries.data(), 8), i});
    std::sort(order.begin(), order.end());
    const Bytes codes = c.codes;
    for (std::int64_t i = 0; i < c.n; ++i) {
      std::memcpy(&c.codes[static_cast<std::size_t>(8 * i)],
                  &codes[static_cast<std::size_t>(8 * order[static_cast<std::size_t>(i)].second)], 8);
    }
    check_case(c, isas, {10, 700});
    shuffle_ids(c, queries == 1);
    check_case(c, isas, {10, 700});
  }
}

// Large enough that thresholds come from a sample; the second half of the rows hides the near ones from it or
// holds them all.
void test_sampling(const std::vector<Isa>& isas) {
  for (const bool clustered : {false, true}) {
    for (const std::int64_t queries : {2, 70}) {
      Case c = make_case(clustered ? "sample of clusters" : "sample", 300000, 8, queries);
      if (clustered) {
        for (std::int64_t i = 5000; i < 9000; ++i) {
          std::memcpy(&c.codes[static_cast<std::size_t>(8 * i)],
                      &c.queries[static_cast<std::size_t>(8 * (i % queries))], 8);
          c.codes[static_cast<std::size_t>(8 * i)] ^= static_cast<std::uint8_t>(i);
        }
      }
      std::vector<std::vector<Neighbour>> expected;
      for (std::int64_t q = 0; q < queries; ++q) expected.push_back(c.sorted(q));
      for (const Isa isa : isas) {
        set_active_isa(isa);
        for (const std::int64_t k : {40, 1000, 4000}) check_topk(c, expected, k, {}, 2, " sampled");
      }
    }
  }
}

// The kernels themselves: every method at its own width, whatever the cost model would choose.
void test_kernels(const std::vector<Isa>& isas) {
  for (const Isa isa : isas) {
    set_active_isa(isa);
    const HammingKernels& kernels = hamming_kernels(isa);
    const std::size_t block = static_cast<std::size_t>(kernels.block_codes());
    for (int c = 0; c < kSlicedClasses; ++c) {
      const std::size_t bytes = static_cast<std::size_t>(class_bytes(c));
      constexpr std::size_t n_queries = 33;
      const Bytes codes = random_bytes(block * bytes), queries = random_bytes(n_queries * bytes);
      for (const SlicedKernel* s : {&kernels.sliced_by_3[c], &kernels.sliced_by_7[c]}) {
        std::vector<char> memory(s->plane_bytes + s->table_bytes + (n_queries + 1) * block / 8 + 4 * 64);
        char* at = memory.data();
        const auto take = [&](std::size_t size) {
          at += (64 - reinterpret_cast<std::uintptr_t>(at) % 64) % 64;
          return std::exchange(at, at + size);
        };
        void* planes = take(s->plane_bytes);
        void* tables = take(s->table_bytes);
        const auto masks = reinterpret_cast<std::uint64_t*>(take((n_queries + 1) * block / 8));
        std::vector<std::uint16_t> records(n_queries * s->record_length);
        std::vector<std::uint32_t> all(n_queries), found(n_queries + 1);
        s->build(codes.data(), planes, tables);
        for (unsigned threshold = 0; threshold <= s->max_threshold; threshold += 1 + s->max_threshold / 9) {
          std::size_t expected = 0;
          for (std::size_t q = 0; q < n_queries; ++q) {
            all[q] = static_cast<std::uint32_t>(q);
            s->encode(&queries[q * bytes], &records[q * s->record_length]);
            s->set_threshold(threshold, &records[q * s->record_length]);
            for (std::size_t i = 0; i < block; ++i) {
              expected += bit_by_bit(&codes[i * bytes], &queries[q * bytes],
                                     static_cast<std::int64_t>(bytes)) <= static_cast<int>(threshold);
            }
          }
          const std::size_t m = s->scan(tables, records.data(), all.data(), n_queries, masks, found.data());
          std::vector<Hit> hits(n_queries * block);
          const std::size_t n_hits =
              kernels.verify[c](codes.data(), block, queries.data(), masks, found.data(), m, hits.data());
          bool same = n_hits == expected;
          for (std::size_t h = 0; same && h < n_hits; ++h) {
            same =
                hits[h].distance <= threshold &&
                hits[h].distance == bit_by_bit(&codes[hits[h].row * bytes], &queries[hits[h].query * bytes],
                                               static_cast<std::int64_t>(bytes)) &&
                (h == 0 || hits[h - 1].query < hits[h].query ||
                 (hits[h - 1].query == hits[h].query && hits[h - 1].row < hits[h].row));
          }
          expect(same,
                 "kernel of " + std::to_string(bytes) + " bytes, threshold " + std::to_string(threshold));
        }
      }
    }
  }
}

void test_limits() {
  const Bytes code(300);
  std::int32_t distance;
  std::int64_t id;
  const auto throws = [](const auto& call) {
    try {
      call();
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  expect(throws([&] { hamming_topk({code.data(), 1, 257}, code.data(), 1, 1, {}, {}, 1, &distance, &id); }),
         "257 bytes");
  expect(throws([&] { hamming_topk({code.data(), 1, 8}, code.data(), 1, -1, {}, {}, 1, &distance, &id); }),
         "k = -1");
  expect(throws([&] {
           hamming_topk({code.data(), 1, 8}, code.data(), 1, 1ll << 31, {}, {}, 1, &distance, &id);
         }),
         "k = 2^31");
  hamming_topk({nullptr, 0, 8}, code.data(), 1, 1, {}, {}, 1, &distance, &id);
  expect(distance == kNoDistance && id == kNoId, "no codes");
}

void test_fork(const std::vector<Isa>& isas) {
  const Case c = make_case("fork", 20000, 8, 20);
  std::vector<std::vector<Neighbour>> expected;
  for (std::int64_t q = 0; q < c.n_queries; ++q) expected.push_back(c.sorted(q));
  set_active_isa(isas.back());
  check_topk(c, expected, 10, {}, 3, " before fork");
  const pid_t child = fork();
  if (child == 0) {
    n_failures = 0;
    check_topk(c, expected, 10, {}, 3, " in the child");
    _exit(n_failures != 0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  expect(status == 0, "search in a forked child");
  check_topk(c, expected, 10, {}, 3, " after fork");
}

}  // namespace

int main(int argc, char** argv) {
  const bool thorough = argc > 1 && std::string(argv[1]) == "thorough";
  const std::vector<Isa> isas = available_isas();
  for (const Isa isa : isas) std::printf("%s ", isa_name(isa));
  std::fflush(stdout);
  test_kernels(isas);
  test_limits();
  test_engine(isas, thorough);
  test_descending(isas);
  test_sampling(isas);
  // qemu-user 7.2 aborts in the child of a process with threads.
  if (!(argc > 1 && std::string(argv[1]) == "no-fork")) test_fork(isas);
  std::printf("%ld checks, %ld failures\n", n_checks, n_failures);
  return n_failures != 0;
}
