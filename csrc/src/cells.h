// Which classes can win anywhere in a cell, that is between four grid nodes.
//
// Dominance: if class d is at least as large as class c at all four nodes, it is at every pixel between them,
// whatever the (non-negative) weights of the nodes. So c needs no further look. In float arithmetic
//   * d < c: holds exactly, for rounding keeps the order, and a tie goes to d.
//   * d > c: rounding might turn a lead into a tie, which c would win. So a lead by `margin` is asked for,
//     which exceeds what rounding can do.
//
// With thresholds, d must also take part wherever c does: everywhere in the cell, or its threshold is not
// higher. And c needs no look where it is below its threshold at all four nodes.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "nodes.h"

namespace tcl {

// Consecutive pixels [begin, end) of a row, and the candidates [first, first + count) for them.
struct Span {
  std::int32_t begin;
  std::int32_t end;
  std::int32_t first;
  std::int32_t count;
  std::int32_t cell;  // the node to the left; of the first cell, if several were merged
};

// Classes that can win, in ascending order, cell by cell, with their thresholds if there are any, and their
// values at the cell's nodes. Vectors are padded so that kLanes can be read from any candidate.
struct Candidates {
  std::vector<std::int32_t> classes;
  std::vector<float> thresholds;
  std::vector<float> top_left, top_right, bottom_left, bottom_right;

  void clear() {
    classes.clear();
    thresholds.clear();
    for (std::vector<float>* corner : corners()) corner->clear();
  }
  // The classes `ids` in the cell to the right of node x.
  void add(const std::vector<std::int32_t>& ids, const Masks& masks, const NodeRow& top,
           const NodeRow& bottom, std::int64_t x) {
    std::size_t k = classes.size();
    classes.insert(classes.end(), ids.begin(), ids.end());
    for (std::vector<float>* corner : corners()) corner->resize(classes.size());
    if (masks.thresholds != nullptr) thresholds.resize(classes.size());
    for (const std::int32_t c : ids) {
      const float* upper = top.of(c) + x;
      const float* under = bottom.of(c) + x;
      top_left[k] = upper[0];
      top_right[k] = upper[1];
      bottom_left[k] = under[0];
      bottom_right[k] = under[1];
      if (masks.thresholds != nullptr) thresholds[k] = masks.threshold_of(c);
      ++k;
    }
  }
  void pad() {
    for (std::vector<float>* corner : corners()) corner->resize(classes.size() + kLanes);
  }
  std::array<std::vector<float>*, 4> corners() {
    return {&top_left, &top_right, &bottom_left, &bottom_right};
  }
};

// The cells between two rows of nodes.
struct CellRow {
  std::vector<Span> spans;
  Candidates candidates;
  float margin = 0;
};

// Twice what two values can come closer by the rounding of two interpolations, see grid.h. Never 0: products
// of the smallest floats with weights of at least 1e-3 in all lose some 1e-45 each, whatever their magnitude.
inline float rounding_margin(const NodeRow& top, const NodeRow& bottom) {
  return std::max(std::max(top.magnitude, bottom.magnitude) * 0x1p-20f, std::numeric_limits<float>::min());
}

// The winners at the four nodes of eight cells: the classes that may dominate others there.
class Dominators {
 public:
  Dominators() {
    for (int k = 0; k < 4; ++k) {
      classes_[k] = all(-1);
      threshold_[k] = all(kNone);
      for (int corner = 0; corner < 4; ++corner) exact_[k][corner] = clear_[k][corner] = all(kNothing);
    }
  }

  [[gnu::always_inline]] void set_cell(int lane, const NodeRow& top, const NodeRow& bottom, std::int64_t x,
                                       float margin, const std::vector<float>& thresholds) {
    const auto i = static_cast<std::size_t>(x);
    float highest = kNothing;
    int count = 0;
    for (const std::int32_t d : {top.winner[i], top.winner[i + 1], bottom.winner[i], bottom.winner[i + 1]}) {
      bool known = false;
      for (int k = 0; k < count; ++k) known |= classes_[k][lane] == d;
      if (known) continue;
      const float values[4] = {top.of(d)[x], top.of(d)[x + 1], bottom.of(d)[x], bottom.of(d)[x + 1]};
      const float lowest = std::min(std::min(values[0], values[1]), std::min(values[2], values[3]));
      const float threshold = thresholds[static_cast<std::size_t>(d)];
      const bool everywhere = lowest - margin > threshold;
      if (everywhere) highest = std::max(highest, lowest);
      classes_[count][lane] = d;
      threshold_[count][lane] = everywhere ? kNone : threshold;
      for (int corner = 0; corner < 4; ++corner) {
        exact_[count][corner][lane] = values[corner];
        // Twice the margin, for this is rounded, too. Two values that are NaN differ by nothing that would
        // count.
        clear_[count][corner][lane] = values[corner] < -kLimit ? kNothing : values[corner] - 2 * margin;
      }
      ++count;
    }
    count_ = std::max(count_, count);
    bound_[lane] = highest < -kLimit ? kNothing : highest - margin;
  }

  // First a quick look: what is below the bound, or clearly below its threshold, at all four nodes is out.
  [[gnu::always_inline]] Ints may_win(Floats highest, Floats threshold) const {
    return (highest >= bound_) & (highest > threshold);
  }

  // Where class c is dominated, given with its values at the four nodes.
  [[gnu::always_inline]] Ints dominate(std::int32_t c, const Floats (&values)[4], Floats threshold) const {
    Ints dominated = all(0);
    for (int k = 0; k < count_; ++k) {
      const Ints lower = classes_[k] < c;
      Ints below = threshold_[k] <= threshold;
      for (int corner = 0; corner < 4; ++corner) {
        below &= values[corner] <= (lower ? exact_[k][corner] : clear_[k][corner]);
      }
      dominated |= below;
    }
    return dominated;
  }

 private:
  static constexpr float kNothing = -3e38f;  // below every value, NaN's included
  static constexpr float kNone = -std::numeric_limits<float>::infinity();

  Ints classes_[4];
  Floats threshold_[4];            // none where the class takes part in the whole cell
  Floats exact_[4][4];             // what a higher class must not exceed
  Floats clear_[4][4];             // what a lower class must not exceed
  Floats bound_ = all(-kNothing);  // nothing reaches it
  int count_ = 0;
};

// Finds the candidates of all cells between two rows of nodes. `first_pixel` (width + 1 of them) says where
// in the row the pixels of each cell begin. With `merge`, neighbouring cells with the same single candidate
// become one span. Without `prune` all classes are candidates everywhere.
class CellFinder {
 public:
  explicit CellFinder(const Masks& masks)
      : masks_(masks), everything_(static_cast<std::size_t>(masks.classes())), winner_(1) {
    std::iota(everything_.begin(), everything_.end(), 0);
    for (const std::int32_t c : everything_) thresholds_.push_back(masks.threshold_of(c));
  }

  [[gnu::always_inline]] void find(const NodeRow& top, const NodeRow& bottom,
                                   const std::vector<std::int32_t>& first_pixel, bool merge, bool prune,
                                   CellRow& row) {
    const auto width = static_cast<std::int64_t>(first_pixel.size()) - 1;
    row.spans.clear();
    row.candidates.clear();
    row.margin = rounding_margin(top, bottom);
    for (std::int64_t x = 0; x < width; x += kLanes) {
      const std::uint64_t settled = prune ? mask_bytes(settled_cells(top, bottom, x, row.margin)) : 0;
      if (prune && settled != ~std::uint64_t{0}) contest(top, bottom, x, settled, row.margin);
      for (std::int64_t i = 0; i < std::min<std::int64_t>(kLanes, width - x); ++i) {
        const std::int32_t begin = first_pixel[static_cast<std::size_t>(x + i)];
        const std::int32_t end = first_pixel[static_cast<std::size_t>(x + i + 1)];
        if (begin == end) continue;
        const bool is_settled = (settled >> (8 * i) & 1) != 0;
        if (is_settled) winner_[0] = top.winner[static_cast<std::size_t>(x + i)];
        const std::vector<std::int32_t>& ids = is_settled ? winner_
                                               : prune    ? contested_[static_cast<std::size_t>(i)]
                                                          : everything_;
        if (merge && ids.size() == 1 && !row.spans.empty() && row.spans.back().count == 1 &&
            row.candidates.classes.back() == ids[0]) {
          row.spans.back().end = end;
          continue;
        }
        const auto first = static_cast<std::int32_t>(row.candidates.classes.size());
        row.candidates.add(ids, masks_, top, bottom, x + i);
        row.spans.push_back(
            {begin, end, first, static_cast<std::int32_t>(ids.size()), static_cast<std::int32_t>(x + i)});
      }
    }
    row.candidates.pad();
  }

 private:
  // Cells whose four nodes have the same winner, and clearly: it dominates all others.
  [[gnu::always_inline]] static Ints settled_cells(const NodeRow& top, const NodeRow& bottom, std::int64_t x,
                                                   float margin) {
    const auto i = static_cast<std::size_t>(x);
    const Ints winner = load<Ints>(&top.winner[i]);
    Ints settled = winner == load<Ints>(&top.winner[i + 1]);
    settled &= winner == load<Ints>(&bottom.winner[i]);
    settled &= winner == load<Ints>(&bottom.winner[i + 1]);
    for (const NodeRow* row : {&top, &bottom}) {
      for (const std::size_t k : {i, i + 1}) {
        settled &= load<Floats>(&row->best[k]) - load<Floats>(&row->lower[k]) > margin;
      }
    }
    return settled;
  }

  // Lists the classes that are not dominated in each of the eight cells that is not settled.
  [[gnu::always_inline]] void contest(const NodeRow& top, const NodeRow& bottom, std::int64_t x,
                                      std::uint64_t settled, float margin) {
    Dominators dominators;
    for (int i = 0; i < kLanes; ++i) {
      contested_[static_cast<std::size_t>(i)].clear();
      if ((settled >> (8 * i) & 1) == 0 && x + i + 1 < top.stride) {
        dominators.set_cell(i, top, bottom, x + i, margin, thresholds_);
      }
    }
    for (const std::int32_t c : everything_) {
      const float* upper = top.of(c) + x;
      const float* under = bottom.of(c) + x;
      const Floats values[4] = {load<Floats>(upper), load<Floats>(upper + 1), load<Floats>(under),
                                load<Floats>(under + 1)};
      const Floats highest = max(max(values[0], values[1]), max(values[2], values[3]));
      const float threshold = thresholds_[static_cast<std::size_t>(c)];
      const Ints maybe = dominators.may_win(highest, all(threshold - margin));
      if (mask_bytes(maybe) == 0) continue;
      std::uint64_t alive = mask_bytes(maybe & ~dominators.dominate(c, values, all(threshold)));
      while (alive != 0) {
        const int i = __builtin_ctzll(alive) / 8;
        alive &= ~(std::uint64_t{0xFF} << (8 * i));
        contested_[static_cast<std::size_t>(i)].push_back(c);
      }
    }
  }

  const Masks& masks_;
  std::vector<std::int32_t> everything_;  // all classes
  std::vector<float> thresholds_;         // of each
  std::vector<std::int32_t> winner_;      // of a settled cell
  std::array<std::vector<std::int32_t>, kLanes> contested_;
};

}  // namespace tcl
