// Labels of a few rows of pixels from the candidates of their cells.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "cells.h"

namespace tcl {

constexpr std::int64_t kPadding = 64;  // that may be written beyond the end of a row

constexpr std::int64_t kBlockRows = 16;

// Up to kBlockRows rows of pixels. Pixels are written in whole vectors from left to right: what is written
// beyond the end of a span is overwritten by the next, or lies in the padding.
template <typename Label>
struct PixelBlock {
  std::int64_t stride;
  std::vector<Label> labels;
  std::vector<float> values;  // the winners', if asked for

  PixelBlock(std::int64_t width, bool with_values)
      : stride(width + kPadding),
        labels(static_cast<std::size_t>(kBlockRows * stride)),
        values(with_values ? labels.size() : 0) {}
};

template <typename Label>
[[gnu::always_inline]] inline void fill(Label* to, std::int64_t count, Label label) {
  constexpr std::uint32_t kOnes = sizeof(Label) == 1 ? 0x01010101u : 0x00010001u;
  const Ints wide = all(static_cast<std::int32_t>(label * kOnes));
  constexpr auto kStep = static_cast<std::int64_t>(sizeof wide / sizeof(Label));
  for (std::int64_t i = 0; i < count; i += kStep) store(to + i, wide);
}

// What a guide has to say about one row of pixels; see Guide in upsample.h.
struct GuidedRow {
  const std::uint8_t* frame;
  const std::uint8_t* top;  // brightness of the nodes above and below
  const std::uint8_t* bottom;
  std::int64_t nodes;
  const float* likeness;
};

template <typename Label, bool kValues>
class RowWriter {
 public:
  // `fractions`: of each pixel between the node to its left and that to its right, padded.
  explicit RowWriter(const float* fractions) : fractions_(fractions) {}

  // `downs`: of each row between the nodes above and those below. One span after the other, each for all
  // rows: loops of the same length again and again are what processors predict well.
  [[gnu::always_inline]] void write(const CellRow& cells, const float* downs, std::int64_t rows,
                                    const GuidedRow* guided, PixelBlock<Label>& block) {
    const Candidates& from = cells.candidates;
    for (const Span& span : cells.spans) {
      const auto first = static_cast<std::size_t>(span.first);
      const auto last = first + static_cast<std::size_t>(span.count) - 1;
      for (std::int64_t y = 0; y < rows; ++y) {
        Label* labels = block.labels.data() + y * block.stride;
        float* values = kValues ? block.values.data() + y * block.stride : nullptr;
        if (guided != nullptr && (span.count > 1 || kValues)) {
          write_guided(span, from, downs[y], guided[y], labels, values);
        } else if (!from.thresholds.empty() && (span.count > 1 || kValues)) {
          write_thresholded(span, from, downs[y], labels, values);
        } else if (span.count == 1 && !kValues) {
          fill(labels + span.begin, span.end - span.begin, static_cast<Label>(from.classes[first]));
        } else if (span.count <= 2) {
          const Line a = line(from, first, downs[y]);
          const Line b = line(from, last, downs[y]);
          write_two(span, a, b, cells.margin, labels, values);
        } else {
          write_many(span, from, downs[y], cells.margin, labels, values);
        }
      }
    }
  }

 private:
  // A class in one row of a cell: its values at the left and the right end.
  struct Line {
    std::int32_t id;
    float left;
    float right;
  };

  [[gnu::always_inline]] static Line line(const Candidates& from, std::size_t k, float down) {
    return {from.classes[k], between(from.top_left[k], from.bottom_left[k], down),
            between(from.top_right[k], from.bottom_right[k], down)};
  }

  // The first has the lower number, or both are the same.
  [[gnu::always_inline]] void write_two(const Span& span, const Line& a, const Line& b, float margin,
                                        Label* labels, float* values) {
    if (!kValues) {  // one may win the whole row
      const bool a_wins = a.left >= b.left && a.right >= b.right;
      if (a_wins || (b.left - a.left > margin && b.right - a.right > margin)) {
        fill(labels + span.begin, span.end - span.begin, static_cast<Label>(a_wins ? a.id : b.id));
        return;
      }
    }
    for (std::int32_t x = span.begin; x < span.end; x += kLanes) {
      const Floats right = load<Floats>(fractions_ + x);
      const Floats first = between(all(a.left), all(a.right), right);
      const Floats second = between(all(b.left), all(b.right), right);
      const Ints wins = second > first;
      store_labels(labels + x, wins ? all(b.id) : all(a.id));
      if constexpr (kValues) store(values + x, wins ? second : first);
    }
  }

  [[gnu::always_inline]] void write_many(const Span& span, const Candidates& from, float down, float margin,
                                         Label* labels, float* values) {
    const auto count = static_cast<std::size_t>(span.count);
    const auto first = static_cast<std::size_t>(span.first);
    if (left_.size() < count + kLanes) {
      left_.resize(count + kLanes);
      right_.resize(count + kLanes);
      ids_.resize(count + kLanes);
    }
    Floats bounds = all(2 * kNan);
    for (std::size_t k = 0; k < count; k += kLanes) {
      const Floats l = between(load<Floats>(&from.top_left[first + k]),
                               load<Floats>(&from.bottom_left[first + k]), all(down));
      const Floats r = between(load<Floats>(&from.top_right[first + k]),
                               load<Floats>(&from.bottom_right[first + k]), all(down));
      store(&left_[k], l);
      store(&right_[k], r);
      Floats lowest = min(l, r);
      for (std::size_t i = count - k; i < kLanes; ++i) lowest[i] = 2 * kNan;  // beyond the last
      bounds = max(bounds, lowest);
    }
    float bound = 2 * kNan;
    for (int i = 0; i < kLanes; ++i) bound = std::max(bound, bounds[i]);
    bound -= margin;
    std::size_t kept = 0;  // those that can still win in this row; branchless
    for (std::size_t k = 0; k < count; ++k) {
      const float l = left_[k];
      const float r = right_[k];
      left_[kept] = l;
      right_[kept] = r;
      ids_[kept] = from.classes[first + k];
      kept += std::max(l, r) >= bound ? 1 : 0;
    }
    if (kept <= 2) {
      write_two(span, {ids_[0], left_[0], right_[0]}, {ids_[kept - 1], left_[kept - 1], right_[kept - 1]},
                margin, labels, values);
      return;
    }
    for (std::int32_t x = span.begin; x < span.end; x += kLanes) {
      const Floats right = load<Floats>(fractions_ + x);
      Floats best = between(all(left_[0]), all(right_[0]), right);
      Ints label = all(ids_[0]);
      for (std::size_t k = 1; k < kept; ++k) {
        const Floats value = between(all(left_[k]), all(right_[k]), right);
        const Ints wins = value > best;
        best = wins ? value : best;
        label = wins ? all(ids_[k]) : label;
      }
      store_labels(labels + x, label);
      if constexpr (kValues) store(values + x, best);
    }
  }

  [[gnu::always_inline]] void write_thresholded(const Span& span, const Candidates& from, float down,
                                                Label* labels, float* values) {
    const auto count = static_cast<std::size_t>(span.count);
    const auto first = static_cast<std::size_t>(span.first);
    left_.resize(std::max(left_.size(), count));
    right_.resize(std::max(right_.size(), count));
    for (std::size_t k = 0; k < count; ++k) {
      left_[k] = between(from.top_left[first + k], from.bottom_left[first + k], down);
      right_[k] = between(from.top_right[first + k], from.bottom_right[first + k], down);
    }
    for (std::int32_t x = span.begin; x < span.end; x += kLanes) {
      const Floats right = load<Floats>(fractions_ + x);
      Floats best = all(3 * kNan);  // below every value
      Ints label = all(0);
      for (std::size_t k = 0; k < count; ++k) {
        const Floats value = between(all(left_[k]), all(right_[k]), right);
        const Ints wins = value > max(best, all(from.thresholds[first + k]));
        best = wins ? value : best;
        label = wins ? all(from.classes[first + k]) : label;
      }
      store_labels(labels + x, label);
      if constexpr (kValues) store(values + x, best);
    }
  }

  // Four weights a pixel, which all classes share.
  [[gnu::always_inline]] void write_guided(const Span& span, const Candidates& from, float down,
                                           const GuidedRow& row, Label* labels, float* values) {
    const std::int64_t next = std::min<std::int64_t>(span.cell + 1, row.nodes - 1);
    const std::int32_t bright[4] = {row.top[span.cell], row.top[next], row.bottom[span.cell],
                                    row.bottom[next]};
    for (std::int32_t x = span.begin; x < span.end; x += kLanes) {
      float likeness[4][kLanes] = {};
      for (std::int32_t i = 0; i < std::min(kLanes, span.end - x); ++i) {
        const std::int32_t pixel = brightness(row.frame + 3 * (x + i));
        for (int k = 0; k < 4; ++k) likeness[k][i] = row.likeness[std::abs(pixel - bright[k])];
      }
      const Floats right = load<Floats>(fractions_ + x);
      const Floats left = 1.0f - right;
      const Floats weights[4] = {all(1.0f - down) * left * load<Floats>(likeness[0]),
                                 all(1.0f - down) * right * load<Floats>(likeness[1]),
                                 all(down) * left * load<Floats>(likeness[2]),
                                 all(down) * right * load<Floats>(likeness[3])};
      const Floats total = weights[0] + weights[1] + weights[2] + weights[3];
      const bool thresholded = !from.thresholds.empty();
      Floats best = all(3 * kNan);  // below every value
      Ints label = all(0);
      for (std::int32_t k = 0; k < span.count; ++k) {
        const auto candidate = static_cast<std::size_t>(span.first + k);
        const Floats least = thresholded ? max(best, from.thresholds[candidate] * total) : best;
        const Floats value =
            weights[0] * all(from.top_left[candidate]) + weights[1] * all(from.top_right[candidate]) +
            weights[2] * all(from.bottom_left[candidate]) + weights[3] * all(from.bottom_right[candidate]);
        const Ints wins = value > least;
        best = wins ? value : best;
        label = wins ? all(from.classes[candidate]) : label;
      }
      store_labels(labels + x, label);
      if constexpr (kValues) store(values + x, best / total);
    }
  }

  const float* fractions_;
  std::vector<float> left_, right_;  // scratch of write_many
  std::vector<std::int32_t> ids_;
};

}  // namespace tcl
