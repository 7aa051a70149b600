// The order of real numbers that a stable ascending sort gives, with its indices.
#pragma once

#include <cstdint>
#include <vector>

namespace sdc {

// A number as an unsigned key whose order is the numbers': -0 and +0 are one key. NaN has no place in it.
inline std::uint32_t order_key(float value) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value + 0.0f);
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}

inline std::uint64_t order_key(double value) {
  const std::uint64_t bits = __builtin_bit_cast(std::uint64_t, value + 0.0);
  return bits ^ ((bits >> 63) != 0 ? ~std::uint64_t{0} : std::uint64_t{1} << 63);
}

inline float number_of_key(std::uint32_t key) {
  return __builtin_bit_cast(float, key ^ ((key >> 31) != 0 ? 0x80000000u : 0xffffffffu));
}

inline double number_of_key(std::uint64_t key) {
  return __builtin_bit_cast(double, key ^ ((key >> 63) != 0 ? std::uint64_t{1} << 63 : ~std::uint64_t{0}));
}

// A key and its index, ordered by both, so that any sort of them is a stable sort of the keys.
template <class T>
struct Ranked;

template <>
struct Ranked<float> {
  std::uint64_t packed;

  static Ranked of(float value, std::int64_t index) {
    return {static_cast<std::uint64_t>(order_key(value)) << 32 | static_cast<std::uint32_t>(index)};
  }
  std::int64_t index() const { return static_cast<std::uint32_t>(packed); }
  float value() const { return number_of_key(static_cast<std::uint32_t>(packed >> 32)); }
  bool operator<(const Ranked& other) const { return packed < other.packed; }
};

template <>
struct Ranked<double> {
  std::uint64_t key, position;

  static Ranked of(double value, std::int64_t index) {
    return {order_key(value), static_cast<std::uint64_t>(index)};
  }
  std::int64_t index() const { return static_cast<std::int64_t>(position); }
  double value() const { return number_of_key(key); }
  bool operator<(const Ranked& other) const {
    return key != other.key ? key < other.key : position < other.position;
  }
};

// Sorts rows; its memory is kept for the next row. One object serves one caller at a time.
template <class T>
class StableOrder {
 public:
  // The n numbers in ascending order, equal ones by index. No number is NaN, all lie in [low, high], and
  // 1 <= n < 2^32. The result is valid until the next call. At worst it takes O(n log n) comparisons.
  // What is too long for the cache is divided between `threads` threads; the result is the same.
  const Ranked<T>* sort(const T* values, std::int64_t n, T low, T high, int threads);

 private:
  const Ranked<T>* sort_partitioned(const T* values, std::int64_t n, T low, T high, int threads);

  std::vector<Ranked<T>> items_, other_;
};

extern template class StableOrder<float>;
extern template class StableOrder<double>;

}  // namespace sdc
