#include <algorithm>
#include <stdexcept>

#include "launch.cuh"
#include "radix_sort.h"
#include "radix_sort_kernels.cuh"
#include "workspace.h"

namespace sdc::cuda {
namespace {

constexpr unsigned kFewItems = 4;

// What long rows need: where the numbers wait between two passes, and what counts them.
template <class Real>
struct Passes {
  KeyOf<Real>* keys;
  std::uint32_t* order;
  std::uint32_t* histograms;
  unsigned* tickets;  // right behind the histograms
  unsigned long long* progress;
  std::int64_t counters;

  Passes(Parts& parts, std::int64_t rows, std::int64_t n, std::int64_t tiles)
      : keys(parts.take<KeyOf<Real>>(rows * n)),
        order(parts.take<std::uint32_t>(rows * n)),
        histograms(parts.take<std::uint32_t>(rows * kPasses<Real> * kDigits)),
        tickets(parts.take<unsigned>(kPasses<Real>)),
        progress(parts.take<unsigned long long>(kPasses<Real> * rows * tiles * kDigits)),
        counters(rows * kPasses<Real> * kDigits + kPasses<Real>) {}
};

template <class Real>
std::int64_t tiles_of(std::int64_t n) {
  return (n + kTile<Real> - 1) / kTile<Real>;
}

template <class Real, unsigned kItems>
void sort_in_blocks(const Real* values, std::int64_t rows, std::int64_t n, const std::int32_t* needed,
                    KeyOf<Real>* keys, std::uint32_t* order, std::int32_t* has_nan, cudaStream_t stream) {
  launch(sort_rows_in_blocks<Real, kItems>, static_cast<unsigned>(rows), kBlockThreads,
         sizeof(Tile<KeyOf<Real>, kItems>), stream, values, n, needed, keys, order, has_nan);
}

}  // namespace

template <class Real>
std::size_t sort_workspace_bytes(std::int64_t rows, std::int64_t n) {
  Parts parts;
  if (n > kTile<Real>) Passes<Real>(parts, rows, n, tiles_of<Real>(n));
  return parts.bytes();
}

template <class Real>
void sort_rows(const Real* values, std::int64_t rows, std::int64_t n, const std::int32_t* needed,
               void* workspace, KeyOf<Real>* keys, std::uint32_t* order, std::int32_t* has_nan,
               cudaStream_t stream) {
  const std::int64_t tiles = tiles_of<Real>(n);
  if (n < 1 || n >= std::int64_t{1} << 31 || rows < 1 || rows * tiles >= std::int64_t{1} << 31)
    throw std::invalid_argument("rows to sort must have 1 to 2^31 - 1 numbers, and fewer than 2^31 tiles");
  if (n <= kBlockThreads * kFewItems)
    return sort_in_blocks<Real, kFewItems>(values, rows, n, needed, keys, order, has_nan, stream);
  if (n <= kTile<Real>)
    return sort_in_blocks<Real, kTileItems<Real>>(values, rows, n, needed, keys, order, has_nan, stream);

  Parts parts(workspace);
  const Passes<Real> passes(parts, rows, n, tiles);
  const auto blocks = static_cast<unsigned>(rows * tiles);
  check(cudaMemsetAsync(passes.histograms, 0,
                        sizeof(std::uint32_t) * static_cast<std::size_t>(passes.counters), stream));
  launch(count_digits<Real>, blocks, kBlockThreads, sizeof(std::uint32_t) * kPasses<Real> * kDigits, stream,
         values, n, static_cast<unsigned>(tiles), needed, passes.histograms, passes.progress, has_nan);
  // An even number of passes, which go to and fro between the result and the workspace, ends in the result.
  static_assert(kPasses<Real> % 2 == 0);
  KeyOf<Real>*from_keys = keys, *to_keys = passes.keys;
  std::uint32_t *from_order = order, *to_order = passes.order;
  for (unsigned pass = 0; pass < kPasses<Real>; ++pass) {
    launch(pass == 0 ? &sort_pass<Real, true> : &sort_pass<Real, false>, blocks, kBlockThreads,
           sizeof(Tile<KeyOf<Real>, kTileItems<Real>>), stream, values,
           static_cast<const KeyOf<Real>*>(from_keys), static_cast<const std::uint32_t*>(from_order), n,
           static_cast<unsigned>(tiles), pass, needed, static_cast<const std::uint32_t*>(passes.histograms),
           passes.progress + static_cast<std::int64_t>(pass) * blocks * kDigits, passes.tickets, to_keys,
           to_order);
    std::swap(from_keys, to_keys);
    std::swap(from_order, to_order);
  }
}

#define SDC_SORT(Real)                                                                                       \
  template std::size_t sort_workspace_bytes<Real>(std::int64_t, std::int64_t);                               \
  template void sort_rows(const Real*, std::int64_t, std::int64_t, const std::int32_t*, void*, KeyOf<Real>*, \
                          std::uint32_t*, std::int32_t*, cudaStream_t);
SDC_SORT(float)
SDC_SORT(double)
#undef SDC_SORT

}  // namespace sdc::cuda
