// Colours over a row of pixels. Works on runs of equal labels, within which the colour is a constant.
#pragma once

#include <cstdint>
#include <vector>

#include "lanes.h"
#include "tcl/upsample.h"

namespace tcl {

[[gnu::always_inline]] inline std::uint8_t blended_byte(std::uint32_t frame, std::uint32_t colour,
                                                        std::uint32_t alpha) {
  return static_cast<std::uint8_t>((frame * (256 - alpha) + colour * alpha + 128) >> 8);
}

// Where the run of the label at `x` ends.
template <typename Label>
[[gnu::always_inline]] inline std::int64_t run_end(const Label* labels, std::int64_t x, std::int64_t width) {
  constexpr std::int64_t kStep = 8 / sizeof(Label);
  constexpr std::uint64_t kOnes = sizeof(Label) == 1 ? 0x0101010101010101u : 0x0001000100010001u;
  const std::uint64_t same = labels[x] * kOnes;
  std::int64_t end = x + 1;
  for (; end + kStep <= width; end += kStep) {
    const std::uint64_t different = load<std::uint64_t>(labels + end) ^ same;
    if (different != 0 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
      return end + __builtin_ctzll(different) / static_cast<int>(8 * sizeof(Label));
    }
    if (different != 0) break;
  }
  while (end < width && labels[end] == labels[x]) ++end;
  return end;
}

// What to do to 96 bytes, 32 pixels, of one class: the even and the odd bytes are the low and the high halves
// of words, so nothing has to be widened or narrowed.
struct Coat {
  std::uint16_t even[3][16];
  std::uint16_t odd[3][16];
  std::uint16_t rest;  // weight of the frame
};

class Painter {
 public:
  Painter(const Paint& paint, std::int64_t classes, std::int64_t width)
      : paint_(paint), width_(width), coats_(static_cast<std::size_t>(classes)) {
    for (std::int64_t c = 0; c < classes; ++c) {
      Coat& coat = coats_[static_cast<std::size_t>(c)];
      const std::uint32_t alpha = alpha_of(c);
      coat.rest = static_cast<std::uint16_t>(256 - alpha);
      std::uint16_t term[3];
      for (int k = 0; k < 3; ++k) {
        term[k] = static_cast<std::uint16_t>(paint.colours[3 * c + k] * alpha + 128);
      }
      for (int k = 0; k < 3; ++k) {
        for (int i = 0; i < 16; ++i) {
          coat.even[k][i] = term[(32 * k + 2 * i) % 3];
          coat.odd[k][i] = term[(32 * k + 2 * i + 1) % 3];
        }
      }
    }
  }

  // Returns false at a label that is not a class.
  template <typename Label>
  [[gnu::always_inline]] bool paint_row(const Label* labels, std::int64_t y) const {
    const std::uint8_t* frame = paint_.frame + y * paint_.frame_stride_bytes;
    std::uint8_t* blended = paint_.blended + y * width_ * 3;
    for (std::int64_t x = 0; x < width_;) {
      const std::size_t label = labels[x];
      if (label >= coats_.size()) return false;
      const std::int64_t end = run_end(labels, x, width_);
      const Coat& coat = coats_[label];
      const Words rest = filled<Words>(coat.rest);
      // Goes beyond the end of the run, which the next run mends, but not of the row.
      for (; x < end && x + 32 <= width_; x += 32) {
        for (int k = 0; k < 3; ++k) {
          const Words bytes = load<Words>(frame + 3 * x + 32 * k);
          const Words even = ((bytes & 0xFF) * rest + load<Words>(coat.even[k])) >> 8;
          const Words odd = ((bytes >> 8) * rest + load<Words>(coat.odd[k])) & 0xFF00;
          store(blended + 3 * x + 32 * k, even | odd);
        }
      }
      for (; x < end; ++x) {  // near the end of the row
        for (int k = 0; k < 3; ++k) {
          const std::uint8_t colour = paint_.colours[3 * label + static_cast<std::size_t>(k)];
          blended[3 * x + k] =
              blended_byte(frame[3 * x + k], colour, alpha_of(static_cast<std::int64_t>(label)));
        }
      }
      x = end;
    }
    return true;
  }

 private:
  std::uint32_t alpha_of(std::int64_t label) const {
    return static_cast<std::uint32_t>(label == paint_.skip ? 0 : paint_.alpha_256);
  }

  Paint paint_;
  std::int64_t width_;
  std::vector<Coat> coats_;
};

}  // namespace tcl
