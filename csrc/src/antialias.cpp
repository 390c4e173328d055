#include "tcl/antialias.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "bands.h"
#if defined(__GNUC__)
#include "lanes.h"
#endif

namespace tcl {
namespace {

// The input pixels [first, first + count) that one output pixel averages, and their weights.
struct Window {
  std::int64_t first;
  std::int64_t count;
  std::size_t weights;
};

struct Windows {
  std::vector<Window> windows;
  std::vector<float> weights;
};

double filter_at(Filter filter, double x) {
  x = std::abs(x);
  if (filter == Filter::kBilinear) return std::max(1.0 - x, 0.0);
  constexpr double kA = -0.5;
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * kA : 0.0;
}

Windows make_windows(std::int64_t in, std::int64_t out, Filter filter) {
  Windows result;
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double widening = std::max(scale, 1.0);
  const double reach = (filter == Filter::kBilinear ? 1.0 : 2.0) * widening;
  for (std::int64_t i = 0; i < out; ++i) {
    const double centre = scale * (static_cast<double>(i) + 0.5);
    const std::int64_t first = std::max<std::int64_t>(static_cast<std::int64_t>(centre - reach + 0.5), 0);
    const std::int64_t last = std::min<std::int64_t>(static_cast<std::int64_t>(centre + reach + 0.5), in);
    std::vector<double> weights;
    double total = 0;
    for (std::int64_t j = first; j < last; ++j) {
      weights.push_back(filter_at(filter, (static_cast<double>(j) + 0.5 - centre) / widening));
      total += weights.back();
    }
    result.windows.push_back({first, last - first, result.weights.size()});
    for (const double weight : weights) result.weights.push_back(static_cast<float>(weight / total));
  }
  return result;
}

constexpr std::int64_t kStep = 32;  // bytes of a row at a time

// sums[i] = sum of weights[k] * rows[k][i] for i < size; `sums` has room for whole steps.
void reference_average_rows(const std::uint8_t* rows, std::int64_t stride, const float* weights,
                            std::int64_t count, std::int64_t begin, std::int64_t size, float* sums) {
  for (std::int64_t i = begin; i < size; ++i) {
    float sum = 0;
    for (std::int64_t k = 0; k < count; ++k) sum += weights[k] * static_cast<float>(rows[k * stride + i]);
    sums[i] = sum;
  }
}

[[maybe_unused]] void reference_average_columns(const float* pixels, const float* weights, std::int64_t count,
                                                float* sum) {
  sum[0] = sum[1] = sum[2] = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    for (std::int64_t c = 0; c < 3; ++c) sum[c] += weights[k] * pixels[3 * k + c];
  }
}

struct Kernels {
  void (*average_rows)(const std::uint8_t*, std::int64_t, const float*, std::int64_t, std::int64_t,
                       std::int64_t, float*);
  void (*average_columns)(const float*, const float*, std::int64_t, float*);
};

#if defined(__GNUC__)

constexpr bool kFirstByteIsLowest = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;

[[gnu::always_inline]] inline void average_rows(const std::uint8_t* rows, std::int64_t stride,
                                                const float* weights, std::int64_t count, std::int64_t begin,
                                                std::int64_t size, float* sums) {
  std::int64_t i = begin;
  for (; i + kStep <= size; i += kStep) {
    // Every fourth byte together: that takes a shift and a mask, where the order of the bytes would take
    // shuffles.
    Floats sum[4] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)};
    for (std::int64_t k = 0; k < count; ++k) {
      const Ints bytes = load<Ints>(rows + k * stride + i);
      const Floats weight = all(weights[k]);
      sum[0] += weight * __builtin_convertvector(bytes & 0xFF, Floats);
      sum[1] += weight * __builtin_convertvector((bytes >> 8) & 0xFF, Floats);
      sum[2] += weight * __builtin_convertvector((bytes >> 16) & 0xFF, Floats);
      sum[3] += weight * __builtin_convertvector((bytes >> 24) & 0xFF, Floats);
    }
    float apart[4][kLanes];
    std::memcpy(apart, sum, sizeof apart);
    for (int j = 0; j < kLanes; ++j) {
      for (int k = 0; k < 4; ++k) sums[i + 4 * j + k] = apart[kFirstByteIsLowest ? k : 3 - k][j];
    }
  }
  reference_average_rows(rows, stride, weights, count, i, size, sums);
}

// A pixel and the first channel of the next: the fourth lane is not used, and the row has room for it.
using Quad = float __attribute__((vector_size(16)));

[[gnu::always_inline]] inline void average_columns(const float* pixels, const float* weights,
                                                   std::int64_t count, float* sum) {
  Quad even = {0, 0, 0, 0}, odd = {0, 0, 0, 0};
  std::int64_t k = 0;
  for (; k + 2 <= count; k += 2) {
    even += filled<Quad>(weights[k]) * load<Quad>(pixels + 3 * k);
    odd += filled<Quad>(weights[k + 1]) * load<Quad>(pixels + 3 * k + 3);
  }
  if (k < count) even += filled<Quad>(weights[k]) * load<Quad>(pixels + 3 * k);
  even += odd;
  for (int c = 0; c < 3; ++c) sum[c] = even[c];
}

void average_rows_baseline(const std::uint8_t* rows, std::int64_t stride, const float* weights,
                           std::int64_t count, std::int64_t begin, std::int64_t size, float* sums) {
  average_rows(rows, stride, weights, count, begin, size, sums);
}
void average_columns_baseline(const float* pixels, const float* weights, std::int64_t count, float* sum) {
  average_columns(pixels, weights, count, sum);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void average_rows_avx2(const std::uint8_t* rows, std::int64_t stride,
                                               const float* weights, std::int64_t count, std::int64_t begin,
                                               std::int64_t size, float* sums) {
  average_rows(rows, stride, weights, count, begin, size, sums);
}
#endif

#endif

Kernels kernels() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx2")) return {&average_rows_avx2, &average_columns_baseline};
#endif
#if defined(__GNUC__)
  return {&average_rows_baseline, &average_columns_baseline};
#else
  return {&reference_average_rows, &reference_average_columns};
#endif
}

}  // namespace

void resize_normalize(const Frame& frame, const NetworkInput& input, int threads, float* planes) {
  const Windows rows = make_windows(frame.height, input.height, input.filter);
  const Windows columns = make_windows(frame.width, input.width, input.filter);
  const Kernels run = kernels();
  const std::int64_t plane = input.height * input.width;
  const std::int64_t bands =
      std::clamp<std::int64_t>(frame.height * frame.width / kPixelsPerThread, 1, threads);
  in_bands(input.height, std::min(bands, input.height), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> row(static_cast<std::size_t>(3 * frame.width + kStep));
    for (std::int64_t y = begin; y < end; ++y) {
      const Window& down = rows.windows[static_cast<std::size_t>(y)];
      run.average_rows(frame.pixels + down.first * frame.stride_bytes, frame.stride_bytes,
                       &rows.weights[down.weights], down.count, 0, 3 * frame.width, row.data());
      for (std::int64_t x = 0; x < input.width; ++x) {
        const Window& across = columns.windows[static_cast<std::size_t>(x)];
        float sum[3];
        run.average_columns(row.data() + 3 * across.first, &columns.weights[across.weights], across.count,
                            sum);
        for (std::int64_t c = 0; c < 3; ++c) {
          planes[c * plane + y * input.width + x] =
              sum[input.reverse_channels ? 2 - c : c] * input.scale[c] + input.shift[c];
        }
      }
    }
  });
}

}  // namespace tcl
