"""Pictures by folder, glob and name. Oracle: pictures written by the test itself."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.open import open_source


def test_a_folder_yields_its_pictures_in_order_and_reports_the_others(tmp_path: Path) -> None:
    for i, name in enumerate(["b.png", "a.jpg", "naïve 図.PNG"]):
        data = cv2.imencode(name[-4:].lower(), np.full((8, 9, 3), 40 * i, np.uint8))[1]
        (tmp_path / name).write_bytes(data.tobytes())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nonsense")
    (tmp_path / "c.jpg").touch()
    (tmp_path / "d.png").mkdir()
    (tmp_path / "e.ppm").write_bytes(b"P6 100000 100000 255\n")
    (tmp_path / "notes.txt").write_text("not a picture")
    source = open_source(str(tmp_path))
    assert [(frame.index, frame.name) for frame in source] == [(0, "a"), (1, "b"), (2, "naïve 図")]
    assert [problem.split("/")[-1] for problem in source.problems] == [
        "broken.png: not a picture that OpenCV can decode",
        "c.jpg: empty file",
        "e.ppm: announces 100000 x 100000 pixels, expected 268435456 at most: make it smaller",
    ]
    assert list(source.left_out) == ["1 folder: d.png", "1 other file: notes.txt"]


def test_globs_and_single_pictures(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((1, 1, 3), np.uint8))
    assert [frame.name for frame in open_source(str(tmp_path / "*.png"))] == ["1", "2"]
    (frame,) = open_source(str((tmp_path / "3.jpg").rename(tmp_path / "3.JPG")))
    assert (frame.name, frame.image.shape) == ("3", (1, 1, 3))


def test_globs_look_below_and_take_files_only(tmp_path: Path) -> None:
    for folder in ("a", "a/b", "c.png"):
        (tmp_path / folder).mkdir()
    for name in ("0.png", "a/1.png", "a/b/2.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((1, 1, 3), np.uint8))
    source = open_source(str(tmp_path / "**" / "*.png"))
    assert [frame.name for frame in source] == ["0", "1", "2"]
    assert (source.count, source.problems) == (3, [])


def test_a_folder_of_broken_pictures_fails(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(SourceError, match="none of 1 pictures could be read"):
        list(open_source(str(tmp_path)))
    (tmp_path / "x.png").unlink()
    with pytest.raises(SourceError, match="no picture in"):
        open_source(str(tmp_path))


def test_16_bit_and_grey_files_become_bgr(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((3, 4), 65_535, np.uint16))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((3, 4), 7, np.uint8))
    deep, grey = open_source(str(tmp_path))
    assert deep.image.dtype == grey.image.dtype == np.uint8
    assert deep.image.shape == grey.image.shape == (3, 4, 3)
    assert (deep.image == 255).all()
    assert (grey.image == 7).all()
