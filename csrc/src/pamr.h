// The two loops of PAMR over vectors of pixels. Inlined into a function for each processor, see lanes.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "lanes.h"

namespace tcl {

// Loads that cross cache lines take twice as long, and here nearly all time goes into loads.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  CacheLineAllocator() = default;
  template <typename Other>
  explicit CacheLineAllocator(const CacheLineAllocator<Other>&) {}
  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{64}));
  }
  void deallocate(T* values, std::size_t) { ::operator delete(values, std::align_val_t{64}); }
  friend bool operator==(const CacheLineAllocator&, const CacheLineAllocator&) { return true; }
  friend bool operator!=(const CacheLineAllocator&, const CacheLineAllocator&) { return false; }
};
using AlignedFloats = std::vector<float, CacheLineAllocator<float>>;

// Pixels of a row that are averaged at a time, two vectors.
constexpr std::int64_t kTile = 2 * kLanes;

inline std::int64_t whole_tiles(std::int64_t pixels) { return (pixels + kTile - 1) / kTile * kTile; }

// Planes with their border repeated `reach` pixels outwards, and room to read and write whole tiles at row
// ends.
struct PaddedPlanes {
  std::int64_t height, width, reach;
  std::int64_t lead;    // pixels before the first of a row
  std::int64_t stride;  // from one row to the next
  std::int64_t plane;   // from one plane to the next: not 4 KB, whose multiples share a place in the cache
  AlignedFloats values;

  PaddedPlanes(std::int64_t count, std::int64_t h, std::int64_t w, std::int64_t r)
      : height(h),
        width(w),
        reach(r),
        lead(whole_tiles(r)),
        stride(whole_tiles(w) + 2 * lead),
        plane((h + 2 * r) * stride + 4 * kTile),
        values(static_cast<std::size_t>(count * plane)) {}

  // Row y, from -reach to height + reach; column 0 is the first within.
  float* row(std::int64_t n, std::int64_t y) {
    return values.data() + n * plane + (y + reach) * stride + lead;
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

// Weights of the neighbours of row y: (tiles, neighbours, kTile), each pixel's add up to 1.
[[gnu::always_inline]] inline void weigh_row(PaddedPlanes& image, const std::vector<Offset>& offsets,
                                             std::int64_t y, float* row_weights) {
  const auto count = static_cast<std::int64_t>(offsets.size());
  // The reference counts the centre pixel once for every dilation, that is for every eight neighbours.
  const auto samples = static_cast<float>(count + count / 8);
  for (std::int64_t x = 0; x < image.width; x += kLanes) {
    float* weights = row_weights + x / kTile * count * kTile + x % kTile;
    for (std::int64_t k = 0; k < count; ++k) store(weights + k * kTile, all(0.0f));
    for (std::int64_t c = 0; c < 3; ++c) {
      const Floats centre = load<Floats>(image.row(c, y) + x);
      // Of differences from the centre, which is more exact than of values: it is among the samples itself,
      // so what is taken from the sum of squares is at most eight ninths of it.
      Floats sum = all(0.0f), squares = all(0.0f);
      for (const Offset& o : offsets) {
        const Floats d = load<Floats>(image.row(c, y + o.down) + x + o.right) - centre;
        sum += d;
        squares += d * d;
      }
      Floats deviation = (squares - sum * sum / samples) / (samples - 1.0f);
      for (int i = 0; i < kLanes; ++i) deviation[i] = __builtin_sqrtf(deviation[i]);
      const Floats per_unit = 1.0f / (1e-8f + 0.1f * deviation);
      for (std::int64_t k = 0; k < count; ++k) {
        const Offset& o = offsets[static_cast<std::size_t>(k)];
        const Floats d = load<Floats>(image.row(c, y + o.down) + x + o.right) - centre;
        float* weight = weights + k * kTile;
        store(weight, load<Floats>(weight) - max(d, -d) * per_unit);
      }
    }
    Floats highest = load<Floats>(weights);
    for (std::int64_t k = 1; k < count; ++k) highest = max(highest, load<Floats>(weights + k * kTile));
    Floats total = all(0.0f);
    for (std::int64_t k = 0; k < count; ++k) {
      float* weight = weights + k * kTile;
      const Floats likeness =
          exp_negative((load<Floats>(weight) - highest) * (1.0f / 3));  // mean of the channels
      store(weight, likeness);
      total += likeness;
    }
    const Floats share = 1.0f / total;
    for (std::int64_t k = 0; k < count; ++k) {
      float* weight = weights + k * kTile;
      store(weight, load<Floats>(weight) * share);
    }
  }
}

// One row of `kCount` classes from n on: averages of `from` into `to`. Classes share the loads of the
// weights.
template <int kCount>
[[gnu::always_inline]] inline void average_row(PaddedPlanes& from, const std::vector<Offset>& offsets,
                                               std::int64_t n, std::int64_t y, const float* weights,
                                               PaddedPlanes& to) {
  for (std::int64_t x = 0; x < from.width; x += kTile) {
    Floats sums[kCount][2];
    const float* sources[kCount];
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) {
      sums[i][0] = sums[i][1] = all(0.0f);
      sources[i] = from.row(n + i, y) + x;
    }
    for (const Offset& o : offsets) {
      const Floats first = load<Floats>(weights);
      const Floats second = load<Floats>(weights + kLanes);
      const std::int64_t step = o.down * from.stride + o.right;
#pragma GCC unroll 4
      for (int i = 0; i < kCount; ++i) {
        sums[i][0] += first * load<Floats>(sources[i] + step);
        sums[i][1] += second * load<Floats>(sources[i] + step + kLanes);
      }
      weights += kTile;
    }
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) {  // may go beyond the end, where the border is repeated later
      store(to.row(n + i, y) + x, sums[i][0]);
      store(to.row(n + i, y) + x + kLanes, sums[i][1]);
    }
  }
}

}  // namespace tcl
