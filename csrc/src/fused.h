// The fast path: candidates of each cell, labels row by row, and colours while the labels are in the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "cells.h"
#include "paint.h"
#include "rows.h"

namespace tcl {

// For each node, the first pixel of the cell to its right; at the end the number of pixels.
inline std::vector<std::int32_t> first_pixels(const std::vector<Tap>& columns, std::int64_t nodes) {
  std::vector<std::int32_t> first(static_cast<std::size_t>(nodes) + 1,
                                  static_cast<std::int32_t>(columns.size()));
  for (std::size_t x = columns.size(); x-- > 0;)
    first[static_cast<std::size_t>(columns[x].low)] = static_cast<std::int32_t>(x);
  for (std::size_t i = first.size() - 1; i-- > 0;) first[i] = std::min(first[i], first[i + 1]);
  return first;
}

// Not memcpy: glibc's is many times slower on some processors if the addresses differ by little in their last
// 12 bits.
template <typename T>
[[gnu::always_inline]] inline void copy(const T* from, T* to, std::int64_t count) {
  constexpr auto kStep = static_cast<std::int64_t>(sizeof(Ints) / sizeof(T));
  std::int64_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    store(to + i, load<Ints>(from + i));
    asm volatile("" ::: "memory");
  }
  for (; i < count; ++i) to[i] = from[i];
}

// Painter::paint_row for the same processor as the rest. A function of its own, which compilers optimise
// better than one more loop of a large function.
template <typename Label>
using PaintRow = bool (*)(const Painter&, const Label*, std::int64_t);

// Row `i` of the block becomes row `y` of the results.
template <typename Label>
[[gnu::always_inline]] inline void finish_row(const PixelBlock<Label>& block, std::int64_t i,
                                              const LabelMap<Label>& map, const Painter* painter,
                                              PaintRow<Label> paint_row, std::int64_t y) {
  const Label* labels = block.labels.data() + i * block.stride;
  copy(labels, map.labels + y * map.width, map.width);
  if (map.confidence != nullptr) {
    const float* values = block.values.data() + i * block.stride;
    std::uint8_t* confidence = map.confidence + y * map.width;
    std::int64_t x = 0;
    for (; x + kLanes <= map.width; x += kLanes) {
      const Floats limited = min(max(load<Floats>(values + x), all(0.0f)), all(1.0f));
      store_labels(confidence + x, __builtin_convertvector(limited * 255.0f + 0.5f, Ints));
    }
    for (; x < map.width; ++x) confidence[x] = as_byte(values[x]);
  }
  if (painter != nullptr) paint_row(*painter, labels, y);
}

// Rows [begin, end) of the result.
template <typename Label, bool kConfidence>
[[gnu::always_inline]] inline void fused_band(const Masks& masks, const LabelMap<Label>& map,
                                              const Paint* paint, PaintRow<Label> paint_row,
                                              const Guide* guide, bool prune, std::int64_t begin,
                                              std::int64_t end) {
  const std::vector<Tap> columns = taps(masks.width, map.width);
  const std::vector<std::int32_t> first_pixel = first_pixels(columns, masks.width);
  std::vector<float> fractions(columns.size() + kPadding);
  for (std::size_t x = 0; x < columns.size(); ++x) fractions[x] = columns[x].fraction;

  NodeRow top(masks.classes(), masks.width);
  NodeRow bottom(masks.classes(), masks.width);
  CellFinder finder(masks);
  CellRow cells;
  PixelBlock<Label> block(map.width, kConfidence);
  RowWriter<Label, kConfidence> writer(fractions.data());
  std::optional<Painter> painter;
  if (paint != nullptr) painter.emplace(*paint, masks.classes(), map.width);
  // Where nearly every class might win, as in noise, and there are few pixels to gain, looking costs more
  // than it saves.
  constexpr int kSkippedRows = 15;
  const bool small_cells = map.height * map.width < 256 * masks.height * masks.width;
  int rows_to_skip = 0;
  std::int64_t loaded = -1;  // the grid row that `bottom` holds
  for (std::int64_t y = begin; y < end;) {
    const Tap row = tap(y, masks.height, map.height);
    if (loaded == row.low) {
      std::swap(top, bottom);
    } else {
      load_nodes(masks, row.low, top);
    }
    load_nodes(masks, row.high, bottom);
    loaded = row.high;
    const bool look = prune && rows_to_skip-- <= 0;
    finder.find(top, bottom, first_pixel, !kConfidence, look, cells);
    const auto kept = static_cast<std::int64_t>(cells.candidates.classes.size());
    if (look) rows_to_skip = small_cells && 5 * kept > 3 * masks.classes() * masks.width ? kSkippedRows : 0;
    while (y < end) {  // blocks of rows between these nodes
      float downs[kBlockRows];
      std::int64_t rows = 0;
      for (; rows < kBlockRows && y + rows < end; ++rows) {
        const Tap next = tap(y + rows, masks.height, map.height);
        if (next.low != row.low) break;
        downs[rows] = next.fraction;
      }
      if (rows == 0) break;
      GuidedRow guided[kBlockRows];
      for (std::int64_t i = 0; guide != nullptr && i < rows; ++i) {
        guided[i] = {guide->frame + (y + i) * guide->frame_stride_bytes,
                     guide->brightness + row.low * masks.width, guide->brightness + row.high * masks.width,
                     masks.width, guide->likeness};
      }
      writer.write(cells, downs, rows, guide != nullptr ? guided : nullptr, block);
      for (std::int64_t i = 0; i < rows; ++i, ++y)
        finish_row(block, i, map, painter ? &*painter : nullptr, paint_row, y);
    }
  }
}

}  // namespace tcl
