"""Class indices as PNG. Oracles: Pillow, which leaves indices alone, and OpenCV, which shows the palette's colours."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from runtime.errors import SinkError
from runtime.sinks.masks import encoded_mask, read_mask


def test_values_are_indices_and_colours_those_of_the_overlay(write, frames) -> None:
    result, frame = frames[1]
    path = write("masks", [(result, frame)]) / "000012.png"
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.array(picture), result.mask)
        assert np.array_equal(np.array(picture.convert("RGB"))[..., ::-1], result.colours[result.mask])
    assert np.array_equal(cv2.imread(str(path)), result.colours[result.mask])
    assert np.array_equal(read_mask(path), result.mask)


@pytest.mark.parametrize("count", [1, 2, 256])
@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (257, 2)])
def test_any_number_of_colours_and_any_size(count: int, shape: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(count)
    mask, colours = rng.integers(0, count, shape).astype(np.uint8), rng.integers(0, 256, (count, 3)).astype(np.uint8)
    (tmp_path / "m.png").write_bytes(encoded_mask(mask, colours))
    with Image.open(tmp_path / "m.png") as picture:
        picture.verify()  # the sums of every chunk
    with Image.open(tmp_path / "m.png") as picture:
        assert np.array_equal(np.array(picture), mask)
        assert len(picture.getpalette()) == 3 * count
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)


def test_over_256_words_are_16_bits_of_grey(tmp_path: Path) -> None:
    mask = np.array([[0, 300]], np.uint16)
    (tmp_path / "m.png").write_bytes(encoded_mask(mask, np.zeros((301, 3), np.uint8)))
    with Image.open(tmp_path / "m.png") as picture:
        assert np.array_equal(np.array(picture), mask)
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)


def test_what_holds_no_indices_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "colour.png"), np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture, but long enough to look into for its header")
    for name in ("colour.png", "empty.png", "text.png"):
        with pytest.raises(SinkError, match=r"holds no class indices"):
            read_mask(tmp_path / name)
    with pytest.raises(SinkError, match="cannot be read"):
        read_mask(tmp_path / "none.png")
