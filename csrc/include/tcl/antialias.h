// From a camera's frame to a network's input in one pass: shrink without aliasing, normalise, separate the
// channels.
//
// Each output pixel is a weighted average of all the input pixels that it covers, as in Pillow, and in
// PyTorch with antialias = true: a triangle or a cubic (a = -0.5), as wide as the scale asks for, half-pixel
// centres.
#pragma once

#include <cstdint>

namespace tcl {

enum class Filter { kBilinear, kBicubic };

struct Frame {
  const std::uint8_t* pixels;  // (height, width, 3), pixels contiguous
  std::int64_t stride_bytes;   // from one row to the next
  std::int64_t height;
  std::int64_t width;
};

// What the network wants to see.
struct NetworkInput {
  std::int64_t height;
  std::int64_t width;
  Filter filter;
  bool reverse_channels;  // plane 0 is the frame's last channel
  float scale[3];         // plane c holds value * scale[c] + shift[c], values 0 to 255
  float shift[3];
};

// With up to `threads` bands of rows at the same time, fewer where the frame is small. Fills `planes` (3,
// input.height, input.width), contiguous. Throws std::bad_alloc.
void resize_normalize(const Frame& frame, const NetworkInput& input, int threads, float* planes);

}  // namespace tcl
