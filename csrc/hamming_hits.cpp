#include "hamming_hits.h"

#include <algorithm>
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

// One stable pass of a counting sort by digit_of(item), which is below n_digits.
template <class Item, class DigitOf>
void counting_pass(const std::vector<Item>& from, std::vector<Item>& to, DigitOf digit_of) {
  std::uint32_t starts[n_digits] = {};
  for (const Item& item : from) ++starts[digit_of(item)];
  std::uint32_t sum = 0;
  for (std::uint32_t& s : starts) s = std::exchange(sum, sum + s);
  for (const Item& item : from) to[starts[digit_of(item)]++] = item;
}

PackedHit hit_of(const Keyed& item) { return item.hit; }
std::uint64_t key_of(const Keyed& item) { return item.key; }
PackedHit hit_of(PackedHit hit) { return hit; }
std::uint64_t key_of(PackedHit hit) { return static_cast<std::uint64_t>(hit_key(hit)); }

// Stable by distance: the least significant digits first. A distance has at most 12 bits.
template <class Item>
void sort_by_distance(std::vector<Item>& items, std::vector<Item>& spare) {
  unsigned largest = 0;
  for (const Item& item : items) largest = std::max(largest, hit_distance(hit_of(item)));
  counting_pass(items, spare, [&](const Item& item) { return hit_distance(hit_of(item)) & (n_digits - 1); });
  items.swap(spare);
  if (largest < n_digits) return;
  counting_pass(items, spare, [&](const Item& item) { return hit_distance(hit_of(item)) >> kDigitBits; });
  items.swap(spare);
}

// By (distance, key).
template <class Item>
void sort_items(std::vector<Item>& items, bool keys_ascending) {
  if (items.size() <= small) {
    std::sort(items.begin(), items.end());
    return;
  }
  std::vector<Item> spare(items.size());
  if (!keys_ascending) {
    std::uint64_t largest = 0;
    for (const Item& item : items) largest = std::max(largest, key_of(item));
    for (int shift = 0; shift < 64 && (largest >> shift) != 0; shift += kDigitBits) {
      counting_pass(items, spare, [&](const Item& item) { return (key_of(item) >> shift) & (n_digits - 1); });
      items.swap(spare);
    }
  }
  sort_by_distance(items, spare);
}

// The smallest distance within which there are at least k hits; the largest of all when there are fewer.
unsigned distance_of_kth(const std::vector<PackedHit>& hits, std::int64_t k) {
  std::vector<std::int64_t> histogram(hit_distance(*std::max_element(hits.begin(), hits.end())) + 1);
  for (const PackedHit hit : hits) ++histogram[hit_distance(hit)];
  unsigned d = 0;
  for (std::int64_t within = histogram[0]; within < k && d + 1 < histogram.size(); within += histogram[++d]) {
  }
  return d;
}

}  // namespace

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
