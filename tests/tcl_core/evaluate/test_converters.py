"""Raw downloads made into masks. Oracle: the masks that the reference's own converters made of the same files."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tcl_core.errors import ConfigError, DataConfigError, DataError, WriteError
from tcl_core.evaluate.converters import convert
from tcl_core.evaluate.label_tables import CONTEXT_IDS
from tcl_core.evaluate.layouts import LAYOUTS, open_benchmark

MADE = {"coco_stuff": "_labelTrainIds", "coco_object": "_instanceTrainIds", "cityscapes": "_gtFine_labelTrainIds"}


def numbers(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file)


@pytest.mark.oracle
@pytest.mark.parametrize("order", [("coco_stuff", "coco_object"), ("coco_object", "coco_stuff"), ("cityscapes",)])
@pytest.mark.parametrize("beside", [False, True])
def test_masks_are_those_of_the_reference(
    order: tuple[str, ...], beside: bool, eval_data: Path, tmp_path: Path
) -> None:
    """In any order, and also where raw and made masks lie in one folder: only raw ones are read."""
    data = Path(shutil.copytree(eval_data, tmp_path / "data"))
    for key in order:
        layout = LAYOUTS[key]
        folder = data / layout.root / layout.masks
        expected = {path.relative_to(folder): numbers(path) for path in folder.rglob(f"*{MADE[key]}.png")}
        assert expected
        raw = folder
        if not beside:
            raw = tmp_path / f"raw_{key}"
            for path in folder.rglob(f"*{layout.raw_suffix}"):
                if "TrainIds" not in path.name:
                    (raw / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, raw / path.relative_to(folder))
        for path in expected:
            (folder / path).unlink()
        done = convert(key, raw, data)
        assert (done.num_written, done.num_kept) == (len(expected), 0)
        for path, values in expected.items():
            np.testing.assert_array_equal(numbers(folder / path), values)
        open_benchmark(data, key)


@pytest.mark.parametrize("kind", ["png", "mat"])
def test_pascal_context(kind: str, tmp_path: Path) -> None:
    """By hand: a number is the place of its id among the 60, all others 0; the split is VOC's of what is there."""
    from scipy.io import savemat

    raw, data = tmp_path / "raw", tmp_path / "data"
    raw.mkdir()
    values = np.array([[0, 1, 2, 3], [9, 458, 459, 18]], np.uint16)
    if kind == "mat":
        savemat(raw / "2008_000002.mat", {"LabelMap": values})
    else:
        Image.fromarray(values).save(raw / "2008_000002.png")
    root = data / "VOCdevkit" / "VOC2010"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "val.txt").write_text("2008_000001\r\n2008_000002\r\n")
    assert convert("context", raw, data).num_written == 1
    made = numbers(root / "SegmentationClassContext" / "2008_000002.png")
    assert made.tolist() == [[0, 0, 1, 0], [2, len(CONTEXT_IDS) - 1, 0, 3]]
    split = root / "ImageSets" / "SegmentationContext" / "val.txt"
    assert split.read_text() == "2008_000002\n"
    split.write_text("mine\n")
    assert convert("context59", raw, data).num_kept == 1
    assert split.read_text() == "mine\n"


def raw_folder(path: Path, count: int = 3) -> Path:
    path.mkdir()
    for index in range(count):
        values = np.random.default_rng(index).choice([0, 5, 100], (64, 64)).astype(np.uint8)
        Image.fromarray(values).save(path / f"{index:012}.png")
    return path


def test_a_full_disk_in_the_middle(
    tmp_path: Path, files_no_longer_than: Callable[[int], AbstractContextManager[None]]
) -> None:
    """Oracle: masks that are there are whole, and the conversion goes on where it broke off."""
    raw, data = raw_folder(tmp_path / "raw"), tmp_path / "data"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(raw / f"{0:012}.png")  # small enough
    with (
        files_no_longer_than(300),
        pytest.raises(WriteError, match=r"000000000001_labelTrainIds\.png cannot be written .*: make room"),
    ):
        convert("coco_stuff", raw, data)
    folder = data / "coco_stuff164k" / "annotations" / "val2017"
    assert [path.name for path in folder.iterdir()] == ["000000000000_labelTrainIds.png"]
    done = convert("coco_stuff", raw, data)
    assert (done.num_written, done.num_kept) == (2, 1)
    assert convert("coco_stuff", raw, data, overwrite=True).num_written == 3


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    raw, data = raw_folder(tmp_path / "raw", 1), tmp_path / "data"
    with pytest.raises(
        ConfigError, match="voc needs no conversion, .* expected one of context, context59, coco_object"
    ):
        convert("voc", raw, data)
    with pytest.raises(DataConfigError, match=r"no raw mask of coco_stuff below .*nowhere: expected val2017\.zip"):
        convert("coco_stuff", tmp_path / "nowhere", data)
    file = raw / "000000000000.png"
    Image.fromarray(np.full((2, 2), 300, np.uint16)).save(file)
    with pytest.raises(DataError, match=r"000000000000\.png has the number 300: expected 0 to 255"):
        convert("coco_object", raw, data)
    Image.new("RGB", (2, 2)).save(file)
    with pytest.raises(DataError, match=r"000000000000\.png has 3 channels \(RGB\)"):
        convert("coco_object", raw, data)
    file.unlink()
    (raw / "2008_000002.mat").write_bytes(b"no matrix")
    with pytest.raises(DataError, match=r"2008_000002\.mat cannot be read .*`LabelMap`"):
        convert("context", raw, data)
