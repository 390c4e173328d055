// Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020): every pixel becomes an average of 48
// neighbours, weighted by how alike they are in colour, again and again. All classes have the same weights
// and do not mix.
#pragma once

#include <cstdint>

namespace tcl {

struct PamrShape {
  std::int64_t count;  // masks
  std::int64_t height;
  std::int64_t width;
};

// Refines masks (count, height, width) with a picture (3, height, width) of the same size, both contiguous
// float32, and writes `refined` (count, height, width). Neighbours lie one dilation away in each of eight
// directions, borders repeated. `dilations` are `num_dilations` numbers from 1 on. Throws std::bad_alloc.
// `threads` >= 1 work on classes.
void pamr(const PamrShape& shape, const float* image, const float* masks, const std::int32_t* dilations,
          std::int64_t num_dilations, std::int64_t iterations, int threads, float* refined);

// The same in scalar code, pixel by pixel; equal but for rounding.
void reference_pamr(const PamrShape& shape, const float* image, const float* masks,
                    const std::int32_t* dilations, std::int64_t num_dilations, std::int64_t iterations,
                    float* refined);

}  // namespace tcl
