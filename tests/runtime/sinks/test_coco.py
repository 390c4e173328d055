"""COCO's instances. Oracle: pycocotools reads the file, and its masks are those of the words."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

# pycocotools' own, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_pycocotools_finds_every_region(write, frames, names, capsys) -> None:
    coco = COCO(str(write("out.json", frames)))
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == {1: "car", 2: "road & <tree>"}
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == names
    for result, frame in frames:
        total = np.zeros(result.mask.shape, np.uint8)
        (image,) = coco.loadImgs([frame.index])
        assert (image["height"], image["width"], image["time_s"]) == (*result.mask.shape, frame.time_s)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[frame.index]))
        assert len(annotations) == len(result.regions()) > 10
        for annotation, region in zip(annotations, result.regions(), strict=True):
            mask = coco.annToMask(annotation)
            assert mask.sum() == annotation["area"] == region.area
            x, y, width, height = annotation["bbox"]
            assert mask[y : y + height, x : x + width].sum() == region.area
            assert annotation["score"] == pytest.approx(region.confidence, abs=1e-4)
            assert annotation["iscrowd"] == 0
            total += mask * annotation["category_id"]
        assert np.array_equal(total, result.mask)
    ids = coco.getAnnIds()
    assert sorted(ids) == list(range(1, len(ids) + 1))


def test_words_may_change(write, frames, renamed) -> None:
    second = renamed(frames[1], ("background", "road & <tree>", "sky"))
    content = json.loads(write("out.json", [frames[0], second]).read_text())
    assert {c["name"]: c["id"] for c in content["categories"]} == {"car": 1, "road & <tree>": 2, "sky": 3}
    assert {a["category_id"] for a in content["annotations"] if a["image_id"] == 1} == {2, 3}


def test_without_a_background_the_first_word_is_one(write, frames) -> None:
    result, frame = frames[0]
    object.__setattr__(result, "unpainted", None)
    content = json.loads(write("out.json", [(result, frame)]).read_text())
    assert [c["name"] for c in content["categories"]] == list(result.names)
    assert {a["category_id"] for a in content["annotations"]} == {1, 2, 3}


def test_what_is_stopped_is_whole_json_under_another_name(write, frames, tmp_path: Path, capsys) -> None:
    left = write("out.json", frames[:1], complete=False)
    assert left == tmp_path / "out.partial.json"
    assert len(COCO(str(left)).getImgIds()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["out.partial.json"]


def test_a_frame_without_regions_is_an_image_without_annotations(write, frames) -> None:
    result, frame = frames[0]
    result.mask[:] = 0
    content = json.loads(write("out.json", [(result, frame)]).read_text())
    assert (len(content["images"]), content["annotations"]) == (1, [])


def test_a_long_video_does_not_fill_the_memory(write, frames) -> None:
    """Oracle: the allocator's own count, and the size of the file."""
    write("warm.json", frames[1:])
    tracemalloc.start()
    path = write("out.json", frames[1:] * 60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2
