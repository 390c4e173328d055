"""Pictures from files. Oracle: the arrays that were written, and OpenCV, which the runtime reads with."""

import os
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tcl_core.data.samples import decode_image
from tcl_core.errors import DataError
from tcl_core.pictures import open_picture

DEEP = np.linspace(0, 65535, 24 * 40).reshape(24, 40).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("array", [DEEP, np.dstack([DEEP, DEEP[::-1], DEEP // 2])], ids=["grey", "colour"])
def test_of_16_bits_the_upper_8_are_used(array: npt.NDArray[np.uint16], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.ppm" if suffix == ".pgm" and array.ndim == 3 else f"x{suffix}")
    cv2.imwrite(str(path), array)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB).astype(int)
    assert np.abs(np.asarray(open_picture(path)) - expected).max() <= 1  # TIFF is rounded by one, cut by the other
    assert np.abs(np.asarray(decode_image(path.read_bytes(), "x")) - expected).max() <= 1


@pytest.mark.parametrize(("kind", "dtype"), [("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "u1"), ("PNG", "<u2")])
def test_pictures_are_turned_once(dtype: str, kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    for number, turns in ((1, 0), (3, 2), (6, -1), (8, 1)):
        exif[0x112] = number
        array = (DEEP >> 8 if dtype == "u1" else DEEP).astype(dtype)
        Image.fromarray(array).save(tmp_path / "x", kind, exif=exif)
        assert np.array_equal(np.asarray(open_picture(tmp_path / "x"))[..., 1], np.rot90(DEEP >> 8, turns))


@pytest.mark.parametrize("array", [np.ones((4, 5), np.float32), np.full((4, 5), 1000, np.int32)])
def test_numbers_without_a_range_are_refused(array: npt.NDArray[np.generic], tmp_path: Path) -> None:
    Image.fromarray(array).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match="scale them to 8 or 16 bits"):
        open_picture(tmp_path / "x.tif")


def test_absurd_sizes_and_damage_are_told(tmp_path: Path) -> None:
    head = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + zlib.crc32(head).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(bomb + b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big"))
    (tmp_path / "x.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"bomb\.png announces more pixels than are decoded .*900000000"):
        open_picture(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"x\.png is no picture"):
        open_picture(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError, match="no picture"):
        open_picture(tmp_path / "none.png")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    with path.open("wb") as file:
        Image.fromarray(DEEP).save(file, "PNG")
    assert open_picture(path).size == (40, 24)
