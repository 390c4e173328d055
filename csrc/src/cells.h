// Which classes can win anywhere in a cell, that is between four grid nodes.
//
// Dominance: if class d is at least as large as class c at all four nodes, it is at every pixel between them,
// whatever the (non-negative) weights of the nodes. So c needs no further look. In float arithmetic
//   * d < c: holds exactly, for rounding keeps the order, and a tie goes to d.
//   * d > c: rounding might turn a lead into a tie, which c would win. So a lead by `margin` is asked for,
//   which exceeds
//     what rounding can do.
#pragma once

#include <array>
#include <cstdint>
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

// Classes in ascending order, cell by cell, and their values at the cell's nodes. Vectors are padded so that
// kLanes can be read from any candidate.
struct Candidates {
  std::vector<std::int32_t> classes;
  std::vector<float> top_left, top_right, bottom_left, bottom_right;

  void clear() {
    classes.clear();
    for (std::vector<float>* corner : corners()) corner->clear();
  }
  void add(std::int32_t c, const NodeRow& top, const NodeRow& bottom, std::int64_t x) {
    classes.push_back(c);
    top_left.push_back(top.of(c)[x]);
    top_right.push_back(top.of(c)[x + 1]);
    bottom_left.push_back(bottom.of(c)[x]);
    bottom_right.push_back(bottom.of(c)[x + 1]);
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

// Twice what two values can come closer by the rounding of two interpolations, see grid.h.
inline float rounding_margin(const NodeRow& top, const NodeRow& bottom) {
  return std::max(top.magnitude, bottom.magnitude) * 0x1p-20f;
}

struct Corners {
  float values[4];
};

[[gnu::always_inline]] inline Corners corners_of(std::int64_t c, const NodeRow& top, const NodeRow& bottom,
                                                 std::int64_t x) {
  return {{top.of(c)[x], top.of(c)[x + 1], bottom.of(c)[x], bottom.of(c)[x + 1]}};
}

// The winners at the four nodes: the classes that may dominate others.
struct Dominators {
  std::int32_t classes[4];
  Corners corners[4];
  int count = 0;

  [[gnu::always_inline]] void find(const NodeRow& top, const NodeRow& bottom, std::int64_t x) {
    const auto i = static_cast<std::size_t>(x);
    count = 0;
    for (const std::int32_t d : {top.winner[i], top.winner[i + 1], bottom.winner[i], bottom.winner[i + 1]}) {
      bool known = false;
      for (int k = 0; k < count; ++k) known |= classes[k] == d;
      if (known) continue;
      classes[count] = d;
      corners[count++] = corners_of(d, top, bottom, x);
    }
  }

  // A bound that can be tested for many cells at a time: what is below it everywhere is dominated.
  [[gnu::always_inline]] float bound(float margin) const {
    float highest = 2 * kNan;
    for (int k = 0; k < count; ++k) {
      const float* v = corners[k].values;
      highest = std::max(highest, std::min(std::min(v[0], v[1]), std::min(v[2], v[3])));
    }
    return highest - margin;
  }

  [[gnu::always_inline]] bool dominate(std::int32_t c, const Corners& candidate, float margin) const {
    for (int k = 0; k < count; ++k) {
      if (classes[k] == c) return false;
      bool above = true;
      for (int i = 0; i < 4; ++i) {
        const float lead = corners[k].values[i] - candidate.values[i];
        above &= classes[k] < c ? lead >= 0.0f : lead > margin;
      }
      if (above) return true;
    }
    return false;
  }
};

// Finds the candidates of all cells between two rows of nodes. `first_pixel` (width + 1 of them) says where
// in the row the pixels of each cell begin. With `merge`, neighbouring cells with the same single candidate
// become one span. Without `prune` all classes are candidates everywhere.
class CellFinder {
 public:
  explicit CellFinder(std::int64_t classes) : classes_(classes) {}

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
        const std::int32_t winner = top.winner[static_cast<std::size_t>(x + i)];
        const bool single = (settled >> (8 * i) & 1) != 0;
        if (single && merge && !row.spans.empty() && row.spans.back().count == 1 &&
            row.candidates.classes[static_cast<std::size_t>(row.spans.back().first)] == winner) {
          row.spans.back().end = end;
          continue;
        }
        const auto first = static_cast<std::int32_t>(row.candidates.classes.size());
        if (single) {
          row.candidates.add(winner, top, bottom, x + i);
        } else if (!prune) {
          for (std::int32_t c = 0; c < classes_; ++c) row.candidates.add(c, top, bottom, x + i);
        } else {
          for (const std::int32_t c : contested_[static_cast<std::size_t>(i)])
            row.candidates.add(c, top, bottom, x + i);
        }
        const auto count = static_cast<std::int32_t>(row.candidates.classes.size()) - first;
        row.spans.push_back({begin, end, first, count, static_cast<std::int32_t>(x + i)});
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
    std::array<Dominators, kLanes> dominators;
    Floats bound = all(-2 * kNan);  // nothing reaches it
    for (int i = 0; i < kLanes; ++i) {
      contested_[static_cast<std::size_t>(i)].clear();
      if ((settled >> (8 * i) & 1) != 0 || x + i + 1 >= top.stride) continue;
      dominators[static_cast<std::size_t>(i)].find(top, bottom, x + i);
      bound[i] = dominators[static_cast<std::size_t>(i)].bound(margin);
    }
    for (std::int64_t c = 0; c < classes_; ++c) {
      const float* upper = top.of(c) + x;
      const float* under = bottom.of(c) + x;
      const Floats highest = max(max(load<Floats>(upper), load<Floats>(upper + 1)),
                                 max(load<Floats>(under), load<Floats>(under + 1)));
      std::uint64_t alive = mask_bytes(highest >= bound);
      while (alive != 0) {
        const int i = __builtin_ctzll(alive) / 8;
        alive &= ~(std::uint64_t{0xFF} << (8 * i));
        const auto id = static_cast<std::int32_t>(c);
        if (!dominators[static_cast<std::size_t>(i)].dominate(id, corners_of(c, top, bottom, x + i),
                                                              margin)) {
          contested_[static_cast<std::size_t>(i)].push_back(id);
        }
      }
    }
  }

  std::int64_t classes_;
  std::array<std::vector<std::int32_t>, kLanes> contested_;
};

}  // namespace tcl
