#include "tcl/upsample.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "bands.h"
#include "grid.h"
#if defined(__GNUC__)
#include "fused.h"
#endif

namespace tcl {
namespace {

template <typename Label>
bool reference_blend_row(const Label* labels, std::int64_t y, std::int64_t width, std::int64_t classes,
                         const Paint& paint) {
  const std::uint8_t* frame = paint.frame + y * paint.frame_stride_bytes;
  std::uint8_t* blended = paint.blended + y * width * 3;
  for (std::int64_t x = 0; x < width; ++x) {
    const std::int64_t label = labels[x];
    if (label >= classes) return false;
    const std::int32_t alpha = label == paint.skip ? 0 : paint.alpha_256;
    for (std::int64_t i = 3 * x; i < 3 * x + 3; ++i) {
      const std::int32_t colour = paint.colours[label * 3 + i - 3 * x];
      blended[i] = static_cast<std::uint8_t>((frame[i] * (256 - alpha) + colour * alpha + 128) >> 8);
    }
  }
  return true;
}

float node_value(const Masks& masks, std::int64_t c, std::int64_t y, std::int64_t x) {
  if (masks.background != nullptr && c-- == 0) return *masks.background;
  const std::int64_t i = (c * masks.height + y) * masks.width + x;
  return masks.half ? from_half(static_cast<const std::uint16_t*>(masks.values)[i])
                    : static_cast<const float*>(masks.values)[i];
}

// The definition: every class at every pixel. These give the values of one along a row of pixels.
void bilinear_values(const Masks& masks, std::int64_t c, const Tap& row, const std::vector<Tap>& columns,
                     std::vector<float>& nodes, std::vector<float>& values) {
  for (std::int64_t x = 0; x < masks.width; ++x) {
    nodes[static_cast<std::size_t>(x)] = between(cleaned(node_value(masks, c, row.low, x)),
                                                 cleaned(node_value(masks, c, row.high, x)), row.fraction);
  }
  for (std::size_t x = 0; x < values.size(); ++x) {
    values[x] = between(nodes[static_cast<std::size_t>(columns[x].low)],
                        nodes[static_cast<std::size_t>(columns[x].high)], columns[x].fraction);
  }
}

struct PixelWeights {
  float top_left, top_right, bottom_left, bottom_right;
};

PixelWeights guided_weights(const Guide& guide, std::int64_t y, std::int64_t x, std::int64_t nodes,
                            const Tap& row, const Tap& column) {
  const std::int32_t pixel = brightness(guide.frame + y * guide.frame_stride_bytes + 3 * x);
  const auto likeness = [&](std::int64_t node_y, std::int64_t node_x) {
    return guide.likeness[std::abs(pixel - guide.brightness[node_y * nodes + node_x])];
  };
  const float up = 1.0f - row.fraction, left = 1.0f - column.fraction;
  return {up * left * likeness(row.low, column.low), up * column.fraction * likeness(row.low, column.high),
          row.fraction * left * likeness(row.high, column.low),
          row.fraction * column.fraction * likeness(row.high, column.high)};
}

void guided_values(const Masks& masks, std::int64_t c, const Tap& row, const std::vector<Tap>& columns,
                   const std::vector<PixelWeights>& weights, std::vector<float>& values) {
  for (std::size_t x = 0; x < values.size(); ++x) {
    const PixelWeights& w = weights[x];
    values[x] = w.top_left * cleaned(node_value(masks, c, row.low, columns[x].low)) +
                w.top_right * cleaned(node_value(masks, c, row.low, columns[x].high)) +
                w.bottom_left * cleaned(node_value(masks, c, row.high, columns[x].low)) +
                w.bottom_right * cleaned(node_value(masks, c, row.high, columns[x].high));
  }
}

template <typename Label>
void reference_band(const Masks& masks, const LabelMap<Label>& map, const Paint* paint, const Guide* guide,
                    std::int64_t begin, std::int64_t end) {
  const std::vector<Tap> columns = taps(masks.width, map.width);
  std::vector<float> nodes(static_cast<std::size_t>(masks.width));  // one class, interpolated to the row
  std::vector<float> values(static_cast<std::size_t>(map.width)), best(values.size());
  std::vector<PixelWeights> weights(guide != nullptr ? values.size() : 0);
  std::vector<float> totals(values.size(), 1.0f);
  for (std::int64_t y = begin; y < end; ++y) {
    const Tap row = tap(y, masks.height, map.height);
    Label* labels = map.labels + y * map.width;
    for (std::size_t x = 0; x < weights.size(); ++x) {
      const PixelWeights w =
          guided_weights(*guide, y, static_cast<std::int64_t>(x), masks.width, row, columns[x]);
      weights[x] = w;
      totals[x] = w.top_left + w.top_right + w.bottom_left + w.bottom_right;
    }
    for (std::int64_t c = 0; c < masks.classes(); ++c) {
      if (guide != nullptr) {
        guided_values(masks, c, row, columns, weights, values);
      } else {
        bilinear_values(masks, c, row, columns, nodes, values);
      }
      const float threshold = masks.threshold_of(c);
      for (std::size_t x = 0; x < values.size(); ++x) {
        if (c == 0 || values[x] > std::max(best[x], threshold * totals[x])) {
          best[x] = values[x];
          labels[x] = static_cast<Label>(c);
        }
      }
    }
    for (std::size_t x = 0; x < weights.size(); ++x) best[x] /= totals[x];
    if (map.confidence != nullptr) {
      std::transform(best.begin(), best.end(), map.confidence + y * map.width, as_byte);
    }
    if (paint != nullptr) reference_blend_row(labels, y, map.width, masks.classes(), *paint);
  }
}

#if defined(__GNUC__)

#if defined(__x86_64__)
constexpr bool kHasAvx2Version = true;
bool runs_avx2() { return __builtin_cpu_supports("avx2"); }
#define TCL_AVX2 [[gnu::target("avx2")]]
#else
constexpr bool kHasAvx2Version = false;
bool runs_avx2() { return false; }
#define TCL_AVX2
#endif

template <typename Label>
bool baseline_paint(const Painter& painter, const Label* labels, std::int64_t y) {
  return painter.paint_row(labels, y);
}

template <typename Label>
TCL_AVX2 bool avx2_paint(const Painter& painter, const Label* labels, std::int64_t y) {
  return painter.paint_row(labels, y);
}

template <typename Label, bool kConfidence>
void baseline_band(const Masks& masks, const LabelMap<Label>& map, const Paint* paint, const Guide* guide,
                   bool prune, std::int64_t begin, std::int64_t end) {
  fused_band<Label, kConfidence>(masks, map, paint, &baseline_paint<Label>, guide, prune, begin, end);
}

template <typename Label, bool kConfidence>
TCL_AVX2 void avx2_band(const Masks& masks, const LabelMap<Label>& map, const Paint* paint,
                        const Guide* guide, bool prune, std::int64_t begin, std::int64_t end) {
  fused_band<Label, kConfidence>(masks, map, paint, &avx2_paint<Label>, guide, prune, begin, end);
}

#endif

}  // namespace

template <typename Label>
void upsample_argmax(const Masks& masks, const LabelMap<Label>& map, const Paint* paint,
                     const Execution& execution, const Guide* guide) {
  const std::int64_t pixels = map.height * map.width;
  const std::int64_t bands = std::clamp<std::int64_t>(pixels / kPixelsPerThread, 1, execution.threads);
  auto* band = &reference_band<Label>;
  Path path = execution.path;
#if defined(__GNUC__)
  // With few pixels between the nodes, looking for candidates costs more than it saves.
  if (path == Path::kFastest && pixels < 4 * masks.height * masks.width) path = Path::kReference;
  if (path != Path::kReference) {
    auto* fused = map.confidence != nullptr ? &baseline_band<Label, true> : &baseline_band<Label, false>;
    if (path != Path::kBaseline && kHasAvx2Version && runs_avx2()) {
      fused = map.confidence != nullptr ? &avx2_band<Label, true> : &avx2_band<Label, false>;
    }
    in_bands(map.height, bands, [&](std::int64_t begin, std::int64_t end) {
      fused(masks, map, paint, guide, path != Path::kDense, begin, end);
    });
    return;
  }
#endif
  in_bands(map.height, bands,
           [&](std::int64_t begin, std::int64_t end) { band(masks, map, paint, guide, begin, end); });
}

template <typename Label>
bool blend(const Label* labels, std::int64_t height, std::int64_t width, std::int64_t classes,
           const Paint& paint) {
#if defined(__GNUC__)
  const Painter painter(paint, classes, width);
  const PaintRow<Label> paint_row = runs_avx2() ? &avx2_paint<Label> : &baseline_paint<Label>;
#endif
  for (std::int64_t y = 0; y < height; ++y) {
    const Label* row = labels + y * width;
#if defined(__GNUC__)
    const bool painted = paint_row(painter, row, y);
#else
    const bool painted = reference_blend_row(row, y, width, classes, paint);
#endif
    if (!painted) return false;
  }
  return true;
}

template void upsample_argmax(const Masks&, const LabelMap<std::uint8_t>&, const Paint*, const Execution&,
                              const Guide*);
template void upsample_argmax(const Masks&, const LabelMap<std::uint16_t>&, const Paint*, const Execution&,
                              const Guide*);
template bool blend(const std::uint8_t*, std::int64_t, std::int64_t, std::int64_t, const Paint&);
template bool blend(const std::uint16_t*, std::int64_t, std::int64_t, std::int64_t, const Paint&);

}  // namespace tcl
