"""Connected regions of a word. Oracles: OpenCV's components and points in polygons, pycocotools' codec."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from runtime.regions import Region, compressed, counts_of, find_regions

# pycocotools' own, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = ("background", "cat", "dog")
MASK = np.array(
    [
        [1, 0, 0, 2, 2, 2],
        [0, 1, 0, 2, 0, 2],
        [0, 0, 0, 2, 2, 2],
        [1, 1, 0, 0, 0, 0],
    ],
    np.uint8,
)


def regions_of(mask: np.ndarray, **options: int | None) -> list[Region]:
    confidence = np.random.default_rng(1).integers(0, 256, mask.shape).astype(np.uint8)
    return find_regions(mask, [str(i) for i in range(int(mask.max()) + 1)], confidence, **options)


def test_regions_are_boxes_areas_and_crops_largest_first() -> None:
    """By hand: pixels that touch at a corner belong together, a hole does not belong."""
    confidence = np.where(MASK == 2, 51, 102).astype(np.uint8)
    ring, diagonal, foot = find_regions(MASK, NAMES, confidence, skip=0)
    assert (ring.class_index, ring.name, ring.box, ring.area, ring.confidence) == (2, "dog", (3, 0, 6, 3), 8, 0.2)
    assert (diagonal.name, diagonal.box, diagonal.area) == ("cat", (0, 0, 2, 2), 2)
    assert (foot.box, foot.confidence) == ((0, 3, 2, 4), 0.4)
    assert ring.crop.tolist() == [[True, True, True], [True, False, True], [True, True, True]]
    assert ring.polygon.tolist() == [[3, 0], [3, 2], [5, 2], [5, 0]]
    assert len(ring.holes) == 1
    assert diagonal.holes == []
    assert [r.area for r in find_regions(MASK, NAMES, confidence, min_area=3)] == [11, 8]  # the hole is a region of 1
    assert "runs" not in repr(ring)


LABELS = arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2), fill=st.just(0)
)


@given(LABELS)
@settings(max_examples=150, deadline=None)
def test_they_are_the_components_of_opencv(mask: np.ndarray) -> None:
    found = regions_of(mask)
    total = np.zeros(mask.shape, int)
    for index in range(int(mask.max()) + 1):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((mask == index).astype(np.uint8), connectivity=8)
        own = [region for region in found if region.class_index == index]
        expected = sorted((x, y, x + w, y + h, area) for x, y, w, h, area in stats[1:].tolist())
        assert sorted((*region.box, region.area) for region in own) == expected
        for region in own:
            total += region.mask
            assert len(np.unique(labels[region.mask])) == 1
    assert (total == 1).all()
    assert [r.area for r in found] == sorted((r.area for r in found), reverse=True)


@given(LABELS)
@settings(max_examples=150, deadline=None)
def test_run_lengths_are_those_of_pycocotools(mask: np.ndarray) -> None:
    for region in regions_of(mask):
        expected = coco.encode(np.asfortranarray(region.mask.astype(np.uint8)))
        assert region.rle == {"size": list(mask.shape), "counts": expected["counts"].decode()}
        uncompressed = coco.frPyObjects({"size": mask.shape, "counts": region.counts}, *mask.shape)
        assert np.array_equal(coco.decode(uncompressed), region.mask)
        assert coco.area(region.rle) == region.area


@given(LABELS)
@settings(max_examples=100, deadline=None)
def test_polygons_enclose_the_pixels_and_holes_leave_them_out(mask: np.ndarray) -> None:
    for region in regions_of(mask):
        for y in range(mask.shape[0]):
            for x in range(mask.shape[1]):
                inside = cv2.pointPolygonTest(region.polygon, (x, y), False) >= 0
                in_hole = any(cv2.pointPolygonTest(hole, (x, y), False) > 0 for hole in region.holes)
                assert region.mask[y, x] == (inside and not in_hole)


@pytest.mark.parametrize(
    "counts", [[0, 1], [5, 1, 3], [0, 40, 1, 40], [1000000, 1, 2, 70000, 3], [31, 32, 33, 15, 16, 17]]
)
def test_counts_become_the_text_of_pycocotools(counts: list[int]) -> None:
    """Large numbers and negative differences; of a frame that is one column."""
    expected = coco.frPyObjects({"size": [sum(counts), 1], "counts": counts}, sum(counts), 1)["counts"].decode()
    assert compressed(np.array(counts)) == expected


def test_a_frame_of_one_word_is_one_region_without_gaps_between_its_columns() -> None:
    (region,) = regions_of(np.zeros((7, 9), np.uint8))
    assert region.counts == [0, 63]
    assert region.crop.all()
    assert counts_of(region.runs, 64).tolist() == [0, 63, 1]


def test_a_map_of_nothing_else_has_no_regions_and_16_bits_are_read() -> None:
    assert regions_of(np.zeros((2, 3), np.uint8), skip=0) == []
    (region,) = regions_of(np.array([[0, 300]], np.uint16), skip=0)
    assert (region.name, region.box) == ("300", (1, 0, 2, 1))
    with pytest.raises(ValueError, match="min_area 0 given, expected at least 1 pixel"):
        regions_of(MASK, min_area=0)


def test_regions_outlive_the_map() -> None:
    """The map's memory is used again for the next frame."""
    mask = MASK.copy()
    ring = regions_of(mask, skip=0)[0]
    mask[:] = 0
    assert ring.crop.sum() == ring.area == 8


def test_a_spiral_is_one_region() -> None:
    """Runs that are joined over many rounds. Oracle: OpenCV's count."""
    spiral = np.zeros((41, 41), np.uint8)
    for ring in range(0, 20, 2):
        cv2.rectangle(spiral, (ring, ring), (40 - ring, 40 - ring), 1)
        spiral[ring + 1 : ring + 3, ring] = [0, 0] if ring < 18 else [1, 1]
        spiral[ring + 2, ring : ring + 3] = 1
    expected = cv2.connectedComponents(spiral, connectivity=8)[0] - 1
    assert len(regions_of(spiral, skip=0)) == expected
