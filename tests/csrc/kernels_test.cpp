// Every path of the kernels against the scalar reference, on many small and some larger cases, without
// Python: for sanitizers and for other processors. Prints a digest of all results, which must be the same on
// every machine.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "tcl/pamr.h"
#include "tcl/upsample.h"

namespace {

// Not <random>, whose distributions differ between standard libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(state_ >> 32);
  }
  std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(limit));
  }
  float unit() { return static_cast<float>(bits() >> 8) * 0x1p-24f; }

 private:
  std::uint64_t state_;
};

class Digest {
 public:
  template <typename T>
  void add(const std::vector<T>& values) {
    for (const T value : values) state_ = (state_ ^ value) * 1099511628211u;
  }
  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 14695981039346656037u;
};

template <typename Label>
struct Result {
  std::vector<Label> labels;
  std::vector<std::uint8_t> confidence, blended;
  bool operator==(const Result& other) const {
    return labels == other.labels && confidence == other.confidence && blended == other.blended;
  }
};

struct Case {
  std::int64_t count, height, width, out_height, out_width;
  int kind;
  bool background, confidence, half, guided, thresholded;
};

std::vector<float> make_masks(const Case& c, Random& random) {
  const float special[] = {std::numeric_limits<float>::quiet_NaN(),
                           std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity(),
                           0.0f,
                           1.0f,
                           3e38f,
                           -3e38f,
                           1e-45f};
  std::vector<float> masks(static_cast<std::size_t>(c.count * c.height * c.width));
  std::size_t i = 0;
  for (std::int64_t n = 0; n < c.count; ++n) {
    const float cx = random.unit(), cy = random.unit(), slope = random.unit();
    for (std::int64_t y = 0; y < c.height; ++y) {
      for (std::int64_t x = 0; x < c.width; ++x, ++i) {
        const float dx = static_cast<float>(x) / static_cast<float>(c.width) - cx;
        const float dy = static_cast<float>(y) / static_cast<float>(c.height) - cy;
        masks[i] = 1.0f / (1.0f + 9.0f * slope * (dx * dx + dy * dy));
        if (c.kind == 1) masks[i] = random.unit();
        if (c.kind == 2) masks[i] = static_cast<float>(random.below(3));
        if (c.kind == 3 && random.below(5) == 0) masks[i] = special[random.below(8)];
      }
    }
  }
  return masks;
}

template <typename Label>
Result<Label> run(const Case& c, const void* masks, const std::vector<std::uint8_t>& frame,
                  const std::vector<std::uint8_t>& colours, const std::vector<float>& thresholds,
                  const tcl::Execution& execution) {
  const float background = 0.5f;
  tcl::Masks view{masks,
                  c.half,
                  c.count,
                  c.height,
                  c.width,
                  c.background ? &background : nullptr,
                  c.thresholded ? thresholds.data() : nullptr};
  const auto pixels = static_cast<std::size_t>(c.out_height * c.out_width);
  Result<Label> result{std::vector<Label>(pixels), std::vector<std::uint8_t>(c.confidence ? pixels : 0),
                       std::vector<std::uint8_t>(3 * pixels)};
  const tcl::LabelMap<Label> map{result.labels.data(), c.out_height, c.out_width,
                                 c.confidence ? result.confidence.data() : nullptr};
  const tcl::Paint paint{frame.data(), 3 * c.out_width,       colours.data(),
                         100,          c.background ? 0 : -1, result.blended.data()};
  std::vector<std::uint8_t> brightness(static_cast<std::size_t>(c.height * c.width));
  for (std::size_t i = 0; i < brightness.size(); ++i) brightness[i] = static_cast<std::uint8_t>(37 * i);
  std::vector<float> likeness(256);
  for (std::size_t i = 0; i < likeness.size(); ++i) likeness[i] = 1.0f / static_cast<float>(i + 1);
  const tcl::Guide guide{frame.data(), 3 * c.out_width, brightness.data(), likeness.data()};
  tcl::upsample_argmax(view, map, &paint, execution, c.guided ? &guide : nullptr);
  std::vector<std::uint8_t> again(3 * pixels);
  tcl::Paint second = paint;
  second.blended = again.data();
  if (!tcl::blend(result.labels.data(), c.out_height, c.out_width, view.classes(), second) ||
      again != result.blended) {
    std::printf("blend differs\n");
    std::exit(1);
  }
  return result;
}

template <typename Label>
void check(const Case& c, Random& random, Digest& digest) {
  const std::vector<float> masks = make_masks(c, random);
  std::vector<std::uint16_t> halves(masks.size());
  for (std::uint16_t& half : halves) half = static_cast<std::uint16_t>(random.bits());
  std::vector<std::uint8_t> frame(static_cast<std::size_t>(3 * c.out_height * c.out_width)),
      colours(static_cast<std::size_t>(3 * c.count + 3));
  for (std::uint8_t& byte : frame) byte = static_cast<std::uint8_t>(random.bits());
  for (std::uint8_t& byte : colours) byte = static_cast<std::uint8_t>(random.bits());
  const void* values = c.half ? static_cast<const void*>(halves.data()) : masks.data();
  // Values of the masks, so that some are equal; none here and there.
  std::vector<float> thresholds;
  for (std::int64_t n = 0; n < c.count; ++n) {
    const float value =
        masks[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(masks.size())))];
    const bool everywhere = std::isnan(value) || random.below(4) == 0 || (n == 0 && !c.background);
    thresholds.push_back(everywhere ? -std::numeric_limits<float>::infinity() : value);
  }
  const auto expected = run<Label>(c, values, frame, colours, thresholds, {1, tcl::Path::kReference});
  for (const tcl::Path path : {tcl::Path::kFastest, tcl::Path::kDense, tcl::Path::kBaseline}) {
    if (run<Label>(c, values, frame, colours, thresholds, {2, path}) == expected) continue;
    std::printf(
        "path %d differs: N=%d %dx%d -> %dx%d kind %d background %d confidence %d half %d guided %d "
        "thresholded %d\n",
        static_cast<int>(path), static_cast<int>(c.count), static_cast<int>(c.height),
        static_cast<int>(c.width), static_cast<int>(c.out_height), static_cast<int>(c.out_width), c.kind,
        c.background, c.confidence, c.half, c.guided, c.thresholded);
    std::exit(1);
  }
  digest.add(expected.labels);
  digest.add(expected.confidence);
  digest.add(expected.blended);
}

void check_pamr(Random& random) {
  for (const tcl::PamrShape shape : {tcl::PamrShape{1, 1, 1}, {3, 5, 7}, {5, 33, 17}, {9, 28, 28}}) {
    const auto pixels = static_cast<std::size_t>(shape.height * shape.width);
    std::vector<float> image(3 * pixels), masks(static_cast<std::size_t>(shape.count) * pixels),
        once(masks.size()), twice(masks.size());
    for (float& value : image) value = random.unit();
    for (float& value : masks) value = random.unit();
    const std::int32_t dilations[] = {1, 2, 24};
    tcl::pamr(shape, image.data(), masks.data(), dilations, 3, 3, 1, once.data());
    tcl::pamr(shape, image.data(), masks.data(), dilations, 3, 3, 3, twice.data());
    std::vector<float> reference(masks.size());
    tcl::reference_pamr(shape, image.data(), masks.data(), dilations, 3, 3, reference.data());
    float error = 0;
    for (std::size_t i = 0; i < once.size(); ++i) error = std::max(error, std::abs(once[i] - reference[i]));
    if (once != twice || error > 1e-5f) {
      std::printf("pamr differs\n");
      std::exit(1);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 500;
  Random random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  Digest digest;
  for (int i = 0; i < cases; ++i) {
    const bool many = i % 10 == 9;
    const bool small = i % 4 != 0;  // where borders are most of the result
    const std::int64_t nodes = many ? 9 : small ? 12 : 40;
    const std::int64_t pixels = small ? 30 : 90;
    Case c{1 + random.below(many ? 300 : 12),
           1 + random.below(nodes),
           1 + random.below(nodes),
           1 + random.below(pixels),
           1 + random.below(pixels),
           static_cast<int>(random.below(4)),
           random.below(2) == 0,
           random.below(2) == 0,
           random.below(4) == 0,
           random.below(3) == 0,
           random.below(3) == 0};
    if (c.count + 1 > 256 || i % 3 == 0) {
      check<std::uint16_t>(c, random, digest);
    } else {
      check<std::uint8_t>(c, random, digest);
    }
  }
  // Large enough for threads.
  check<std::uint8_t>({7, 28, 30, 1030, 1025, 0, true, true, false, false, false}, random, digest);
  check_pamr(random);
  std::printf("%d cases, digest %016llx\n", cases, static_cast<unsigned long long>(digest.value()));
}
