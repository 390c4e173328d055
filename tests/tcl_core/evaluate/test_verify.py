"""Is the data what it should be? Oracle: the recorded archives, and one fault put into them at a time."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tcl_core.evaluate.layouts import KEYS, LAYOUTS, Layout, open_benchmark
from tcl_core.evaluate.verify import verify


def complete(key: str, count: int) -> Layout:
    """A layout that is complete with so many pictures."""
    return replace(LAYOUTS[key], counts=(count,))


@pytest.mark.oracle
@pytest.mark.parametrize("key", KEYS)
def test_the_recorded_data_is_whole(key: str, eval_data: Path) -> None:
    """But for its few pictures. Absent classes by hand: those that no mask shows."""
    benchmark = open_benchmark(eval_data, key)
    verdict = verify(complete(key, len(benchmark.pictures)), eval_data)
    assert verdict.is_whole, verdict.problems
    shown = np.unique(np.concatenate([np.unique(benchmark.truth(picture)) for picture in benchmark.pictures]))
    expected = {name for index, name in enumerate(benchmark.names) if index not in shown}
    assert set(verdict.absent) == expected
    assert (
        verify(LAYOUTS[key], eval_data)
        .problems[0]
        .endswith(f": {len(benchmark.pictures)} pictures, expected {' or '.join(map(str, LAYOUTS[key].counts))}")
    )


def copy_with_more(eval_data: Path, tmp_path: Path, key: str) -> Path:
    """A copy to be damaged, with at least three pictures, two of them the first under other names."""
    data = Path(shutil.copytree(eval_data, tmp_path / "data"))
    layout, first = LAYOUTS[key], open_benchmark(data, key).pictures[0]
    assert first.unconverted is not None
    for index in range(2):
        for path, suffix in (
            (first.image, layout.image_suffix),
            (first.mask, layout.mask_suffix),
            (first.unconverted, layout.raw_suffix),
        ):
            shutil.copy(path, path.with_name(f"{path.name.removesuffix(str(suffix))}{index}{suffix}"))
    return data


def test_every_fault_is_told(eval_data: Path, tmp_path: Path) -> None:
    """All of them in one go, each with its file."""
    data = copy_with_more(eval_data, tmp_path, "coco_stuff")
    pictures = open_benchmark(data, "coco_stuff").pictures
    first, second, third = pictures[:3]
    Image.new("RGB", (3, 3)).save(first.mask)
    with Image.open(second.image) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(second.image, exif=exif)
    Image.new("L", (5, 4)).save(third.mask)
    stray = third.mask.with_name("9_labelTrainIds.png")
    Image.new("L", (5, 4)).save(stray)
    told = verify(complete("coco_stuff", len(pictures)), data).problems
    assert len(told) == 4
    assert f"{first.mask} has 3 channels" in told[0]
    assert f"{second.image} is marked as turned (EXIF orientation 6)" in told[1]
    assert f"{third.image} has " in told[2]
    assert f"{third.mask} 5 x 4" in told[2]
    assert told[3].startswith(f"{stray} has no picture")


def test_masks_that_are_not_what_they_were_made_of(eval_data: Path, tmp_path: Path) -> None:
    data = copy_with_more(eval_data, tmp_path, "cityscapes")
    pictures = open_benchmark(data, "cityscapes").pictures
    with Image.open(pictures[0].mask) as file:
        size = file.size
    Image.new("L", size, 3).save(pictures[0].mask)
    pictures[1].mask.unlink()
    pictures[2].image.write_bytes(b"<html>")
    told = verify(complete("cityscapes", len(pictures)), data).problems
    assert f"{pictures[0].mask} is not what {pictures[0].unconverted.name} converts to" in told[0]  # type: ignore[union-attr]
    assert f"no mask {pictures[1].mask}, only " in told[1]
    assert f"{pictures[2].image} cannot be read" in told[2]


@pytest.mark.parametrize("key", KEYS)
def test_what_is_missing_can_be_obtained(key: str, tmp_path: Path) -> None:
    verdict = verify(LAYOUTS[key], tmp_path)
    assert not verdict.is_whole
    assert verdict.missing is not None
    assert LAYOUTS[key].obtain in verdict.missing
