// The k best of a stream.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sdc {

struct Hit {
  std::int32_t distance;
  std::int64_t id;

  bool before(const Hit& other) const {
    return distance != other.distance ? distance < other.distance : id < other.id;
  }
};

// By counting, which needs no heap since distances are small integers. An item's id is its row. Rows must be
// offered in ascending order: a later row then loses every tie, so that once k items lie at or below some
// distance t only distances below t are still wanted. That t is the selector's bound.
class CountingSelector {
 public:
  CountingSelector(std::int64_t k, std::int32_t max_distance)
      : k_(k), bound_(max_distance + 1), counts_(static_cast<std::size_t>(max_distance) + 2) {}

  // Only distances below the bound can still be among the k smallest.
  std::int32_t bound() const { return bound_; }

  // Requires distance < bound().
  void accept(std::int32_t distance, std::int64_t row) {
    hits_.push_back({distance, row});
    ++counts_[static_cast<std::size_t>(distance)];
    if (++below_ >= k_) tighten();
  }

  // The k smallest (fewer if fewer were offered), ordered by (distance, row). Ends the selector's use.
  std::vector<Hit> finish() {
    discard_beyond_bound();
    std::stable_sort(hits_.begin(), hits_.end(),
                     [](const Hit& a, const Hit& b) { return a.distance < b.distance; });
    if (static_cast<std::int64_t>(hits_.size()) > k_) hits_.resize(static_cast<std::size_t>(k_));
    return std::move(hits_);
  }

 private:
  void tighten() {
    while (below_ >= k_) below_ -= counts_[static_cast<std::size_t>(--bound_)];
    if (static_cast<std::int64_t>(hits_.size()) > 2 * k_ + 1024) discard_beyond_bound();
  }

  void discard_beyond_bound() {
    std::int64_t at_bound = k_ - below_;  // the first rows at the bound itself still belong to the k smallest
    std::erase_if(hits_, [&](const Hit& hit) {
      return hit.distance > bound_ || (hit.distance == bound_ && at_bound-- <= 0);
    });
  }

  std::int64_t k_;
  std::int64_t below_ = 0;  // hits with distance < bound_, always fewer than k_
  std::int32_t bound_;
  std::vector<std::int64_t> counts_;
  std::vector<Hit> hits_;
};

// In any order: a buffer that is cut back to its k best whenever it is full, so that an item costs O(1) on
// average and memory O(k). `Item::before` is a strict total order.
template <class Item>
class BufferedSelector {
 public:
  explicit BufferedSelector(std::int64_t k) : k_(static_cast<std::size_t>(k)) {}

  // The k-th best as of the last cut, or null before the first one: what is not before it is not wanted.
  const Item* worst() const { return full_ ? &worst_ : nullptr; }

  void accept(const Item& item) {
    if (full_ && !item.before(worst_)) return;
    items_.push_back(item);
    if (items_.size() >= 2 * k_ + 1024) cut();
  }

  // The k best (fewer if fewer were offered), best first. Ends the selector's use.
  std::vector<Item> finish() {
    if (items_.size() > k_) cut();
    std::sort(items_.begin(), items_.end(), Before());
    return std::move(items_);
  }

 private:
  struct Before {
    bool operator()(const Item& a, const Item& b) const { return a.before(b); }
  };

  void cut() {
    const auto last = items_.begin() + static_cast<std::ptrdiff_t>(k_) - 1;
    std::nth_element(items_.begin(), last, items_.end(), Before());
    worst_ = *last;
    full_ = true;
    items_.resize(k_);
  }

  std::size_t k_;
  std::vector<Item> items_;
  Item worst_{};
  bool full_ = false;
};

}  // namespace sdc
