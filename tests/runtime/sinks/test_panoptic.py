"""COCO's panoptic format. Oracles: its formula of ids written out, and the label map."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.errors import SinkNameError


def test_every_pixel_has_the_id_of_its_region(write, frames, names) -> None:
    folder = write("out.panoptic/", frames)
    content = json.loads((folder / "panoptic.json").read_text())
    words = {c["id"]: c["name"] for c in content["categories"]}
    assert all(c["isthing"] == 1 for c in content["categories"])
    assert [image["file_name"] for image in content["images"]] == names
    files = [folder / "panoptic" / f"{frame.name}.png" for _, frame in frames]
    for annotation, path, (result, frame) in zip(content["annotations"], files, frames, strict=True):
        assert annotation["image_id"] == frame.index
        assert annotation["file_name"].endswith(".png")
        with Image.open(path) as picture:
            rgb = np.array(picture).astype(int)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 256**2 * rgb[..., 2]
        segments = {s["id"]: s for s in annotation["segments_info"]}
        assert set(np.unique(ids)) == {0, *segments}
        for number, segment in segments.items():
            ys, xs = np.nonzero(ids == number)
            assert segment["area"] == len(ys)
            assert segment["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert {result.names[i] for i in result.mask[ys, xs]} == {words[segment["category_id"]]}
        assert np.array_equal(ids == 0, result.mask == 0)


def test_more_than_256_regions_take_the_second_byte(write, frames) -> None:
    result, frame = frames[0]
    result.mask[:] = 0
    result.mask[::2, ::2] = 1
    folder = write("out.panoptic", [(result, frame)])
    with Image.open(folder / "panoptic" / f"{frame.name}.png") as picture:
        red, green, blue = np.array(picture).transpose(2, 0, 1).astype(int)
    assert len(np.unique(red + 256 * green)) == 1 + 30 * 40
    assert blue.max() == 0


def test_a_stopped_one_keeps_its_pictures_and_says_so(write, frames) -> None:
    left = write("out.panoptic/", frames[:1], complete=False)
    assert left.name == "panoptic.partial.json"
    assert len(json.loads(left.read_text())["annotations"]) == 1
    assert not (left.parent / "panoptic.json").exists()


def test_nothing_there_is_replaced(write, frames, tmp_path: Path) -> None:
    write("out.panoptic/", frames)
    with pytest.raises(SinkNameError, match=r"panoptic\.json exists"):
        write("out.panoptic/", frames)
    (tmp_path / "out.panoptic/panoptic.json").unlink()
    with pytest.raises(SinkNameError, match=r"000012\.png exists"):
        write("out.panoptic/", frames)
