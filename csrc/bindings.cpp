// The Python module runtime._native: checks what would crash, releases the GIL, calls. Friendlier messages
// and the copies that unusual arrays need are in runtime/kernels/arguments.py.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tcl/antialias.h"
#include "tcl/pamr.h"
#include "tcl/upsample.h"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;  // read with .noconvert(): never a silent copy
using Bytes = py::array_t<std::uint8_t, 0>;        // any strides

void require(bool condition, const char* expected) {
  if (!condition) throw std::invalid_argument(expected);
}

template <typename T>
void require_shape(const Array<T>& array, std::int64_t height, std::int64_t width, const char* expected) {
  require(array.ndim() == 2 && array.shape(0) == height && array.shape(1) == width, expected);
}

void require_frame(const Bytes& frame, std::int64_t height, std::int64_t width, const char* expected) {
  require(frame.ndim() == 3 && frame.shape(0) == height && frame.shape(1) == width && frame.shape(2) == 3 &&
              frame.strides(2) == 1 && frame.strides(1) == 3,
          expected);
}

tcl::Paint checked_paint(const Bytes& frame, const Array<std::uint8_t>& colours, Array<std::uint8_t>& blended,
                         std::int64_t height, std::int64_t width, std::int32_t alpha_256,
                         std::optional<std::int64_t> skip) {
  require_frame(frame, height, width,
                "frame: expected (height, width, 3) like the labels, with contiguous pixels");
  require(
      blended.ndim() == 3 && blended.shape(0) == height && blended.shape(1) == width && blended.shape(2) == 3,
      "blended: expected (height, width, 3) like the labels");
  require(colours.ndim() == 2 && colours.shape(1) == 3, "colours: expected (classes, 3)");
  require(alpha_256 >= 0 && alpha_256 <= 256, "alpha_256: expected 0 to 256");
  return {frame.data(), frame.strides(0),  colours.data(),
          alpha_256,    skip.value_or(-1), blended.mutable_data()};
}

tcl::Execution checked_execution(int threads, const std::string& path) {
  require(threads >= 1, "threads: expected at least 1");
  if (path == "fastest") return {threads, tcl::Path::kFastest};
  if (path == "reference") return {threads, tcl::Path::kReference};
  if (path == "dense") return {threads, tcl::Path::kDense};
  require(path == "baseline", "path: expected fastest, reference, dense or baseline");
  return {threads, tcl::Path::kBaseline};
}

// float32, or the bits of float16: pybind11 has no type for that.
template <typename Label>
void upsample(const py::array& masks, Array<Label>& labels, std::optional<float> background,
              std::optional<Array<std::uint8_t>> confidence, const std::optional<Bytes>& frame,
              const std::optional<Array<std::uint8_t>>& colours, std::optional<Array<std::uint8_t>> blended,
              std::int32_t alpha_256, std::optional<std::int64_t> skip, int threads, const std::string& path,
              const std::optional<Bytes>& guide, const std::optional<Array<std::uint8_t>>& brightness,
              const std::optional<Array<float>>& likeness, const std::optional<Array<float>>& thresholds) {
  const bool half = masks.dtype().kind() == 'f' && masks.itemsize() == 2;
  require(half || py::isinstance<py::array_t<float, 0>>(masks), "masks: expected float32 or float16");
  require((masks.flags() & py::array::c_style) != 0, "masks: expected contiguous memory");
  require(masks.ndim() == 3 && masks.size() > 0, "masks: expected (N, h, w), not empty");
  const tcl::Execution execution = checked_execution(threads, path);
  require(labels.ndim() == 2 && labels.size() > 0, "labels: expected (height, width), not empty");
  const std::int64_t height = labels.shape(0);
  const std::int64_t width = labels.shape(1);
  for (const std::int64_t side :
       {height, width, std::int64_t{masks.shape(1)}, std::int64_t{masks.shape(2)}}) {
    require(side <= tcl::kMaxSide, "sides: expected at most 65535");
  }
  if (thresholds) {
    require(thresholds->ndim() == 1 && thresholds->size() == masks.shape(0),
            "thresholds: expected one number a mask");
    require(background || thresholds->data()[0] == -std::numeric_limits<float>::infinity(),
            "thresholds: expected a background, or -inf for mask 0");
  }
  const tcl::Masks view{masks.data(),
                        half,
                        masks.shape(0),
                        masks.shape(1),
                        masks.shape(2),
                        background ? &*background : nullptr,
                        thresholds ? thresholds->data() : nullptr};
  require(view.classes() <= tcl::kMaxClasses, "masks: expected at most 65535 with the background");
  require(sizeof(Label) > 1 || view.classes() <= 256, "labels: too few bits for the classes");
  tcl::LabelMap<Label> map{labels.mutable_data(), height, width};
  if (confidence) {
    require_shape(*confidence, height, width, "confidence: expected (height, width) like the labels");
    map.confidence = confidence->mutable_data();
  }
  std::optional<tcl::Paint> paint;
  if (blended) {
    require(frame && colours, "frame and colours: expected with blended");
    paint = checked_paint(*frame, *colours, *blended, height, width, alpha_256, skip);
    require(colours->shape(0) == view.classes(), "colours: expected one row a class");
  }
  std::optional<tcl::Guide> follow;
  if (guide) {
    require_frame(*guide, height, width,
                  "guide: expected (height, width, 3) like the labels, with contiguous pixels");
    require(brightness && brightness->ndim() == 2 && brightness->shape(0) == view.height &&
                brightness->shape(1) == view.width,
            "brightness: expected (h, w) like the masks");
    require(likeness && likeness->ndim() == 1 && likeness->size() == 256, "likeness: expected 256 numbers");
    follow = tcl::Guide{guide->data(), guide->strides(0), brightness->data(), likeness->data()};
  }
  const py::gil_scoped_release unlocked;
  tcl::upsample_argmax(view, map, paint ? &*paint : nullptr, execution, follow ? &*follow : nullptr);
}

template <typename Label>
void blend(const Bytes& frame, const Array<Label>& labels, const Array<std::uint8_t>& colours,
           Array<std::uint8_t>& blended, std::int32_t alpha_256, std::optional<std::int64_t> skip) {
  require(labels.ndim() == 2, "labels: expected (height, width)");
  const std::int64_t height = labels.shape(0);
  const std::int64_t width = labels.shape(1);
  const tcl::Paint paint = checked_paint(frame, colours, blended, height, width, alpha_256, skip);
  const Label* values = labels.data();
  const std::int64_t classes = colours.shape(0);
  bool painted = false;
  {
    const py::gil_scoped_release unlocked;
    painted = tcl::blend(values, height, width, classes, paint);
  }
  require(painted, "labels: expected each below the number of colours");
}

Array<float> pamr(const Array<float>& masks, const Array<float>& image,
                  const std::vector<std::int32_t>& dilations, std::int64_t iterations, int threads) {
  require(masks.ndim() == 3 && masks.size() > 0, "masks: expected (N, h, w), not empty");
  require(image.ndim() == 3 && image.shape(0) == 3 && image.shape(1) == masks.shape(1) &&
              image.shape(2) == masks.shape(2),
          "image: expected (3, h, w) like the masks");
  require(!dilations.empty() && iterations >= 0 && threads >= 1,
          "expected a dilation, no negative iterations and at least one thread");
  for (const std::int32_t dilation : dilations) {
    require(dilation >= 1 && dilation <= tcl::kMaxSide, "dilations: expected 1 to 65535 each");
  }
  const tcl::PamrShape shape{masks.shape(0), masks.shape(1), masks.shape(2)};
  Array<float> refined({shape.count, shape.height, shape.width});
  const float* from = masks.data();
  const float* picture = image.data();
  float* to = refined.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    tcl::pamr(shape, picture, from, dilations.data(), static_cast<std::int64_t>(dilations.size()), iterations,
              threads, to);
  }
  return refined;
}

void resize_normalize(const Bytes& frame, Array<float>& planes, bool bicubic, bool reverse_channels,
                      const std::array<float, 3>& scale, const std::array<float, 3>& shift, int threads) {
  require(frame.ndim() == 3 && frame.size() > 0 && frame.shape(2) == 3 && frame.strides(2) == 1 &&
              frame.strides(1) == 3,
          "frame: expected (height, width, 3) with contiguous pixels");
  require(planes.ndim() == 3 && planes.size() > 0 && planes.shape(0) == 3,
          "planes: expected (3, height, width)");
  require(threads >= 1, "threads: expected at least 1");
  const tcl::Frame view{frame.data(), frame.strides(0), frame.shape(0), frame.shape(1)};
  const tcl::NetworkInput input{planes.shape(1),
                                planes.shape(2),
                                bicubic ? tcl::Filter::kBicubic : tcl::Filter::kBilinear,
                                reverse_channels,
                                {scale[0], scale[1], scale[2]},
                                {shift[0], shift[1], shift[2]}};
  float* to = planes.mutable_data();
  const py::gil_scoped_release unlocked;
  tcl::resize_normalize(view, input, threads, to);
}

template <typename Label>
void define(py::module_& module) {
  using py::arg;
  module.def("upsample", &upsample<Label>, arg("masks").noconvert(), arg("labels").noconvert(), py::kw_only(),
             arg("background") = std::nullopt, arg("confidence").noconvert() = std::nullopt,
             arg("frame").noconvert() = std::nullopt, arg("colours").noconvert() = std::nullopt,
             arg("blended").noconvert() = std::nullopt, arg("alpha_256") = 0, arg("skip") = std::nullopt,
             arg("threads") = 1, arg("path") = "fastest", arg("guide").noconvert() = std::nullopt,
             arg("brightness").noconvert() = std::nullopt, arg("likeness").noconvert() = std::nullopt,
             arg("thresholds").noconvert() = std::nullopt,
             "Fill labels, and confidence and blended where given; see tcl/upsample.h.");
  module.def("blend", &blend<Label>, arg("frame").noconvert(), arg("labels").noconvert(),
             arg("colours").noconvert(), arg("blended").noconvert(), py::kw_only(), arg("alpha_256"),
             arg("skip") = std::nullopt, "Paint labels over frame into blended; see tcl/upsample.h.");
}

}  // namespace

PYBIND11_MODULE(_native, module, py::mod_gil_not_used()) {
  module.doc() = "C++ kernels of the runtime.";
  define<std::uint8_t>(module);
  define<std::uint16_t>(module);
  module.def("resize_normalize", &resize_normalize, py::arg("frame").noconvert(),
             py::arg("planes").noconvert(), py::kw_only(), py::arg("bicubic"), py::arg("reverse_channels"),
             py::arg("scale"), py::arg("shift"), py::arg("threads") = 1, "Fill planes; see tcl/antialias.h.");
  module.def("pamr", &pamr, py::arg("masks").noconvert(), py::arg("image").noconvert(), py::kw_only(),
             py::arg("dilations"), py::arg("iterations"), py::arg("threads") = 1,
             "Refine masks; see tcl/pamr.h.");
}
