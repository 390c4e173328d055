// The two loops of PAMR over vectors of pixels. Inlined into a function for each processor, see lanes.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lanes.h"

namespace tcl {

// Planes with their border repeated `reach` pixels outwards, and room to read and write whole vectors at row
// ends.
struct PaddedPlanes {
  std::int64_t height, width, reach, stride;
  std::int64_t plane;
  std::vector<float> values;

  PaddedPlanes(std::int64_t count, std::int64_t h, std::int64_t w, std::int64_t r)
      : height(h),
        width(w),
        reach(r),
        stride(w + 2 * r + 4 * kLanes),
        plane((h + 2 * r) * stride),
        values(static_cast<std::size_t>(count * plane + 4 * kLanes)) {}

  // Row y, from -reach to height + reach; column 0 is the first within.
  float* row(std::int64_t n, std::int64_t y) {
    return values.data() + n * plane + (y + reach) * stride + reach;
  }

  void repeat_border(std::int64_t n) {
    for (std::int64_t y = 0; y < height; ++y) {
      float* line = row(n, y);
      std::fill(line - reach, line, line[0]);
      std::fill(line + width, line + width + reach, line[width - 1]);
    }
    for (std::int64_t y = 1; y <= reach; ++y) {
      std::copy_n(row(n, 0) - reach, width + 2 * reach, row(n, -y) - reach);
      std::copy_n(row(n, height - 1) - reach, width + 2 * reach, row(n, height - 1 + y) - reach);
    }
  }
};

struct Offset {
  std::int64_t down, right;
};

// exp(x) for x <= 0, relative error below 3e-7: x = n ln 2 + r, a polynomial for r, and n goes into the
// exponent.
[[gnu::always_inline]] inline Floats exp_negative(Floats x) {
  x = max(x, all(-87.0f));
  const Ints n = __builtin_convertvector(x * 1.44269504f - 0.5f, Ints);  // rounds towards zero
  const Floats whole = __builtin_convertvector(n, Floats);
  const Floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;  // ln 2 in two parts
  Floats p = r * (1.0f / 720) + (1.0f / 120);
  p = p * r + (1.0f / 24);
  p = p * r + (1.0f / 6);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * load_as<Floats>((n + 127) << 23);
}

// Weights of the neighbours of row y: (neighbours, stride), each pixel's add up to 1.
[[gnu::always_inline]] inline void weigh_row(PaddedPlanes& image, const std::vector<Offset>& offsets,
                                             std::int64_t y, float* weights, std::int64_t stride) {
  const auto count = static_cast<std::int64_t>(offsets.size());
  // The reference counts the centre pixel once for every dilation, that is for every eight neighbours.
  const auto centres = static_cast<float>(count / 8);
  const float samples = static_cast<float>(count) + centres;
  for (std::int64_t x = 0; x < image.width; x += kLanes) {
    for (std::int64_t k = 0; k < count; ++k) store(weights + k * stride + x, all(0.0f));
    for (std::int64_t c = 0; c < 3; ++c) {
      const Floats centre = load<Floats>(image.row(c, y) + x);
      Floats sum = all(0.0f);  // of differences from the centre, which is more exact than of values
      for (const Offset& o : offsets) sum += load<Floats>(image.row(c, y + o.down) + x + o.right) - centre;
      const Floats mean = sum / samples;
      Floats squares = centres * mean * mean;
      for (const Offset& o : offsets) {
        const Floats d = load<Floats>(image.row(c, y + o.down) + x + o.right) - centre - mean;
        squares += d * d;
      }
      Floats deviation = squares / (samples - 1.0f);
      for (int i = 0; i < kLanes; ++i) deviation[i] = __builtin_sqrtf(deviation[i]);
      const Floats unit = 1e-8f + 0.1f * deviation;
      for (std::int64_t k = 0; k < count; ++k) {
        const Offset& o = offsets[static_cast<std::size_t>(k)];
        const Floats d = load<Floats>(image.row(c, y + o.down) + x + o.right) - centre;
        float* weight = weights + k * stride + x;
        store(weight, load<Floats>(weight) - max(d, -d) / unit);
      }
    }
    Floats highest = load<Floats>(weights + x);
    for (std::int64_t k = 1; k < count; ++k) highest = max(highest, load<Floats>(weights + k * stride + x));
    Floats total = all(0.0f);
    for (std::int64_t k = 0; k < count; ++k) {
      float* weight = weights + k * stride + x;
      const Floats likeness =
          exp_negative((load<Floats>(weight) - highest) * (1.0f / 3));  // mean of the channels
      store(weight, likeness);
      total += likeness;
    }
    for (std::int64_t k = 0; k < count; ++k) {
      float* weight = weights + k * stride + x;
      store(weight, load<Floats>(weight) / total);
    }
  }
}

// One row of `kCount` classes from n on: averages of `from` into `to`. Classes share the loads of the
// weights.
template <int kCount>
[[gnu::always_inline]] inline void average_row(PaddedPlanes& from, const std::vector<Offset>& offsets,
                                               std::int64_t n, std::int64_t y, const float* weights,
                                               std::int64_t stride, PaddedPlanes& to) {
  for (std::int64_t x = 0; x < from.width; x += 2 * kLanes) {
    Floats sums[kCount][2];
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) sums[i][0] = sums[i][1] = all(0.0f);
    const float* weight = weights + x;
    const float* base = from.row(n, y) + x;
    for (const Offset& o : offsets) {
      const Floats first = load<Floats>(weight);
      const Floats second = load<Floats>(weight + kLanes);
      const float* source = base + o.down * from.stride + o.right;
#pragma GCC unroll 4
      for (int i = 0; i < kCount; ++i) {
        sums[i][0] += first * load<Floats>(source + i * from.plane);
        sums[i][1] += second * load<Floats>(source + i * from.plane + kLanes);
      }
      weight += stride;
    }
    for (int i = 0; i < kCount;
         ++i) {  // goes up to 2 kLanes beyond the end, where the border is repeated later
      store(to.row(n + i, y) + x, sums[i][0]);
      store(to.row(n + i, y) + x + kLanes, sums[i][1]);
    }
  }
}

}  // namespace tcl
