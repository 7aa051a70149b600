// Exact Hamming search on a CUDA device: the contracts of csrc/hamming.h, over memory of the device.
//
// All pointers are to memory of `device`, without alignment except that of their type; codes are n rows of
// n_bytes bytes each, n_bytes from 1 to 256 and n below 2^31. Everything is put on `stream` and nothing waits
// for it. Nothing is allocated: the caller passes a workspace of workspace_bytes(), aligned to 16 bytes,
// which may be used for something else on the same stream as soon as a function returns.
//
// Results are ordered by (distance, row); ties, also at the cut, go to the smaller row. They do not depend on
// how many multiprocessors the device has.
//
// Throws std::invalid_argument when a number is outside the limits given here, std::runtime_error where the
// CUDA runtime reports an error.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace sdc::cuda {

constexpr int kMaxCodeBytes = 256;

struct Codes {
  const std::uint8_t* data;
  std::int64_t n;
  int n_bytes;
};

// Which rows may be returned; without data, all. Bits beyond row n are not read.
struct Mask {
  const std::uint8_t* data = nullptr;
  bool packed = false;  // true: bit 7 - r % 8 of byte r / 8 (numpy.packbits), false: byte r, 0 or 1
};

struct Queries {
  const std::uint8_t* data;
  int n;
};

// Memory of the caller for working in.
struct Workspace {
  void* data;
  std::size_t bytes;
};

struct Target {
  int device;
  cudaStream_t stream;
};

// The most queries of one call.
int max_queries(int n_bytes);

// The bytes of workspace that a search of so many rows and queries needs on a device.
std::size_t workspace_bytes(std::int64_t n, int n_bytes, int n_queries, int device);

// The k nearest rows of each query: distances and ids are (n_queries, k). Where fewer than k rows qualify,
// the rest is 2^31 - 1 and -1. 1 <= k < 2^31.
void hamming_topk(const Codes& codes, const Queries& queries, std::int64_t k, const Mask& mask,
                  const Workspace& workspace, std::int32_t* distances, std::int64_t* ids,
                  const Target& target);

// All rows at a distance of at most `radius`, in two calls with the same workspace, untouched between them:
// the first writes how many hits each query has to `counts`; the second writes the hits of query q to the
// entries of distances and ids from first[q] on, where `first` holds the sums of the counts before each
// query.
void hamming_range_count(const Codes& codes, const Queries& queries, int radius, const Mask& mask,
                         const Workspace& workspace, std::int64_t* counts, const Target& target);
void hamming_range_emit(const Codes& codes, const Queries& queries, const Mask& mask,
                        const Workspace& workspace, const std::int64_t* first, std::int32_t* distances,
                        std::int64_t* ids, const Target& target);

// All distances: (n_queries, n).
void hamming_distance(const Codes& codes, const Queries& queries, std::int32_t* distances,
                      const Target& target);

}  // namespace sdc::cuda
