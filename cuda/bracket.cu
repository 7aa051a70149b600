#include <algorithm>

#include "bracket.h"
#include "bracket_kernels.cuh"
#include "launch.cuh"
#include "workspace.h"

namespace sdc::cuda {
namespace {

// Blocks that share a list whose length the device alone knows fill it.
constexpr int kListBlocksPerMultiprocessor = 8;

std::uint32_t bins_for(std::int64_t n) {
  // As on the CPU: fewer numbers need narrower bins, since less averages out. Few need few.
  if (n > 2'000'000) return 1u << 16;
  std::uint32_t bins = 1u << 12;
  while (bins < 2 * n && bins < 1u << 17) bins *= 2;
  return bins;
}

unsigned list_blocks(int device) {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return static_cast<unsigned>(kListBlocksPerMultiprocessor * count);
}

}  // namespace

struct Brackets::Memory : BracketMemory {
  std::size_t zeroed_bytes, bytes;
};

Brackets::Brackets(const Quantiles<float>& quantiles, std::int64_t n_sums, double tolerance, void* workspace,
                   int device, cudaStream_t stream)
    : quantiles_(quantiles),
      n_sums_(n_sums),
      tolerance_(tolerance),
      workspace_(workspace),
      device_(device),
      stream_(stream) {}

Brackets::Memory Brackets::memory_of(std::int64_t n, std::int64_t n_sums, void* workspace) {
  Parts parts(workspace);
  Memory memory{};
  const std::uint32_t bins = memory.n_bins = bins_for(n);
  // With more open numbers a sort is expected to be cheaper.
  memory.limits = {static_cast<std::uint32_t>(n / 16 + 64), static_cast<std::uint32_t>(n / 4 + 64),
                   1ull << 34};
  memory.state = parts.take<BracketState>(1);
  memory.counts = parts.take<std::uint32_t>(bins);
  memory.opened = parts.take<std::uint32_t>(bins);
  memory.taken = parts.take<std::uint32_t>(bins);
  memory.zeroed_bytes = parts.bytes();
  memory.begins = parts.take<std::uint32_t>(bins + std::int64_t{1});
  memory.starts = parts.take<std::uint32_t>(bins);
  memory.brackets = parts.take<Bracket>(bins);
  memory.variances = parts.take<double>(bins / kBinsPerBlock);
  memory.sums = parts.take<double>(n_sums);
  memory.open = parts.take<Open>(memory.limits.open);
  memory.collected = parts.take<unsigned long long>(memory.limits.collected);
  memory.bytes = parts.bytes();
  return memory;
}

std::size_t Brackets::workspace_bytes(std::int64_t n, std::int64_t n_sums) {
  return memory_of(n, n_sums, nullptr).bytes;
}

std::int64_t Brackets::sums_of(const Similarities& block) { return blocks_of(block); }

const std::int32_t* Brackets::undecided() const {
  return &memory_of(quantiles_.n, n_sums_, workspace_).state->undecided;
}

void Brackets::begin() {
  const DeviceGuard guard(device_);
  const Memory memory = memory_of(quantiles_.n, n_sums_, workspace_);
  check(cudaMemsetAsync(workspace_, 0, memory.zeroed_bytes, stream_));
}

void Brackets::range(const Similarities& block) {
  const DeviceGuard guard(device_);
  const Memory memory = memory_of(quantiles_.n, n_sums_, workspace_);
  launch(similarity_range, blocks_of(block), kBlockThreads, 0, stream_, block, memory.state);
}

void Brackets::count(const Similarities& block) {
  const DeviceGuard guard(device_);
  const Memory memory = memory_of(quantiles_.n, n_sums_, workspace_);
  launch(count_bins, blocks_of(block), kBlockThreads, 0, stream_, block, memory);
}

void Brackets::bracket() {
  const DeviceGuard guard(device_);
  const Memory memory = memory_of(quantiles_.n, n_sums_, workspace_);
  launch(begin_ranks, 1, kScanThreads, 2 * kLanes * sizeof(std::uint32_t), stream_, memory);
  launch(fill_brackets, memory.n_bins / kBinsPerBlock, kBlockThreads, kBlockWarps * sizeof(double), stream_,
         memory, quantiles_);
}

void Brackets::classify(const Similarities& block, const float* codes, std::int64_t first_sum, float unit,
                        float* out) {
  const DeviceGuard guard(device_);
  const Memory memory = memory_of(quantiles_.n, n_sums_, workspace_);
  launch(cuda::classify, blocks_of(block), kBlockThreads, kBlockWarps * sizeof(double), stream_, block, codes,
         first_sum, unit, memory, out);
}

void Brackets::collect(const Similarities& block) {
  const DeviceGuard guard(device_);
  const Memory memory = memory_of(quantiles_.n, n_sums_, workspace_);
  launch(collect_open_bins, blocks_of(block), kBlockThreads, 0, stream_, block, memory);
}

void Brackets::settle(float unit, float* out, float* loss) {
  const DeviceGuard guard(device_);
  const Memory memory = memory_of(quantiles_.n, n_sums_, workspace_);
  launch(resolve, list_blocks(device_), kBlockThreads, 0, stream_, memory, quantiles_, unit, out);
  launch(cuda::settle, 1, kBlockThreads, kBlockWarps * sizeof(double), stream_, memory, quantiles_, n_sums_,
         tolerance_, loss);
}

void Brackets::add_open_pairs(std::int64_t n_items, const float* directions, std::int64_t k,
                              long long* sums) {
  const DeviceGuard guard(device_);
  const Memory memory = memory_of(quantiles_.n, n_sums_, workspace_);
  launch(cuda::add_open_pairs, list_blocks(device_), kBlockThreads, 0, stream_, memory, n_items, directions,
         k, sums);
}

}  // namespace sdc::cuda
