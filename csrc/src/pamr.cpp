#include "tcl/pamr.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "bands.h"
#if defined(__GNUC__)
#include "pamr.h"
#endif

namespace tcl {

#if defined(__GNUC__)
namespace {

constexpr int kTogether = 4;  // classes averaged at a time

struct Weights {
  std::int64_t stride;  // of one neighbour in one row
  std::vector<float> values;
};

struct Kernels {
  void (*weigh)(PaddedPlanes& image, const std::vector<Offset>& offsets, std::int64_t y, float* weights,
                std::int64_t stride);
  void (*average)(PaddedPlanes& from, const std::vector<Offset>& offsets, std::int64_t n, std::int64_t count,
                  std::int64_t y, const float* weights, std::int64_t stride, PaddedPlanes& to);
};

[[gnu::always_inline]] inline void average(PaddedPlanes& from, const std::vector<Offset>& offsets,
                                           std::int64_t n, std::int64_t count, std::int64_t y,
                                           const float* weights, std::int64_t stride, PaddedPlanes& to) {
  if (count == kTogether) return average_row<kTogether>(from, offsets, n, y, weights, stride, to);
  for (std::int64_t i = 0; i < count; ++i) average_row<1>(from, offsets, n + i, y, weights, stride, to);
}

void weigh_baseline(PaddedPlanes& image, const std::vector<Offset>& offsets, std::int64_t y, float* weights,
                    std::int64_t stride) {
  weigh_row(image, offsets, y, weights, stride);
}
void average_baseline(PaddedPlanes& from, const std::vector<Offset>& offsets, std::int64_t n,
                      std::int64_t count, std::int64_t y, const float* weights, std::int64_t stride,
                      PaddedPlanes& to) {
  average(from, offsets, n, count, y, weights, stride, to);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void weigh_avx2(PaddedPlanes& image, const std::vector<Offset>& offsets,
                                        std::int64_t y, float* weights, std::int64_t stride) {
  weigh_row(image, offsets, y, weights, stride);
}
[[gnu::target("avx2")]] void average_avx2(PaddedPlanes& from, const std::vector<Offset>& offsets,
                                          std::int64_t n, std::int64_t count, std::int64_t y,
                                          const float* weights, std::int64_t stride, PaddedPlanes& to) {
  average(from, offsets, n, count, y, weights, stride, to);
}
#endif

Kernels kernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return {&weigh_avx2, &average_avx2};
#endif
  return {&weigh_baseline, &average_baseline};
}

void copy_in(const float* from, std::int64_t n, PaddedPlanes& to) {
  for (std::int64_t y = 0; y < to.height; ++y) {
    std::copy_n(from + (n * to.height + y) * to.width, to.width, to.row(n, y));
  }
  to.repeat_border(n);
}

}  // namespace

void pamr(const PamrShape& shape, const float* image, const float* masks, const std::int32_t* dilations,
          std::int64_t num_dilations, std::int64_t iterations, int threads, float* refined) {
  std::vector<Offset> offsets;
  for (const std::int32_t* d = dilations; d != dilations + num_dilations; ++d) {
    for (const std::int32_t down : {-*d, 0, *d}) {
      for (const std::int32_t right : {-*d, 0, *d}) {
        if (down != 0 || right != 0) offsets.push_back({down, right});
      }
    }
  }
  const std::int64_t reach = *std::max_element(dilations, dilations + num_dilations);
  const Kernels run = kernels();

  PaddedPlanes picture(3, shape.height, shape.width, reach);
  for (std::int64_t c = 0; c < 3; ++c) copy_in(image, c, picture);
  Weights weights{(shape.width + 2 * kLanes - 1) / (2 * kLanes) * (2 * kLanes), {}};
  const std::int64_t row_size = static_cast<std::int64_t>(offsets.size()) * weights.stride;
  weights.values.resize(static_cast<std::size_t>(shape.height * row_size));
  in_bands(shape.height, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      run.weigh(picture, offsets, y, weights.values.data() + y * row_size, weights.stride);
    }
  });

  // Classes do not mix: a thread takes some of them through all iterations. A few at a time, so that what
  // they read stays in the cache.
  in_bands(shape.count, std::min<std::int64_t>(threads, shape.count),
           [&](std::int64_t first, std::int64_t last) {
             PaddedPlanes now(kTogether, shape.height, shape.width, reach);
             PaddedPlanes next(kTogether, shape.height, shape.width, reach);
             for (std::int64_t n = first; n < last; n += kTogether) {
               const std::int64_t count = std::min<std::int64_t>(kTogether, last - n);
               const std::int64_t plane = shape.height * shape.width;
               for (std::int64_t i = 0; i < count; ++i) copy_in(masks + n * plane, i, now);
               for (std::int64_t step = 0; step < iterations; ++step) {
                 for (std::int64_t y = 0; y < shape.height; ++y) {
                   run.average(now, offsets, 0, count, y, weights.values.data() + y * row_size,
                               weights.stride, next);
                 }
                 for (std::int64_t i = 0; i < count; ++i) next.repeat_border(i);
                 std::swap(now, next);
               }
               for (std::int64_t i = 0; i < count; ++i) {
                 for (std::int64_t y = 0; y < shape.height; ++y) {
                   std::copy_n(now.row(i, y), shape.width, refined + (n + i) * plane + y * shape.width);
                 }
               }
             }
           });
}

#endif

}  // namespace tcl
