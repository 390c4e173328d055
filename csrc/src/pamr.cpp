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

void reference_pamr(const PamrShape& shape, const float* image, const float* masks,
                    const std::int32_t* dilations, std::int64_t num_dilations, std::int64_t iterations,
                    float* refined) {
  const std::int64_t plane = shape.height * shape.width;
  const std::int64_t count = 8 * num_dilations;
  const auto neighbour = [&](std::int64_t y, std::int64_t x, std::int64_t k) {
    const std::int64_t direction = k % 8 + (k % 8 >= 4 ? 1 : 0);  // of nine, without the middle
    const std::int64_t step = dilations[k / 8];
    const std::int64_t down = std::clamp<std::int64_t>(y + (direction / 3 - 1) * step, 0, shape.height - 1);
    const std::int64_t right = std::clamp<std::int64_t>(x + (direction % 3 - 1) * step, 0, shape.width - 1);
    return down * shape.width + right;
  };
  std::vector<float> weights(static_cast<std::size_t>(plane * count));
  for (std::int64_t p = 0; p < plane; ++p) {
    const std::int64_t y = p / shape.width, x = p % shape.width;
    std::vector<double> difference(static_cast<std::size_t>(count));
    for (std::int64_t c = 0; c < 3; ++c) {
      const float* channel = image + c * plane;
      // The centre pixel counts once for every dilation.
      const double samples = static_cast<double>(count + num_dilations);
      double sum = 0, squares = 0;
      for (std::int64_t k = 0; k < count; ++k) sum += channel[neighbour(y, x, k)] - channel[p];
      const double mean = sum / samples;
      for (std::int64_t k = 0; k < count; ++k) {
        const double d = channel[neighbour(y, x, k)] - channel[p] - mean;
        squares += d * d;
      }
      squares += static_cast<double>(num_dilations) * mean * mean;
      const double unit = 1e-8 + 0.1 * std::sqrt(squares / (samples - 1));
      for (std::int64_t k = 0; k < count; ++k) {
        difference[static_cast<std::size_t>(k)] +=
            std::abs(channel[neighbour(y, x, k)] - channel[p]) / unit / 3;
      }
    }
    const double least = *std::min_element(difference.begin(), difference.end());
    double total = 0;
    for (double& value : difference) total += value = std::exp(least - value);
    for (std::int64_t k = 0; k < count; ++k) {
      weights[static_cast<std::size_t>(p * count + k)] =
          static_cast<float>(difference[static_cast<std::size_t>(k)] / total);
    }
  }
  std::copy_n(masks, shape.count * plane, refined);
  std::vector<float> before(static_cast<std::size_t>(plane));
  for (std::int64_t n = 0; n < shape.count; ++n) {
    for (std::int64_t step = 0; step < iterations; ++step) {
      std::copy_n(refined + n * plane, plane, before.begin());
      for (std::int64_t p = 0; p < plane; ++p) {
        float sum = 0;
        for (std::int64_t k = 0; k < count; ++k) {
          sum += weights[static_cast<std::size_t>(p * count + k)] *
                 before[static_cast<std::size_t>(neighbour(p / shape.width, p % shape.width, k))];
        }
        refined[n * plane + p] = sum;
      }
    }
  }
}

#if defined(__GNUC__)
namespace {

constexpr int kTogether = 3;  // classes averaged at a time: what they read stays in the cache

struct Kernels {
  void (*weigh)(PaddedPlanes& image, const std::vector<Offset>& offsets, std::int64_t y, float* weights);
  void (*average)(PaddedPlanes& from, const std::vector<Offset>& offsets, std::int64_t count, std::int64_t y,
                  const float* weights, PaddedPlanes& to);
};

[[gnu::always_inline]] inline void average(PaddedPlanes& from, const std::vector<Offset>& offsets,
                                           std::int64_t count, std::int64_t y, const float* weights,
                                           PaddedPlanes& to) {
  if (count == 3) return average_row<3>(from, offsets, 0, y, weights, to);
  if (count == 2) return average_row<2>(from, offsets, 0, y, weights, to);
  average_row<1>(from, offsets, 0, y, weights, to);
}

void weigh_baseline(PaddedPlanes& image, const std::vector<Offset>& offsets, std::int64_t y, float* weights) {
  weigh_row(image, offsets, y, weights);
}
void average_baseline(PaddedPlanes& from, const std::vector<Offset>& offsets, std::int64_t count,
                      std::int64_t y, const float* weights, PaddedPlanes& to) {
  average(from, offsets, count, y, weights, to);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void weigh_avx2(PaddedPlanes& image, const std::vector<Offset>& offsets,
                                        std::int64_t y, float* weights) {
  weigh_row(image, offsets, y, weights);
}
[[gnu::target("avx2")]] void average_avx2(PaddedPlanes& from, const std::vector<Offset>& offsets,
                                          std::int64_t count, std::int64_t y, const float* weights,
                                          PaddedPlanes& to) {
  average(from, offsets, count, y, weights, to);
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
  const std::int64_t row_size = static_cast<std::int64_t>(offsets.size()) * whole_tiles(shape.width);
  AlignedFloats weights(static_cast<std::size_t>(shape.height * row_size));
  in_bands(shape.height, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      run.weigh(picture, offsets, y, weights.data() + y * row_size);
    }
  });

  // Classes do not mix: a thread takes some of them through all iterations, a few at a time.
  const std::int64_t plane = shape.height * shape.width;
  const auto refine = [&](std::int64_t first, std::int64_t last) {
    PaddedPlanes now(kTogether, shape.height, shape.width, reach);
    PaddedPlanes next(kTogether, shape.height, shape.width, reach);
    for (std::int64_t n = first; n < last; n += kTogether) {
      const std::int64_t count = std::min<std::int64_t>(kTogether, last - n);
      for (std::int64_t i = 0; i < count; ++i) copy_in(masks + n * plane, i, now);
      for (std::int64_t step = 0; step < iterations; ++step) {
        for (std::int64_t y = 0; y < shape.height; ++y) {
          run.average(now, offsets, count, y, weights.data() + y * row_size, next);
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
  };
  in_bands(shape.count, std::min<std::int64_t>(threads, shape.count), refine);
}

#else

void pamr(const PamrShape& shape, const float* image, const float* masks, const std::int32_t* dilations,
          std::int64_t num_dilations, std::int64_t iterations, int, float* refined) {
  reference_pamr(shape, image, masks, dilations, num_dilations, iterations, refined);
}

#endif

}  // namespace tcl
