#include "tcl/upsample.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace tcl {
namespace {

// Where an output row or column lies on the grid: between node `low` and node `high`, `fraction` of the way.
struct Tap {
  std::int64_t low;
  std::int64_t high;
  float fraction;
};

// Integer arithmetic, so that all machines agree: the coordinate is ((2 i + 1) in - out) / (2 out), in units
// of 1/2^24.
std::vector<Tap> taps(std::int64_t in, std::int64_t out) {
  std::vector<Tap> result(static_cast<std::size_t>(out));
  for (std::int64_t i = 0; i < out; ++i) {
    const std::int64_t numerator = std::max<std::int64_t>((2 * i + 1) * in - out, 0);
    const std::int64_t fixed = ((numerator << 24) + out) / (2 * out);
    const std::int64_t low = std::min(fixed >> 24, in - 1);
    result[static_cast<std::size_t>(i)] = {low, std::min(low + 1, in - 1),
                                           static_cast<float>(fixed & 0xFFFFFF) * 0x1p-24f};
  }
  return result;
}

float cleaned(float value) { return std::isnan(value) ? -1e38f : std::clamp(value, -1e20f, 1e20f); }

float between(float a, float b, float fraction) { return (1.0f - fraction) * a + fraction * b; }

std::uint8_t as_byte(float value) {
  return static_cast<std::uint8_t>(std::clamp(value, 0.0f, 1.0f) * 255.0f + 0.5f);
}

template <typename Label>
bool blend_row(const Label* labels, std::int64_t row, std::int64_t width, std::int64_t classes,
               const Paint& paint) {
  const std::uint8_t* frame = paint.frame + row * paint.frame_stride_bytes;
  std::uint8_t* blended = paint.blended + row * width * 3;
  for (std::int64_t x = 0; x < width; ++x) {
    const std::int64_t label = labels[x];
    if (label >= classes) return false;
    const std::int32_t alpha = label == paint.skip ? 0 : paint.alpha_256;
    for (std::int64_t c = 0; c < 3; ++c) {
      const std::int32_t color = paint.colors[label * 3 + c];
      blended[x * 3 + c] =
          static_cast<std::uint8_t>((frame[x * 3 + c] * (256 - alpha) + color * alpha + 128) >> 8);
    }
  }
  return true;
}

}  // namespace

template <typename Label>
void upsample_argmax(const Masks& masks, const LabelMap<Label>& map, const Paint* paint) {
  const std::vector<Tap> rows = taps(masks.height, map.height);
  const std::vector<Tap> columns = taps(masks.width, map.width);
  const std::int64_t first = masks.background != nullptr ? 1 : 0;
  std::vector<float> nodes(static_cast<std::size_t>(masks.width));  // one class, interpolated to the row
  std::vector<float> best(static_cast<std::size_t>(map.width));
  for (std::int64_t y = 0; y < map.height; ++y) {
    Label* labels = map.labels + y * map.width;
    for (std::int64_t c = 0; c < masks.classes(); ++c) {
      const Tap& row = rows[static_cast<std::size_t>(y)];
      if (c < first) {
        const float constant = cleaned(*masks.background);
        std::fill(nodes.begin(), nodes.end(), between(constant, constant, row.fraction));
      } else {
        const float* plane = masks.values + (c - first) * masks.height * masks.width;
        const float* top = plane + row.low * masks.width;
        const float* bottom = plane + row.high * masks.width;
        for (std::size_t x = 0; x < nodes.size(); ++x) {
          nodes[x] = between(cleaned(top[x]), cleaned(bottom[x]), row.fraction);
        }
      }
      for (std::size_t x = 0; x < best.size(); ++x) {
        const Tap& column = columns[x];
        const float value = between(nodes[static_cast<std::size_t>(column.low)],
                                    nodes[static_cast<std::size_t>(column.high)], column.fraction);
        if (c == 0 || value > best[x]) {
          best[x] = value;
          labels[x] = static_cast<Label>(c);
        }
      }
    }
    if (map.confidence != nullptr) {
      std::transform(best.begin(), best.end(), map.confidence + y * map.width, as_byte);
    }
    if (paint != nullptr) blend_row(labels, y, map.width, masks.classes(), *paint);
  }
}

template <typename Label>
bool blend(const Label* labels, std::int64_t height, std::int64_t width, std::int64_t classes,
           const Paint& paint) {
  for (std::int64_t y = 0; y < height; ++y) {
    if (!blend_row(labels + y * width, y, width, classes, paint)) return false;
  }
  return true;
}

template void upsample_argmax(const Masks&, const LabelMap<std::uint8_t>&, const Paint*);
template void upsample_argmax(const Masks&, const LabelMap<std::uint16_t>&, const Paint*);
template bool blend(const std::uint8_t*, std::int64_t, std::int64_t, std::int64_t, const Paint&);
template bool blend(const std::uint16_t*, std::int64_t, std::int64_t, std::int64_t, const Paint&);

}  // namespace tcl
