"""A result by itself, without a network. Oracles: the blend written out in NumPy, to one level; supervision's own."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import supervision

from runtime.segmentation import Segmentation

FRAME = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
MASK = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
COLOURS = np.array([[0, 0, 0], [10, 20, 250], [200, 100, 0]], np.uint8)


def painted(alpha: float) -> np.ndarray:
    mixed = (1 - alpha) * FRAME.astype(float) + alpha * COLOURS[MASK]
    return np.where((MASK == 0)[..., None], FRAME, mixed)


def result(**fields: object) -> Segmentation:
    """Three words, the first of them the background, unless told otherwise."""
    usual = {
        "mask": MASK,
        "names": ("background", "cat", "sofa"),
        "frame": FRAME,
        "soft_masks": np.zeros((3, 4, 6), np.float32),
        "threshold": None,
        "colours": COLOURS,
        "unpainted": 0,
        "speed": {},
    }
    return Segmentation(**(usual | fields))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_picture_has_the_opacity_that_was_asked_for(alpha: float) -> None:
    ready = np.full_like(FRAME, 77)  # stands for what was blended while the masks were enlarged
    for given in (result(), result(blended=ready, blended_alpha=0.7)):
        assert np.abs(given.plot(alpha=alpha, legend=False, outline=False) - painted(alpha)).max() <= 1
    reused = result(blended=ready, blended_alpha=alpha)
    picture = reused.plot(alpha=alpha, legend=False, outline=False)
    assert np.array_equal(picture, ready)
    picture[:] = 0
    assert (ready == 77).all()


def test_coverage_counts_pixels() -> None:
    assert result().coverage() == {"background": 8 / 24, "cat": 8 / 24, "sofa": 8 / 24}


def test_coverage_is_exact_where_single_precision_is_not() -> None:
    """Oracle: the numbers themselves, over 2**24 pixels of one word."""
    mask = np.ones((4097, 4097), np.uint8)
    mask[0, 0] = 0
    assert result(mask=mask).counts.tolist() == [1, 4097**2 - 1, 0]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "<Segmentation frame #0 6x4: cat 33 %, sofa 33 %>"),
        ({"path": Path("a/street.jpg"), "index": 7}, "<Segmentation street.jpg #7 6x4: cat 33 %, sofa 33 %>"),
        ({"unpainted": None}, "<Segmentation frame #0 6x4: background 33 %, cat 33 %, sofa 33 %>"),
        ({"mask": np.zeros((4, 6), np.uint8)}, "<Segmentation frame #0 6x4: none of the words>"),
        ({"mask": np.eye(300, dtype=np.uint8)}, "<Segmentation frame #0 300x300: cat <1 %>"),
        (
            {"mask": np.repeat(np.arange(1, 8, dtype=np.uint8), range(2, 9))[None], "names": tuple("_abcdefg")},
            "<Segmentation frame #0 35x1: g 23 %, f 20 %, e 17 %, d 14 %, c 11 %, …>",
        ),
    ],
)
def test_a_result_says_in_a_line_what_it_shows(fields: dict[str, object], text: str) -> None:
    assert repr(result(**fields)) == text


def test_a_notebook_shows_the_painted_frame() -> None:
    picture = cv2.imdecode(np.frombuffer(result()._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(picture, result().plot())


def test_regions_leave_the_background_out_unless_told_otherwise() -> None:
    assert {r.name for r in result().regions()} == {"cat", "sofa"}
    assert {r.name for r in result().regions(background=True)} == {"background", "cat", "sofa"}
    assert {r.name for r in result(unpainted=None).regions()} == {"background", "cat", "sofa"}
    assert result().regions(min_area=9) == []


def test_supervision_reads_the_regions() -> None:
    """Oracle: supervision's own boxes and areas of the masks."""
    soft = np.stack([np.full((4, 6), value, np.float32) for value in (0.2, 0.4, 0.8)])
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 0:2] = 1
    mask[0:4, 4:6] = 2
    found = result(mask=mask, soft_masks=soft).to_supervision()
    assert isinstance(found, supervision.Detections)
    assert found.data["class_name"].tolist() == ["sofa", "cat"]
    assert found.class_id.tolist() == [2, 1]
    assert found.confidence.tolist() == pytest.approx([0.8] * 2, abs=0.01)  # of the largest soft mask
    assert np.array_equal(found.mask, [mask == 2, mask == 1])
    assert np.array_equal(found.xyxy, supervision.mask_to_xyxy(found.mask, coordinate_convention="exclusive"))
    assert found[found.class_id == 1].area.tolist() == [4]
    assert found[found.data["class_name"] == ["cat"]].xyxy.tolist() == [[0, 1, 2, 3]]
    assert len(supervision.MaskAnnotator().annotate(FRAME.copy(), found)) == 4
    assert len(result().to_supervision(min_area=9)) == 0


def test_a_missing_supervision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="`pip install supervision`"):
        result().to_supervision()
