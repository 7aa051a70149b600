// Found rows on their way to becoming results: the collector that a worker fills and the ordering of what it
// kept. Internal.
//
// A hit is packed as (distance << 48) + key. The key is the row, or at once the id where ids are in no order
// but fit: blocks of rows read their ids one after another, which at the end would be a cache miss for every
// hit.
#pragma once

#include <cstdint>
#include <vector>

#include "hamming.h"

namespace sdc {

using PackedHit = std::uint64_t;
constexpr std::int64_t key_limit = std::int64_t{1} << 48;
constexpr PackedHit pack_hit(std::uint64_t distance, std::int64_t key) {
  return (distance << 48) + static_cast<std::uint64_t>(key);
}
constexpr unsigned hit_distance(PackedHit hit) { return static_cast<unsigned>(hit >> 48); }
constexpr std::int64_t hit_key(PackedHit hit) { return static_cast<std::int64_t>(hit) & (key_limit - 1); }

// The smallest distance within which there are at least k hits; the largest of all when there are fewer.
// There is at least one.
unsigned distance_of_kth(const std::vector<PackedHit>& hits, std::int64_t k);

// Orders hits and keeps the first k of them, by (distance, id).
class HitOrder {
 public:
  explicit HitOrder(const HammingIds& ids) : ids_(ids) {}

  // Ids grow with the rows: of two rows at the same distance the earlier is the better.
  bool by_row() const { return ids_.ids == nullptr || ids_.ascending; }

  std::int64_t key(std::int64_t row) const { return keys_are_ids() ? ids_.ids[row] : row; }

  // `rows_ascending`: the hits are in the order of their rows. Writes the ids of what it kept to `ids` unless
  // that is null.
  void keep_best(std::vector<PackedHit>& hits, std::int64_t k, bool rows_ascending,
                 std::vector<std::int64_t>* ids) const;

  // Writes all hits in order, with little memory beyond them: for as many as there may be in a range.
  void write_all(std::vector<PackedHit>&& hits, bool rows_ascending, std::int32_t* distances,
                 std::int64_t* ids) const;

 private:
  bool keys_are_ids() const { return !by_row() && ids_.largest < key_limit; }
  std::int64_t id_of(PackedHit hit) const {
    return ids_.ids == nullptr || keys_are_ids() ? hit_key(hit) : ids_.ids[hit_key(hit)];
  }

  HammingIds ids_;
};

// The best k hits of every query of a tile, as far as one worker has seen the rows. A threshold for each
// query says which distances are still of interest; it only falls.
class HitCollector {
 public:
  // k = kUnlimited keeps everything within the thresholds.
  static constexpr std::int64_t kUnlimited = INT64_MAX;

  HitCollector(const HitOrder& order, std::size_t n_queries, int bits, std::int64_t k, std::int64_t n_rows,
               const std::vector<int>& thresholds);

  // The largest distance of interest, -1 when none is.
  int threshold(std::size_t query) const { return best_[query].threshold; }
  std::vector<PackedHit>& hits(std::size_t query) { return best_[query].hits; }
  // Whether the query's hits are still in the order in which they were added.
  bool rows_ascending(std::size_t query) const { return best_[query].rows_ascending; }

  // Takes a hit if it is of interest; true if the threshold fell.
  bool add(std::size_t query, unsigned distance, std::int64_t row) {
    Best& best = best_[query];
    if (static_cast<int>(distance) > best.threshold) return false;
    best.hits.push_back(pack_hit(distance, order_.key(row)));
    return (counting_ && count(query, distance)) || (best.hits.size() >= most_hits_ && drop_beaten(query));
  }

  // Drops the query's hits and takes no more.
  void give_up(std::size_t query) {
    std::vector<PackedHit>().swap(best_[query].hits);
    best_[query].threshold = -1;
  }

  // Lowers the threshold to one that is known to keep the best k.
  void lower_threshold(std::size_t query, int threshold) {
    if (threshold < best_[query].threshold) best_[query].threshold = threshold;
  }

 private:
  struct Best {
    std::vector<PackedHit> hits;
    std::int64_t within = 0;  // hits within the threshold, when counting
    int threshold;
    bool rows_ascending = true;
  };

  bool count(std::size_t query, unsigned distance);
  bool drop_beaten(std::size_t query);

  const HitOrder& order_;
  int bits_;
  std::int64_t k_;
  bool by_row_;
  // A small k's threshold follows every hit. A large one's is sampled, and counting would cost more than it
  // saves.
  bool counting_;
  std::size_t most_hits_;
  std::vector<Best> best_;
  std::vector<std::uint32_t> histogram_;  // hits by distance, of each query, when counting
};

}  // namespace sdc
