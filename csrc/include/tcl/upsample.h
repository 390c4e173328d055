// Soft masks on a coarse grid become a label for every pixel of a frame, in one pass.
//
// The result is that of enlarging all masks to the frame and taking the largest, without ever holding the
// enlarged masks. Bilinear with half-pixel centres (align_corners = false), clamped at the border: pixel x of
// W looks at grid coordinate (x + 0.5) * w / W - 0.5. Arithmetic is float32, rows are interpolated first,
// then columns, each as (1 - f) * a + f * b with f rounded to 1/2^24; no fused multiply-adds, so that every
// machine gives the same labels.
//
// Equal values go to the lowest class. Values beyond +-1e20, infinities included, count as +-1e20. NaN counts
// as far below that: a pixel gets a class that is NaN around it only if every class is.
//
// With thresholds, only masks that exceed theirs take part at a pixel, so the rest is left to class 0, which
// must take part everywhere. A value that equals its threshold does not exceed it, and NaN exceeds none but
// -infinity.
#pragma once

#include <cstdint>
#include <limits>

namespace tcl {

constexpr std::int64_t kMaxSide = 65535;     // of a frame and of a mask grid
constexpr std::int64_t kMaxClasses = 65535;  // with the background

// Soft masks (count, height, width), C-contiguous, count >= 1.
struct Masks {
  const void* values;  // float32, or float16 if `half`
  bool half;
  std::int64_t count;
  std::int64_t height;
  std::int64_t width;
  // If set, the background is class 0 with this finite value everywhere, and mask i is class i + 1.
  const float* background = nullptr;
  // If set, one number of at most 1e20 a mask, or -infinity for a mask that takes part everywhere. Without a
  // background the first must be that: mask 0 then is the background.
  const float* thresholds = nullptr;

  std::int64_t classes() const { return count + (background != nullptr ? 1 : 0); }
  float threshold_of(std::int64_t c) const {
    const std::int64_t mask = c - (background != nullptr ? 1 : 0);
    return thresholds == nullptr || mask < 0 ? -std::numeric_limits<float>::infinity() : thresholds[mask];
  }
};

// How labels are painted on a frame.
struct Paint {
  const std::uint8_t* frame;        // (height, width, 3), pixels contiguous
  std::int64_t frame_stride_bytes;  // from one row to the next
  const std::uint8_t* colours;      // (classes, 3), channels in the frame's order
  std::int32_t alpha_256;           // opacity, 0 to 256
  std::int64_t skip = -1;           // class that leaves the frame as it is; -1 for none
  std::uint8_t* blended;            // (height, width, 3) contiguous, must not overlap the frame
};

// Where the labels go: all (height, width), contiguous. Label is uint8_t for up to 256 classes, or uint16_t.
template <typename Label>
struct LabelMap {
  Label* labels;
  std::int64_t height;
  std::int64_t width;
  // Optional: the winner's value, clamped to [0, 1], times 255, rounded half up. With a guide, its weighted
  // mean.
  std::uint8_t* confidence = nullptr;
};

// Which code does it. All give the same result; those other than kFastest are there to be compared with it.
enum class Path {
  kFastest,    // what suits this processor and these sizes
  kReference,  // the definition, in scalar code
  kDense,      // as kFastest, but all classes are evaluated at every pixel
  kBaseline,   // as kFastest, with the instructions that every processor of the architecture has
};

struct Execution {
  // Bands of rows worked on at the same time, >= 1; fewer where the frame is too small for it to pay.
  int threads = 1;
  Path path = Path::kFastest;
};

// Lets borders between classes follow the edges of a frame: each of the four nodes around a pixel counts as
// much more as its brightness is like the pixel's. Value = sum of weight * value at node, in the order top
// left, top right, bottom left, bottom right; weight = product of the bilinear weights, vertical *
// horizontal, times likeness[difference in brightness]. Brightness = (29 * first + 150 * second + 77 * third
// channel + 128) / 256, rounded down. A threshold is held against the weighted mean: value > threshold * (sum
// of the weights).
struct Guide {
  const std::uint8_t* frame;        // (map.height, map.width, 3), pixels contiguous
  std::int64_t frame_stride_bytes;  // from one row to the next
  const std::uint8_t* brightness;   // of each node (masks.height, masks.width), contiguous
  const float* likeness;            // 256 numbers of 0.001 to 1
};

// Fills `map`, and `paint->blended` if `paint` is given. Throws std::bad_alloc, then the outputs are
// undefined.
template <typename Label>
void upsample_argmax(const Masks& masks, const LabelMap<Label>& map, const Paint* paint,
                     const Execution& execution = {}, const Guide* guide = nullptr);

// Paints labels: blended = (frame * (256 - alpha_256) + colour * alpha_256 + 128) / 256, rounded down.
// Returns false, and leaves `blended` undefined, if a label is not below `classes`.
template <typename Label>
bool blend(const Label* labels, std::int64_t height, std::int64_t width, std::int64_t classes,
           const Paint& paint);

}  // namespace tcl
