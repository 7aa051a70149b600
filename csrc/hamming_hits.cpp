#include "hamming_hits.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>

namespace sdc {
namespace {

struct Keyed {
  std::uint64_t key;
  PackedHit hit;
};

bool operator<(const Keyed& a, const Keyed& b) {
  const unsigned da = hit_distance(a.hit), db = hit_distance(b.hit);
  return da != db ? da < db : a.key < b.key;
}

// Below this many, comparing is faster than counting digits.
constexpr std::size_t small = 96;
constexpr int kDigitBits = 11;
constexpr std::size_t n_digits = std::size_t{1} << kDigitBits;

PackedHit hit_of(const Keyed& item) { return item.hit; }
std::uint64_t key_of(const Keyed& item) { return item.key; }
PackedHit hit_of(PackedHit hit) { return hit; }
std::uint64_t key_of(PackedHit hit) { return static_cast<std::uint64_t>(hit_key(hit)); }

// A least-significant-digit radix sort of n items. Each stable pass moves them to the other of two buffers.
template <class Item>
class RadixSort {
 public:
  RadixSort(Item* items, Item* spare, std::size_t n) : items_(items), spare_(spare), n_(n) {}

  // Stable by number_of(item), in as few digits as hold the largest number, all equally long.
  template <class NumberOf>
  void by(NumberOf number_of) {
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < n_; ++i) all |= number_of(items_[i]);
    const int bits = std::bit_width(all), passes = (bits + kDigitBits - 1) / kDigitBits;
    const int digit = passes == 0 ? 0 : (bits + passes - 1) / passes;
    for (int shift = 0; shift < bits; shift += digit) {
      const auto digit_of = [&](const Item& item) {
        return (number_of(item) >> shift) & ((1u << digit) - 1);
      };
      n_ <= UINT32_MAX ? pass<std::uint32_t>(digit, digit_of) : pass<std::uint64_t>(digit, digit_of);
    }
  }

  // The buffer that holds the items now.
  const Item* sorted() const { return items_; }

 private:
  // Small counts, so that they and the items share the first-level cache.
  template <class Count, class DigitOf>
  void pass(int digit_bits, DigitOf digit_of) {
    Count starts[n_digits];
    std::fill_n(starts, std::size_t{1} << digit_bits, Count{0});
    for (std::size_t i = 0; i < n_; ++i) ++starts[digit_of(items_[i])];
    Count sum = 0;
    for (std::size_t d = 0; d < std::size_t{1} << digit_bits; ++d)
      starts[d] = std::exchange(sum, static_cast<Count>(sum + starts[d]));
    for (std::size_t i = 0; i < n_; ++i) spare_[starts[digit_of(items_[i])]++] = items_[i];
    std::swap(items_, spare_);
  }

  Item* items_;
  Item* spare_;
  std::size_t n_;
};

// By (distance, key).
template <class Item>
void sort_items(std::vector<Item>& items, bool keys_ascending) {
  if (items.size() <= small) {
    std::sort(items.begin(), items.end());
    return;
  }
  const auto spare = std::make_unique_for_overwrite<Item[]>(items.size());
  RadixSort<Item> sort(items.data(), spare.get(), items.size());
  if (!keys_ascending) sort.by([](const Item& item) { return key_of(item); });
  sort.by([](const Item& item) { return std::uint64_t{hit_distance(hit_of(item))}; });
  if (sort.sorted() != items.data()) std::copy_n(sort.sorted(), items.size(), items.data());
}

void sort_ids(std::int64_t* ids, std::size_t n) {
  // Below this many, comparing is faster than counting digits in tables that are mostly empty.
  if (n <= 1024) {
    std::sort(ids, ids + n);
    return;
  }
  const auto spare = std::make_unique_for_overwrite<std::int64_t[]>(n);
  RadixSort<std::int64_t> sort(ids, spare.get(), n);
  sort.by([](std::int64_t id) { return static_cast<std::uint64_t>(id); });
  if (sort.sorted() != ids) std::copy_n(sort.sorted(), n, ids);
}

std::vector<std::int64_t> distance_histogram(const std::vector<PackedHit>& hits) {
  std::vector<std::int64_t> histogram(hit_distance(*std::max_element(hits.begin(), hits.end())) + 1);
  for (const PackedHit hit : hits) ++histogram[hit_distance(hit)];
  return histogram;
}

}  // namespace

unsigned distance_of_kth(const std::vector<PackedHit>& hits, std::int64_t k) {
  const std::vector<std::int64_t> histogram = distance_histogram(hits);
  unsigned d = 0;
  for (std::int64_t within = histogram[0]; within < k && d + 1 < histogram.size(); within += histogram[++d]) {
  }
  return d;
}

void HitOrder::keep_best(std::vector<PackedHit>& hits, std::int64_t k, bool rows_ascending,
                         std::vector<std::int64_t>* ids) const {
  if (static_cast<std::int64_t>(hits.size()) > std::max<std::int64_t>(k, small)) {
    const unsigned cut = distance_of_kth(hits, k);
    std::erase_if(hits, [&](PackedHit hit) { return hit_distance(hit) > cut; });
  }
  const std::size_t kept =
      static_cast<std::size_t>(std::min<std::int64_t>(k, static_cast<std::int64_t>(hits.size())));
  if (by_row() || keys_are_ids()) {
    sort_items(hits, by_row() && rows_ascending);
    hits.resize(kept);
    if (ids == nullptr) return;
    ids->resize(kept);
    for (std::size_t i = 0; i < kept; ++i) (*ids)[i] = id_of(hits[i]);
    return;
  }
  std::vector<Keyed> keyed(hits.size());
  for (std::size_t i = 0; i < hits.size(); ++i)
    keyed[i] = {static_cast<std::uint64_t>(id_of(hits[i])), hits[i]};
  sort_items(keyed, false);
  hits.resize(kept);
  for (std::size_t i = 0; i < kept; ++i) hits[i] = keyed[i].hit;
  if (ids == nullptr) return;
  ids->resize(kept);
  for (std::size_t i = 0; i < kept; ++i) (*ids)[i] = static_cast<std::int64_t>(keyed[i].key);
}

// Each distance has its place in the results, where its ids then are sorted on their own.
void HitOrder::write_all(std::vector<PackedHit>&& all, bool rows_ascending, std::int32_t* distances,
                         std::int64_t* ids) const {
  std::vector<PackedHit> hits = std::move(all);
  if (hits.empty()) return;
  std::vector<std::int64_t> ends = distance_histogram(hits);
  std::int64_t sum = 0;
  for (std::size_t d = 0; d < ends.size(); ++d) {
    std::fill_n(distances + sum, ends[d], static_cast<std::int32_t>(d));
    ends[d] = std::exchange(sum, sum + ends[d]);
  }
  for (const PackedHit hit : hits) ids[ends[hit_distance(hit)]++] = id_of(hit);
  if (by_row() && rows_ascending) return;
  std::vector<PackedHit>().swap(hits);
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    sort_ids(ids + begin, static_cast<std::size_t>(end - begin));
    begin = end;
  }
}

HitCollector::HitCollector(const HitOrder& order, std::size_t n_queries, int bits, std::int64_t k,
                           std::int64_t n_rows, const std::vector<int>& thresholds)
    : order_(order),
      bits_(bits),
      k_(k),
      by_row_(order.by_row()),
      counting_(k <= 256),
      // Room to work in, so that dropping is rare; more than there are rows is never used.
      most_hits_(k == kUnlimited ? SIZE_MAX : static_cast<std::size_t>(std::min(2 * k + 1024, n_rows + 1))),
      best_(n_queries) {
  for (std::size_t q = 0; q < n_queries; ++q) best_[q].threshold = thresholds[q];
  if (counting_) histogram_.resize(n_queries * static_cast<std::size_t>(bits + 1));
}

bool HitCollector::count(std::size_t query, unsigned distance) {
  std::uint32_t* histogram = &histogram_[query * static_cast<std::size_t>(bits_ + 1)];
  int& threshold = best_[query].threshold;
  std::int64_t& within = best_[query].within;
  ++histogram[distance];
  ++within;
  const int before = threshold;
  if (by_row_) {
    // k rows at the threshold or nearer came first: a later one must be nearer.
    while (within >= k_ && threshold >= 0) within -= histogram[threshold--];
  } else {
    while (threshold > 0 && within - histogram[threshold] >= k_) within -= histogram[threshold--];
  }
  return threshold != before;
}

// Keeps the best k and takes the threshold from them. They come out ordered by distance, not by row.
bool HitCollector::drop_beaten(std::size_t query) {
  Best& best = best_[query];
  order_.keep_best(best.hits, k_, false, nullptr);
  best.rows_ascending = false;
  const int before = best.threshold;
  lower_threshold(query, static_cast<int>(hit_distance(best.hits.back())) - by_row_);
  if (counting_) {
    std::uint32_t* histogram = &histogram_[query * static_cast<std::size_t>(bits_ + 1)];
    std::fill_n(histogram, bits_ + 1, 0u);
    best.within = 0;
    for (const PackedHit hit : best.hits) {
      ++histogram[hit_distance(hit)];
      best.within += static_cast<int>(hit_distance(hit)) <= best.threshold;
    }
  }
  return best.threshold != before;
}

}  // namespace sdc
