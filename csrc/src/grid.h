// Arithmetic that the reference and the fast path share: what they compute must be equal to the last bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace tcl {

// A value and its two limits; see upsample.h.
constexpr float kLimit = 1e20f;
constexpr float kNan = -1e38f;

// Where an output row or column lies on the grid: between node `low` and node `high`, `fraction` of the way.
struct Tap {
  std::int64_t low;
  std::int64_t high;
  float fraction;
};

// Integer arithmetic, so that all machines agree: the coordinate is ((2 i + 1) in - out) / (2 out), here in
// 1/2^24.
inline Tap tap(std::int64_t i, std::int64_t in, std::int64_t out) {
  const std::int64_t numerator = std::max<std::int64_t>((2 * i + 1) * in - out, 0);
  const std::int64_t fixed = ((numerator << 24) + out) / (2 * out);
  const std::int64_t low = std::min(fixed >> 24, in - 1);
  return {low, std::min(low + 1, in - 1), static_cast<float>(fixed & 0xFFFFFF) * 0x1p-24f};
}

inline std::vector<Tap> taps(std::int64_t in, std::int64_t out) {
  std::vector<Tap> result(static_cast<std::size_t>(out));
  for (std::int64_t i = 0; i < out; ++i) result[static_cast<std::size_t>(i)] = tap(i, in, out);
  return result;
}

inline float cleaned(float value) { return std::isnan(value) ? kNan : std::clamp(value, -kLimit, kLimit); }

// IEEE binary16 to binary32, exact.
inline float from_half(std::uint16_t half) {
  const std::uint32_t magnitude = half & 0x7FFFu;
  float value;
  if (magnitude < 0x7C00u) {  // shifted into place the exponent is 112 too small, which a product mends
    const std::uint32_t bits = magnitude << 13;
    std::memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
  } else {
    const std::uint32_t bits = 0x7F800000u | (magnitude & 0x3FFu) << 13;
    std::memcpy(&value, &bits, sizeof value);
  }
  return (half & 0x8000u) != 0 ? -value : value;
}

inline float between(float a, float b, float fraction) { return (1.0f - fraction) * a + fraction * b; }

// See Guide in upsample.h.
inline std::int32_t brightness(const std::uint8_t* pixel) {
  return (29 * pixel[0] + 150 * pixel[1] + 77 * pixel[2] + 128) >> 8;
}

inline std::uint8_t as_byte(float value) {
  return static_cast<std::uint8_t>(std::clamp(value, 0.0f, 1.0f) * 255.0f + 0.5f);
}

}  // namespace tcl
