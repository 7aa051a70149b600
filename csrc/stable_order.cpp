#include "stable_order.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "threads.h"

namespace sdc {
namespace {

constexpr std::int64_t kInsertion = 48;        // up to here insertion alone is fastest
constexpr std::int64_t kSmallDigits = 2048;    // up to here two digits of 8 bits leave few inversions
constexpr std::int64_t kInCache = 128 * 1024;  // above, items leave the second-level cache between passes
constexpr std::int64_t kBucket = 4096;         // a part's wanted size
constexpr std::int64_t kMaxBuckets = 2048;

// Finishes a nearly sorted sequence. Where it is not, which values crowded into a small part of their range
// cause, a comparison sort takes over before the cost turns quadratic.
template <class T>
void finish(Ranked<T>* items, std::int64_t n) {
  std::int64_t moves_left = 4 * n + 1024;
  for (std::int64_t i = 1; i < n; ++i) {
    if (!(items[i] < items[i - 1])) continue;
    const Ranked<T> item = items[i];
    std::int64_t j = i;
    do {
      items[j] = items[j - 1];
      --j;
    } while (j > 0 && item < items[j - 1]);
    items[j] = item;
    moves_left -= i - j;
    if (moves_left < 0) {
      std::sort(items, items + n);
      return;
    }
  }
}

// Maps [low, high] linearly to the integers [0, cells), in a way that keeps the order.
template <class T>
struct Grid {
  T low, scale;

  Grid(T lowest, T highest, std::int64_t cells)
      : low(lowest), scale((static_cast<T>(cells) - 2) / (highest - lowest)) {}
  // False for infinite numbers and for ranges too small or large for the arithmetic.
  bool usable() const { return std::isfinite(scale) && scale > 0 && std::isfinite(low); }
  std::uint32_t operator()(T value) const {
    return static_cast<std::uint32_t>(static_cast<std::int32_t>((value - low) * scale));
  }
};

template <class Count>
void to_offsets(Count* counts, std::int64_t n) {
  Count total = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const Count count = counts[i];
    counts[i] = total;
    total += count;
  }
}

// A radix sort of the two digits that a grid gives, least significant first; what the grid cannot tell apart
// is left to finish(). `get(i)` is the i-th item.
template <int kBits, class T, class Get>
void sort_digits(const Get& get, std::int64_t n, const Grid<T>& grid, Ranked<T>* between, Ranked<T>* out) {
  constexpr std::uint32_t kDigits = 1u << kBits;
  std::uint32_t low_digit[kDigits] = {}, high_digit[kDigits] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t cell = grid(get.value(i));
    ++low_digit[cell % kDigits];
    ++high_digit[cell / kDigits];
  }
  to_offsets(low_digit, kDigits);
  to_offsets(high_digit, kDigits);
  for (std::int64_t i = 0; i < n; ++i) between[low_digit[grid(get.value(i)) % kDigits]++] = get.item(i);
  for (std::int64_t i = 0; i < n; ++i) {
    out[high_digit[grid(between[i].value()) / kDigits]++] = between[i];
  }
  finish(out, n);
}

template <class T>
struct FromValues {
  const T* values;
  T value(std::int64_t i) const { return values[i]; }
  Ranked<T> item(std::int64_t i) const { return Ranked<T>::of(values[i], i); }
};

template <class T>
struct FromItems {
  const Ranked<T>* items;
  T value(std::int64_t i) const { return items[i].value(); }
  Ranked<T> item(std::int64_t i) const { return items[i]; }
};

// Sorts n items that lie in [low, high] into `out`, by way of `between`; get may read from `out`.
template <class T, class Get>
void sort_in_cache(const Get& get, std::int64_t n, T low, T high, Ranked<T>* between, Ranked<T>* out) {
  const bool small = n <= kSmallDigits;
  const Grid<T> grid(low, high, small ? 1 << 16 : 1 << 22);
  if (n > kInsertion && low < high && grid.usable()) {
    return small ? sort_digits<8>(get, n, grid, between, out) : sort_digits<11>(get, n, grid, between, out);
  }
  for (std::int64_t i = 0; i < n; ++i) out[i] = get.item(i);
  finish(out, n);
}

}  // namespace

template <class T>
const Ranked<T>* StableOrder<T>::sort(const T* values, std::int64_t n, T low, T high, int threads) {
  if (static_cast<std::int64_t>(items_.size()) < n) {
    items_.resize(static_cast<std::size_t>(n));
    other_.resize(static_cast<std::size_t>(n));
  }
  if (n > kInCache) return sort_partitioned(values, n, low, high, threads);
  sort_in_cache(FromValues<T>{values}, n, low, high, other_.data(), items_.data());
  return items_.data();
}

template <class T>
const Ranked<T>* StableOrder<T>::sort_partitioned(const T* values, std::int64_t n, T low, T high,
                                                  int threads) {
  const std::int64_t n_buckets = std::min(kMaxBuckets, n / kBucket);
  const Grid<T> grid(low, high, n_buckets);
  if (!grid.usable()) {
    sort_in_cache(FromValues<T>{values}, n, low, high, other_.data(), items_.data());
    return items_.data();
  }

  // offsets[chunk][bucket]: where the chunk's first item of that bucket goes.
  const std::int64_t n_chunks = threads > 1 ? 4 * threads : 1;
  std::vector<std::uint32_t> offsets(static_cast<std::size_t>(n_chunks * n_buckets));
  const auto begin_of = [&](std::int64_t chunk) { return n * chunk / n_chunks; };
  parallel_for(n_chunks, threads, [&](std::int64_t chunk, int) {
    std::uint32_t* counts = offsets.data() + chunk * n_buckets;
    for (std::int64_t i = begin_of(chunk); i < begin_of(chunk + 1); ++i) ++counts[grid(values[i])];
  });
  std::vector<std::int64_t> begins(static_cast<std::size_t>(n_buckets) + 1);
  std::uint32_t total = 0;
  for (std::int64_t bucket = 0; bucket < n_buckets; ++bucket) {
    begins[static_cast<std::size_t>(bucket)] = total;
    for (std::int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      std::uint32_t& offset = offsets[static_cast<std::size_t>(chunk * n_buckets + bucket)];
      total += std::exchange(offset, total);
    }
  }
  begins.back() = n;
  parallel_for(n_chunks, threads, [&](std::int64_t chunk, int) {
    std::uint32_t* offset = offsets.data() + chunk * n_buckets;
    for (std::int64_t i = begin_of(chunk); i < begin_of(chunk + 1); ++i) {
      items_[offset[grid(values[i])]++] = Ranked<T>::of(values[i], i);
    }
  });

  parallel_for(n_buckets, threads, [&](std::int64_t bucket, int) {
    const std::int64_t begin = begins[static_cast<std::size_t>(bucket)];
    const std::int64_t size = begins[static_cast<std::size_t>(bucket) + 1] - begin;
    if (size < 2) return;
    Ranked<T>* items = items_.data() + begin;
    T lowest = items[0].value(), highest = lowest;
    for (std::int64_t i = 1; i < size; ++i) {
      lowest = std::min(lowest, items[i].value());
      highest = std::max(highest, items[i].value());
    }
    sort_in_cache(FromItems<T>{items}, size, lowest, highest, other_.data() + begin, items);
  });
  return items_.data();
}

template class StableOrder<float>;
template class StableOrder<double>;

}  // namespace sdc
