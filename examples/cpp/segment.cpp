// Segments from raw arrays: soft masks as a network gives them, a frame as a camera gives it. Writes the
// labels' colours over the frame as a picture that any viewer opens.
//   ./segment out.ppm
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <vector>

#include "tcl/upsample.h"

int main(int argc, char** argv) {
  constexpr std::int64_t kMasks = 3, kGrid = 28, kHeight = 480, kWidth = 640;
  std::vector<float> values;  // (kMasks, kGrid, kGrid): three discs
  for (int n = 0; n < kMasks; ++n) {
    for (int y = 0; y < kGrid; ++y) {
      for (int x = 0; x < kGrid; ++x) {
        values.push_back(1.0f - std::hypot(static_cast<float>(x) - 7.0f * static_cast<float>(n + 1),
                                           static_cast<float>(y) - 14.0f) /
                                    10.0f);
      }
    }
  }
  const std::vector<std::uint8_t> frame(kHeight * kWidth * 3, 90);
  const std::vector<std::uint8_t> colours = {0,  0,   0,  230, 60,  60,
                                             60, 200, 80, 70,  110, 240};  // background first

  const float background = 0.4f;
  const tcl::Masks masks{values.data(), /*half=*/false, kMasks, kGrid, kGrid, &background};
  std::vector<std::uint8_t> labels(kHeight * kWidth);
  std::vector<std::uint8_t> blended(frame.size());
  const tcl::Paint paint{frame.data(),      kWidth * 3, colours.data(),
                         /*alpha_256=*/160, /*skip=*/0, blended.data()};
  tcl::upsample_argmax(masks, tcl::LabelMap<std::uint8_t>{labels.data(), kHeight, kWidth}, &paint);

  std::int64_t pixels[kMasks + 1] = {};
  for (const std::uint8_t label : labels) ++pixels[label];
  for (int c = 0; c <= kMasks; ++c)
    std::printf("class %d: %lld pixels\n", c, static_cast<long long>(pixels[c]));
  if (argc > 1) {
    std::ofstream file(argv[1], std::ios::binary);
    file << "P6\n" << kWidth << ' ' << kHeight << "\n255\n";
    file.write(reinterpret_cast<const char*>(blended.data()), static_cast<std::streamsize>(blended.size()));
  }
}
