"""Sizes that engines are built for. Oracle: the sizes that preprocessing gives for frames of every usual shape."""

import pytest

from runtime.bundle import Bundle, GraphSpec, InputSpec
from runtime.engines.profile import Profile, Range, segmenter_profile
from runtime.errors import EngineError
from runtime.frame import input_size

FREE = InputSpec(size=448, multiple_of=16, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")


@pytest.mark.parametrize("size", [64, 224, 384, 448, 1000])
@pytest.mark.parametrize("step", [14, 16, 32])
@pytest.mark.parametrize("frame", [(1080, 1920), (480, 640), (1920, 1080), (1080, 2560), (500, 500), (2400, 1080)])
def test_every_usual_frame_fits(size: int, step: int, frame: tuple[int, int]) -> None:
    spec = FREE.model_copy(update={"size": size, "multiple_of": step})
    height, width = input_size(frame, spec)
    ranges = segmenter_profile(spec, words=10).ranges
    assert ranges["height"].least <= height <= ranges["height"].most
    assert ranges["width"].least <= width <= ranges["width"].most


def test_ranges_are_in_order_and_multiples() -> None:
    for size in range(32, 600, 7):
        spec = FREE.model_copy(update={"size": size})
        for name, (least, usual, most) in segmenter_profile(spec, words=256, batch=4).ranges.items():
            assert 1 <= least <= usual <= most
            assert name not in ("height", "width") or least % 16 == usual % 16 == most % 16 == 0
    landscape = segmenter_profile(FREE, words=256).ranges
    assert (landscape["height"].usual, landscape["width"].usual) == input_size((1080, 1920), FREE)


def test_a_fixed_size_is_fixed(tiny: Bundle) -> None:
    fixed = FREE.model_copy(update={"size": (320, 512)})
    profile = segmenter_profile(fixed, words=100, batch=2)
    shapes = profile.shapes(tiny.manifest.segmenter)
    channels = tiny.manifest.output.channels
    assert shapes["image"] == ((1, 3, 320, 512), (1, 3, 320, 512), (2, 3, 320, 512))
    assert shapes["text"] == ((1, channels), (32, channels), (100, channels))


def test_what_is_too_narrow_is_said() -> None:
    have = segmenter_profile(FREE, words=64, batch=2)
    assert have.lacking(segmenter_profile(FREE, words=30)) == ""
    assert have.lacking(segmenter_profile(FREE, words=65)) == "it takes 1 to 64 words, needed are 1 to 65"
    assert "batch" in have.lacking(segmenter_profile(FREE, words=1, batch=3))
    assert "height" in have.lacking(segmenter_profile(FREE.model_copy(update={"size": 512}), words=1))
    assert "it takes none words" in Profile({"batch": Range(1, 1, 1)}).lacking(Profile({"words": Range(1, 1, 1)}))


def test_unknown_dimensions_and_nonsense_are_refused() -> None:
    spec = GraphSpec(file="g.onnx", precision="fp32", opset=20, inputs={"x": ("depth", 3)}, outputs={"y": (1,)})
    with pytest.raises(EngineError, match=r"g\.onnx has free dimensions \['depth'\]"):
        segmenter_profile(FREE, words=1).shapes(spec)
    for words, batch in ((0, 1), (1, 0)):
        with pytest.raises(EngineError, match="expected at least 1 of each"):
            segmenter_profile(FREE, words=words, batch=batch)
