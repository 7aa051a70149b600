// Dividing memory that a caller provides.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sdc::cuda {

// Hands out parts of a workspace one after another, each aligned to 16 bytes. Without memory it only counts.
class Parts {
 public:
  explicit Parts(void* workspace = nullptr) : base_(static_cast<unsigned char*>(workspace)) {}

  template <class T>
  T* take(std::int64_t n) {
    auto* part = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (sizeof(T) * static_cast<std::size_t>(n) + 15) / 16 * 16;
    return part;
  }

  std::size_t bytes() const { return bytes_; }

 private:
  unsigned char* base_;
  std::size_t bytes_ = 0;
};

}  // namespace sdc::cuda
