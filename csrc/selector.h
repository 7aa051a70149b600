// The k best of a stream of items.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sdc {

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
