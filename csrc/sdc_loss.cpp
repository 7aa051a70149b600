#include "sdc_loss.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "bracket.h"
#include "calibration_kernels.h"
#include "threads.h"
#include "wasserstein.h"

namespace sdc {
namespace {

constexpr float kSmallestNorm = 1e-12f;
constexpr std::int64_t kPairBlock = 16;
constexpr std::int64_t kTile = 256;  // rows and columns of a tile of similarities
constexpr std::int64_t kStrip = 48;  // rows of a tile on the diagonal; divides into blocks at every level
constexpr std::int64_t kGroups = 8;  // sums of tiles that are added up in one order at the end
constexpr std::int64_t kKeptFloats = 10 * (1 << 20);  // teacher's similarities that are kept
constexpr std::int64_t kBracketPairs = 140'000;       // fewer are sorted

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

float inverse_norm(float square) {
  const float norm = std::sqrt(square);
  return norm < kSmallestNorm ? 0 : 1 / norm;
}

float absolute_sum(const float* v, std::int64_t k) {
  float lanes[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= k; i += 8)
    for (int lane = 0; lane < 8; ++lane) lanes[lane] += std::fabs(v[i + lane]);
  for (; i < k; ++i) lanes[0] += std::fabs(v[i]);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// What the quantisation term needs to know: its weight, the mean of 1 - cos(v, sign v), and its gradient.
class Quantisation {
 public:
  Quantisation(const Batch& batch, double weight)
      : weight_(static_cast<float>(weight / static_cast<double>(batch.n))),
        root_(1 / std::sqrt(static_cast<float>(batch.k))),
        k_(batch.k) {}

  // 1 - |v|_1 / (sqrt(k) |v|)
  float of(const float* v, float inverse) const { return 1 - absolute_sum(v, k_) * root_ * inverse; }

  // gradient -= weight / n * d cos(v, sign v) / d v
  void add_gradient(const float* v, float inverse, float* gradient) const {
    const float along = weight_ * root_ * inverse;
    const float back = along * absolute_sum(v, k_) * inverse * inverse;
    for (std::int64_t i = 0; i < k_; ++i) {
      const float sign = static_cast<float>((v[i] > 0) - (v[i] < 0));
      gradient[i] += back * v[i] - along * sign;
    }
  }

 private:
  float weight_, root_;
  std::int64_t k_;
};

int threads_for(int threads, std::int64_t multiplications) {
  return static_cast<int>(std::clamp<std::int64_t>(multiplications >> 18, 1, std::max(threads, 1)));
}

// The sum of the quantisation terms of all rows, and the inverse norms of the rows.
double quantise(const Batch& batch, const Quantisation& quantisation, int threads,
                std::vector<float>* inverses) {
  const auto* kernels = &calibration_kernels();
  const std::int64_t blocks = (batch.n + kTile - 1) / kTile;
  inverses->resize(at(batch.n));
  std::vector<double> sums(at(blocks));
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    for (std::int64_t i = block * kTile; i < std::min(batch.n, (block + 1) * kTile); ++i) {
      float squares[3];
      const float* v = batch.outputs + i * batch.k;
      kernels->pair_sums(v, v, batch.k, squares);
      (*inverses)[at(i)] = inverse_norm(squares[0]);
      sums[at(block)] += static_cast<double>(quantisation.of(v, (*inverses)[at(i)]));
    }
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

void fill_nan(const Batch& batch, float* gradient) {
  if (gradient != nullptr) std::fill(gradient, gradient + batch.n * batch.k, std::nanf(""));
}

}  // namespace

double sdc_loss_half(const Batch& batch, const Quantiles& quantiles, double quantization, int threads,
                     float* gradient) {
  const auto* kernels = &calibration_kernels();
  const std::int64_t pairs = batch.n / 2, d = batch.d, k = batch.k;
  threads = threads_for(threads, batch.n * (d + k));
  const Quantisation quantisation(batch, quantization);
  std::vector<float> codes(at(pairs)), teacher(at(pairs)), inverses(at(batch.n));
  const std::int64_t blocks = (pairs + kPairBlock - 1) / kPairBlock;
  const auto end_of = [&](std::int64_t block) { return std::min(pairs, (block + 1) * kPairBlock); };
  std::vector<double> quantised_blocks(at(blocks));
  parallel_for(blocks, threads, [&](std::int64_t block, int) {
    for (std::int64_t i = block * kPairBlock; i < end_of(block); ++i) {
      float sums[3];
      kernels->pair_sums(batch.features + i * d, batch.features + (i + pairs) * d, d, sums);
      teacher[at(i)] = sums[2] * inverse_norm(sums[0]) * inverse_norm(sums[1]);
      const float* v = batch.outputs + i * k;
      const float* w = batch.outputs + (i + pairs) * k;
      kernels->pair_sums(v, w, k, sums);
      const float a = inverses[at(i)] = inverse_norm(sums[0]);
      const float b = inverses[at(i + pairs)] = inverse_norm(sums[1]);
      codes[at(i)] = sums[2] * a * b;
      quantised_blocks[at(block)] += static_cast<double>(quantisation.of(v, a));
      quantised_blocks[at(block)] += static_cast<double>(quantisation.of(w, b));
    }
  });
  double quantised = std::accumulate(quantised_blocks.begin(), quantised_blocks.end(), 0.0);
  if (2 * pairs < batch.n) {  // the last row, which has no partner
    float sums[3];
    const float* last = batch.outputs + 2 * pairs * k;
    kernels->pair_sums(last, last, k, sums);
    inverses.back() = inverse_norm(sums[0]);
    quantised += static_cast<double>(quantisation.of(last, inverses.back()));
  }

  std::vector<std::int8_t> signs(at(gradient != nullptr ? pairs : 0));
  const double loss = calibration_loss<float, float>(codes.data(), teacher.data(), quantiles, 0, 1, pairs, 1,
                                                     threads, Method::automatic,
                                                     gradient != nullptr ? signs.data() : nullptr, nullptr) +
                      quantization * quantised / static_cast<double>(batch.n);
  if (gradient == nullptr) return loss;
  if (std::isnan(loss)) {
    fill_nan(batch, gradient);
    return loss;
  }
  const float share = 1 / static_cast<float>(pairs);
  parallel_for(blocks, threads_for(threads, batch.n * k), [&](std::int64_t block, int) {
    for (std::int64_t i = block * kPairBlock; i < end_of(block); ++i) {
      const float sign = static_cast<float>(signs[at(i)]) * share;
      const float a = inverses[at(i)], b = inverses[at(i + pairs)];
      const float across = sign * a * b, back_a = sign * codes[at(i)] * a * a,
                  back_b = sign * codes[at(i)] * b * b;
      const float* v = batch.outputs + i * k;
      const float* w = batch.outputs + (i + pairs) * k;
      float* v_gradient = gradient + i * k;
      float* w_gradient = gradient + (i + pairs) * k;
      for (std::int64_t j = 0; j < k; ++j) {
        v_gradient[j] = across * w[j] - back_a * v[j];
        w_gradient[j] = across * v[j] - back_b * w[j];
      }
      quantisation.add_gradient(v, a, v_gradient);
      quantisation.add_gradient(w, b, w_gradient);
    }
  });
  if (2 * pairs < batch.n) {
    float* last = gradient + 2 * pairs * k;
    std::fill(last, last + k, 0.0f);
    quantisation.add_gradient(batch.outputs + 2 * pairs * k, inverses.back(), last);
  }
  return loss;
}

namespace {

// The tiles (rows, columns) on and above the diagonal of the matrix of all pairs.
class Tiles {
 public:
  explicit Tiles(std::int64_t n) : n_(n), across_((n + kTile - 1) / kTile) {
    for (std::int64_t i = 0; i < across_; ++i)
      for (std::int64_t j = i; j < across_; ++j) tiles_.push_back({i, j});
  }

  struct Tile {
    std::int64_t row, column;  // of tiles
    std::int64_t first_row() const { return row * kTile; }
    std::int64_t first_column() const { return column * kTile; }
  };

  std::int64_t size() const { return static_cast<std::int64_t>(tiles_.size()); }
  std::int64_t across() const { return across_; }
  Tile operator[](std::int64_t i) const { return tiles_[at(i)]; }
  std::int64_t rows(const Tile& tile) const { return std::min(kTile, n_ - tile.first_row()); }
  std::int64_t columns(const Tile& tile) const { return std::min(kTile, n_ - tile.first_column()); }

  // The first column inside the tile that forms a pair with its row i: those from the diagonal on.
  static std::int64_t begin(const Tile& tile, std::int64_t i) { return tile.row == tile.column ? i + 1 : 0; }

  // The place of the pair (i, j), i < j, in the order of all pairs; `row_of` undoes it.
  std::int64_t index(std::int64_t i, std::int64_t j) const { return i * (2 * n_ - i - 1) / 2 + (j - i - 1); }
  std::int64_t row_of(std::int64_t pair) const {
    std::int64_t low = 0, high = n_ - 1;
    while (high - low > 1) {
      const std::int64_t middle = (low + high) / 2;
      (index(middle, middle + 1) <= pair ? low : high) = middle;
    }
    return low;
  }
  std::int64_t column_of(std::int64_t pair, std::int64_t row) const {
    return pair - index(row, row + 1) + row + 1;
  }

 private:
  std::int64_t n_, across_;
  std::vector<Tile> tiles_;
};

using Floats = std::unique_ptr<float[]>;
Floats floats(std::int64_t n) { return Floats(new float[at(n)]); }

class AllPairs {
 public:
  AllPairs(const Batch& batch, const Quantiles& quantiles, int threads)
      : batch_(batch),
        quantiles_(quantiles),
        kernels_(calibration_kernels()),
        tiles_(batch.n),
        pairs_(batch.n * (batch.n - 1) / 2),
        threads_(std::min(threads, static_cast<int>(kGroups))),
        workers_(at(threads_)),
        directions_(floats(batch.n * batch.k)),
        feature_inverses_(at(batch.n)) {}

  // Returns the calibration loss; the gradient with respect to the directions v / |v| is ready if wanted.
  double run(const std::vector<float>& inverses, bool want_gradient) {
    normalise(inverses);
    want_gradient_ = want_gradient;
    if (want_gradient) {
      for (auto& sum : group_sums_) sum.assign(at(batch_.n * batch_.k), 0);
    }
    double loss = 0;
    if (pairs_ >= kBracketPairs) {
      if (bracket(&loss)) return loss;
      for (auto& sum : group_sums_) std::fill(sum.begin(), sum.end(), 0.0f);
    }
    return sorted();
  }

  // out[i] += share * the gradient with respect to direction i.
  void direction_gradient(std::int64_t i, float* out) const {
    const float share = 1 / static_cast<float>(pairs_);
    for (std::int64_t c = 0; c < batch_.k; ++c) {
      float sum = 0;
      for (const auto& group : group_sums_) sum += group[at(i * batch_.k + c)];
      out[c] = share * sum;
    }
  }

  const float* direction(std::int64_t i) const { return directions_.get() + i * batch_.k; }

 private:
  using Tile = Tiles::Tile;

  struct Worker {
    Floats teacher = floats(kTile * kTile), codes = floats(kTile * kTile), signs = floats(kTile * kTile),
           panel;
    int number = 0;
  };

  Worker& worker(int i) {
    auto& slot = workers_[at(i)];
    if (slot == nullptr) {
      slot = std::make_unique<Worker>();
      slot->number = i;
      slot->panel = floats(kPanel * std::max(batch_.d, batch_.k));
    }
    return *slot;
  }

  void normalise(const std::vector<float>& inverses) {
    parallel_for(tiles_.across(), threads_, [&](std::int64_t block, int) {
      for (std::int64_t i = block * kTile; i < std::min(batch_.n, (block + 1) * kTile); ++i) {
        float sums[3];
        const float* x = batch_.features + i * batch_.d;
        kernels_.pair_sums(x, x, batch_.d, sums);
        feature_inverses_[at(i)] = inverse_norm(sums[0]);
        const float* v = batch_.outputs + i * batch_.k;
        for (std::int64_t c = 0; c < batch_.k; ++c)
          directions_[at(i * batch_.k + c)] = v[c] * inverses[at(i)];
      }
    });
  }

  // The products of a tile's pairs of `vectors` (n, d), rows kTile apart; of a tile on the diagonal hardly
  // more than those above it.
  void multiply(const Tile& tile, const float* vectors, std::int64_t d, float* out, Worker& worker) {
    const std::int64_t rows = tiles_.rows(tile), columns = tiles_.columns(tile);
    const bool diagonal = tile.row == tile.column;
    const std::int64_t strip = diagonal ? kPanel : columns;
    for (std::int64_t begin = 0; begin < columns; begin += strip) {
      const std::int64_t end = std::min(columns, begin + strip);
      kernels_.row_products(vectors + tile.first_row() * d, diagonal ? end : rows,
                            vectors + (tile.first_column() + begin) * d, end - begin, d, out + begin, kTile,
                            worker.panel.get());
    }
  }

  // The cosines of the features of a tile, rows kTile apart, into `out`.
  void compute_teacher(const Tile& tile, float* out, Worker& worker) {
    const std::int64_t rows = tiles_.rows(tile), columns = tiles_.columns(tile);
    multiply(tile, batch_.features, batch_.d, out, worker);
    for (std::int64_t i = 0; i < rows; ++i) {
      const float left = feature_inverses_[at(tile.first_row() + i)];
      const float* right = feature_inverses_.data() + tile.first_column();
      for (std::int64_t j = Tiles::begin(tile, i); j < columns; ++j) out[i * kTile + j] *= left * right[j];
    }
  }

  // The same, kept from before where there is room.
  const float* teacher(std::int64_t i, Worker& worker) {
    if (kept_ != nullptr) return kept_.get() + i * kTile * kTile;
    compute_teacher(tiles_[i], worker.teacher.get(), worker);
    return worker.teacher.get();
  }

  void compute_codes(const Tile& tile, Worker& worker) {
    multiply(tile, directions_.get(), batch_.k, worker.codes.get(), worker);
  }

  // Adds a tile of signs times the directions to the gradients of its rows and of its columns.
  void add_gradient(const Tile& tile, const float* signs, float* sums) const {
    const std::int64_t rows = tiles_.rows(tile), columns = tiles_.columns(tile), k = batch_.k;
    const bool diagonal = tile.row == tile.column;
    const std::int64_t strip = diagonal ? kStrip : kTile;
    for (std::int64_t begin = 0; begin < rows; begin += strip) {
      const std::int64_t from = diagonal ? begin : 0;  // there is no sign left of it
      kernels_.add_weighted_rows(signs + begin * kTile + from, kTile, 1, std::min(strip, rows - begin),
                                 direction(tile.first_column() + from), columns - from, k,
                                 sums + (tile.first_row() + begin) * k);
    }
    for (std::int64_t begin = 0; begin < columns; begin += strip) {
      const std::int64_t size = std::min(strip, columns - begin);
      kernels_.add_weighted_rows(signs + begin, 1, kTile, size, direction(tile.first_row()),
                                 diagonal ? begin + size : rows, k, sums + (tile.first_column() + begin) * k);
    }
  }

  // run(tile's number, group, worker) for all tiles: those of a group one after another.
  template <class Run>
  void for_groups(const Run& run) {
    parallel_for(kGroups, threads_, [&](std::int64_t group, int thread) {
      Worker& mine = worker(thread);
      for (std::int64_t i = group; i < tiles_.size(); i += kGroups) run(i, group, mine);
    });
  }

  // The range of the cosines, guessed from the first rows of tiles; what lies beyond shares the outer bins.
  bool choose_bins(Bins* bins) {
    std::vector<float> lows(at(tiles_.across()), 1.0f), highs(at(tiles_.across()), -1.0f);
    std::atomic<bool> good{true};
    parallel_for(tiles_.across(), threads_, [&](std::int64_t i, int thread) {
      Worker& mine = worker(thread);
      const float* values = teacher(i, mine);
      for (std::int64_t row = 0; row < tiles_.rows(tiles_[i]); ++row) {
        const std::int64_t begin = Tiles::begin(tiles_[i], row), size = tiles_.columns(tiles_[i]) - begin;
        float low, high;
        if (size <= 0) continue;
        if (!kernels_.range(values + row * kTile + begin, size, &low, &high)) good = false;
        lows[at(i)] = std::min(lows[at(i)], low);
        highs[at(i)] = std::max(highs[at(i)], high);
      }
    });
    const float low = *std::min_element(lows.begin(), lows.end());
    const float high = *std::max_element(highs.begin(), highs.end());
    const float margin = 0.125f * (high - low);
    return good &&
           Brackets::choose_bins(std::max(low - margin, -1.0f), std::min(high + margin, 1.0f), pairs_, bins);
  }

  bool bracket(double* loss);
  double sorted();

  const Batch& batch_;
  Quantiles quantiles_;
  const CalibrationKernels& kernels_;
  Tiles tiles_;
  std::int64_t pairs_;
  int threads_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Floats directions_;
  std::vector<float> feature_inverses_;
  Floats kept_;
  bool want_gradient_ = false;
  std::vector<float> group_sums_[kGroups];
};

// False where the bracket does not decide exactly; the sums of the groups are then in any state.
bool AllPairs::bracket(double* loss) {
  const std::int64_t tile_floats = kTile * kTile;
  if (tiles_.size() * tile_floats <= kKeptFloats) {
    Floats kept = floats(tiles_.size() * tile_floats);
    for_groups([&](std::int64_t i, std::int64_t, Worker& mine) {
      compute_teacher(tiles_[i], kept.get() + i * tile_floats, mine);
    });
    kept_ = std::move(kept);
  }
  Bins bins;
  if (!choose_bins(&bins)) return false;

  std::vector<std::vector<std::uint32_t>> counts(at(threads_));  // of each worker
  for_groups([&](std::int64_t i, std::int64_t, Worker& mine) {
    const float* values = teacher(i, mine);
    auto& mine_counts = counts[at(mine.number)];
    mine_counts.resize(at(bins.count));
    for (std::int64_t row = 0; row < tiles_.rows(tiles_[i]); ++row) {
      const std::int64_t begin = Tiles::begin(tiles_[i], row), size = tiles_.columns(tiles_[i]) - begin;
      if (size <= 0) continue;
      kernels_.histogram(values + row * kTile + begin, size, bins, mine_counts.data());
    }
  });
  Brackets brackets(bins, counts, quantiles_, threads_);
  counts = {};

  std::vector<std::vector<TeacherPair>> found(at(kGroups));
  double sums[kGroups] = {};
  const auto most = static_cast<std::size_t>(pairs_ / 16 / kGroups + 64);
  for_groups([&](std::int64_t i, std::int64_t group, Worker& mine) {
    auto& open = found[at(group)];
    if (open.size() > most) return;
    const Tile tile = tiles_[i];
    const float* values = teacher(i, mine);
    compute_codes(tile, mine);
    for (std::int64_t row = 0; row < tiles_.rows(tile); ++row) {
      const std::int64_t begin = Tiles::begin(tile, row), size = tiles_.columns(tile) - begin;
      float* signs = mine.signs.get() + row * kTile;
      std::fill(signs, signs + std::min(begin, tiles_.columns(tile)), 0.0f);
      if (size <= 0) continue;
      std::uint32_t places[kTile];
      const float* codes = mine.codes.get() + row * kTile;
      const std::int64_t count =
          kernels_.classify_floats(codes + begin, values + row * kTile + begin, size, bins, brackets.table(),
                                   signs + begin, places, &sums[group]);
      for (std::int64_t c = 0; c < count; ++c) {
        const std::int64_t column = begin + places[c];
        open.push_back({codes[column], values[row * kTile + column],
                        tiles_.index(tile.first_row() + row, tile.first_column() + column)});
      }
    }
    if (want_gradient_) add_gradient(tile, mine.signs.get(), group_sums_[group].data());
  });
  double sum = std::accumulate(std::begin(sums), std::end(sums), 0.0);
  std::vector<TeacherPair> open;
  for (const auto& part : found) {
    if (part.size() > most) return false;
    open.insert(open.end(), part.begin(), part.end());
  }
  if (std::isnan(sum)) {
    *loss = sum;
    return true;
  }
  if (!open.empty()) {
    if (!brackets.want(open, pairs_ / 8)) return false;
    for_groups([&](std::int64_t i, std::int64_t, Worker& mine) {
      const Tile tile = tiles_[i];
      const float* values = teacher(i, mine);
      for (std::int64_t row = 0; row < tiles_.rows(tile); ++row) {
        const std::int64_t begin = Tiles::begin(tile, row), size = tiles_.columns(tile) - begin;
        if (size <= 0) continue;
        std::uint32_t places[kTile];
        const float* line = values + row * kTile + begin;
        const std::int64_t count = kernels_.collect(line, size, bins, brackets.wanted(), places);
        const std::int64_t first = tiles_.index(tile.first_row() + row, tile.first_column() + begin);
        for (std::int64_t c = 0; c < count; ++c) brackets.add(line[places[c]], first + places[c]);
      }
    });
    std::vector<std::int8_t> signs;
    sum += brackets.resolve(open, &signs);
    for (std::size_t i = 0; want_gradient_ && i < open.size(); ++i) {
      const std::int64_t row = tiles_.row_of(open[i].index), column = tiles_.column_of(open[i].index, row);
      const auto sign = static_cast<float>(signs[i]);
      float* sums_of_rows = group_sums_[0].data();
      for (std::int64_t c = 0; c < batch_.k; ++c) {
        sums_of_rows[row * batch_.k + c] += sign * direction(column)[c];
        sums_of_rows[column * batch_.k + c] += sign * direction(row)[c];
      }
    }
  }
  *loss = sum / static_cast<double>(pairs_);
  return brackets.loss_error() <= 2e-7 * sum;
}

double AllPairs::sorted() {
  Floats teacher_pairs = floats(pairs_), code_pairs = floats(pairs_);
  for_groups([&](std::int64_t i, std::int64_t, Worker& mine) {
    const Tile tile = tiles_[i];
    const float* values = teacher(i, mine);
    compute_codes(tile, mine);
    for (std::int64_t row = 0; row < tiles_.rows(tile); ++row) {
      const std::int64_t begin = Tiles::begin(tile, row), size = tiles_.columns(tile) - begin;
      if (size <= 0) continue;
      const std::int64_t first = tiles_.index(tile.first_row() + row, tile.first_column() + begin);
      std::copy_n(values + row * kTile + begin, size, teacher_pairs.get() + first);
      std::copy_n(mine.codes.get() + row * kTile + begin, size, code_pairs.get() + first);
    }
  });
  kept_ = nullptr;
  std::vector<std::int8_t> signs(at(want_gradient_ ? pairs_ : 0));
  const double loss = calibration_loss<float, float>(code_pairs.get(), teacher_pairs.get(), quantiles_, 0, 1,
                                                     pairs_, 1, threads_, Method::sort,
                                                     want_gradient_ ? signs.data() : nullptr, nullptr);
  if (!want_gradient_ || std::isnan(loss)) return loss;
  for_groups([&](std::int64_t i, std::int64_t group, Worker& mine) {
    const Tile tile = tiles_[i];
    for (std::int64_t row = 0; row < tiles_.rows(tile); ++row) {
      const std::int64_t begin = Tiles::begin(tile, row), columns = tiles_.columns(tile);
      float* line = mine.signs.get() + row * kTile;
      std::fill(line, line + std::min(begin, columns), 0.0f);
      if (begin >= columns) continue;
      const std::int8_t* from =
          signs.data() + tiles_.index(tile.first_row() + row, tile.first_column() + begin);
      for (std::int64_t c = begin; c < columns; ++c) line[c] = static_cast<float>(from[c - begin]);
    }
    add_gradient(tile, mine.signs.get(), group_sums_[group].data());
  });
  return loss;
}

}  // namespace

double sdc_loss_all(const Batch& batch, const Quantiles& quantiles, double quantization, int threads,
                    float* gradient) {
  threads = threads_for(threads, batch.n * batch.n * (batch.d + 4 * batch.k) / 2);
  const Quantisation quantisation(batch, quantization);
  std::vector<float> inverses;
  const double quantised = quantise(batch, quantisation, threads, &inverses);
  AllPairs all(batch, quantiles, threads);
  const double loss =
      all.run(inverses, gradient != nullptr) + quantization * quantised / static_cast<double>(batch.n);
  if (gradient == nullptr) return loss;
  if (std::isnan(loss)) {
    fill_nan(batch, gradient);
    return loss;
  }
  parallel_for((batch.n + kTile - 1) / kTile, threads, [&](std::int64_t block, int) {
    for (std::int64_t i = block * kTile; i < std::min(batch.n, (block + 1) * kTile); ++i) {
      float* out = gradient + i * batch.k;
      all.direction_gradient(i, out);
      const float* direction = all.direction(i);
      float along = 0;
      for (std::int64_t c = 0; c < batch.k; ++c) along += out[c] * direction[c];
      const float inverse = inverses[at(i)];
      for (std::int64_t c = 0; c < batch.k; ++c) out[c] = inverse * (out[c] - along * direction[c]);
      quantisation.add_gradient(batch.outputs + i * batch.k, inverse, out);
    }
  });
  return loss;
}

}  // namespace sdc
