// One row of grid nodes with the values of all classes, and which class wins at each node.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "grid.h"
#include "lanes.h"
#include "tcl/upsample.h"

namespace tcl {

// (classes, stride): the last node is repeated up to the stride, so that whole vectors can be read from any
// node and the node to the right of the last is the last.
struct NodeRow {
  std::vector<float> values;
  std::vector<float> best;   // the winner's value
  std::vector<float> lower;  // the best value among classes below the winner, and the winner's threshold
  std::vector<std::int32_t> winner;
  std::int64_t stride;
  float magnitude = 0;  // largest absolute value, NaN left out

  NodeRow(std::int64_t classes, std::int64_t width) : stride((width + 2 * kLanes) / kLanes * kLanes) {
    const auto row = static_cast<std::size_t>(stride);
    values.resize(static_cast<std::size_t>(classes) * row);
    best.resize(row);
    lower.resize(row);
    winner.resize(row);
  }

  const float* of(std::int64_t c) const { return values.data() + c * stride; }
};

[[gnu::always_inline]] inline Floats cleaned(Floats value, Floats& magnitude) {
  const Floats number = value == value ? value : all(0.0f);
  const Floats limited = min(max(number, all(-kLimit)), all(kLimit));
  magnitude = max(magnitude, max(limited, -limited));
  return value == value ? limited : all(kNan);
}

[[gnu::always_inline]] inline Floats from_half(HalfWords half) {
  const Ints bits = __builtin_convertvector(half, Ints);
  const Ints magnitude = bits & 0x7FFF;
  // As in grid.h; infinity and NaN keep the exponent that says so.
  const Floats number = reinterpret_cast<Floats>(magnitude << 13) * 0x1p112f;
  const Floats special = reinterpret_cast<Floats>(0x7F800000 | (magnitude & 0x3FF) << 13);
  const Floats value = magnitude < 0x7C00 ? number : special;
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(value) | (bits & 0x8000) << 16);
}

template <typename Stored>
[[gnu::always_inline]] inline Floats load_floats(const Stored* from) {
  if constexpr (sizeof(Stored) == 2) {
    return from_half(load<HalfWords>(from));
  } else {
    return load<Floats>(from);
  }
}

// Copies one class's nodes and lets them compete with the classes before it.
template <typename Stored>
[[gnu::always_inline]] inline void add_class(NodeRow& row, std::int64_t c, const Stored* from,
                                             std::int64_t width, Floats& magnitude) {
  float* values = row.values.data() + c * row.stride;
  Stored tail[kLanes];
  for (std::int64_t x = 0; x < row.stride; x += kLanes) {
    const Stored* source = from + x;
    if (x + kLanes > width) {  // the last, incomplete vector and the padding
      for (std::int64_t i = 0; i < kLanes; ++i) tail[i] = from[std::min(x + i, width - 1)];
      source = tail;
    }
    const Floats value = cleaned(load_floats(source), magnitude);
    store(values + x, value);
    const Floats best = load<Floats>(&row.best[static_cast<std::size_t>(x)]);
    const Ints wins = value > best;
    float* lower = &row.lower[static_cast<std::size_t>(x)];
    std::int32_t* winner = &row.winner[static_cast<std::size_t>(x)];
    store(lower, wins ? best : load<Floats>(lower));
    store(winner, wins ? all(static_cast<std::int32_t>(c)) : load<Ints>(winner));
    store(&row.best[static_cast<std::size_t>(x)], wins ? value : best);
  }
}

[[gnu::always_inline]] inline void load_nodes(const Masks& masks, std::int64_t y, NodeRow& row) {
  constexpr float kNothing = -3e38f;  // below every value, NaN's included
  std::fill(row.best.begin(), row.best.end(), kNothing);
  std::fill(row.lower.begin(), row.lower.end(), kNothing);
  std::fill(row.winner.begin(), row.winner.end(), 0);
  Floats magnitude = all(0.0f);
  std::int64_t c = 0;
  if (masks.background != nullptr) {
    const float constant[1] = {*masks.background};
    add_class(row, c++, constant, 1, magnitude);
  }
  const std::int64_t plane = masks.height * masks.width;
  for (std::int64_t n = 0; n < masks.count; ++n, ++c) {
    const std::int64_t offset = n * plane + y * masks.width;
    if (masks.half) {
      add_class(row, c, static_cast<const std::uint16_t*>(masks.values) + offset, masks.width, magnitude);
    } else {
      add_class(row, c, static_cast<const float*>(masks.values) + offset, masks.width, magnitude);
    }
  }
  if (masks.thresholds != nullptr) {
    for (std::size_t x = 0; x < row.lower.size(); ++x) {
      row.lower[x] = std::max(row.lower[x], masks.threshold_of(row.winner[x]));
    }
  }
  row.magnitude = 0;
  for (int i = 0; i < kLanes; ++i) row.magnitude = std::max(row.magnitude, magnitude[i]);
}

}  // namespace tcl
