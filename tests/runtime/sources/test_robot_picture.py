"""Compressed pictures of messages. Oracles: OpenCV's files, `as_bgr`."""

import struct

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.frame import as_bgr
from runtime.ros.message import CompressedImage, Header
from runtime.sources.robot_picture import picture_of


def decoded(form: str, data: bytes) -> np.ndarray:
    return picture_of(CompressedImage(Header(), form, data))


PHOTO = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (24, 32, 3), np.uint8), (0, 0), 3)


@pytest.mark.parametrize(
    ("form", "suffix"),
    [
        ("jpeg", ".jpg"),
        ("bgr8; jpeg compressed bgr8", ".jpg"),
        ("rgb8; png compressed bgr8", ".png"),
        ("png", ".png"),
        ("", ".png"),
    ],
)
def test_compressed_images(form: str, suffix: str) -> None:
    _, data = cv2.imencode(suffix, PHOTO)
    np.testing.assert_array_equal(decoded(form, data.tobytes()), cv2.imdecode(data, cv2.IMREAD_COLOR))


def test_a_compressed_picture_of_sixteen_bits() -> None:
    deep = np.random.default_rng(3).integers(0, 2**16, (8, 9), np.uint16)
    _, data = cv2.imencode(".png", deep)
    np.testing.assert_array_equal(decoded("mono16; png compressed mono16", data.tobytes()), as_bgr(deep))


HUGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 30_000, 30_000, 8, 2, 0, 0, 0) + bytes(20)


@pytest.mark.parametrize(
    ("form", "data", "match"),
    [
        ("jpeg", b"", "without data"),
        ("jpeg", b"\xff\xd8\xff", r"'jpeg' of 3 bytes cannot be decoded: expected an intact JPEG or PNG"),
        ("png", b"\x89PNG\r\n\x1a\n" + bytes(50), "cannot be decoded"),
        ("16UC1; compressedDepth png", b"\x89PNG", "hold distances, no colours"),
        ("32FC1; tiff compressed", b"II*", "hold distances, no colours"),
        ("png", HUGE, r"announces 30000 x 30000 pixels, expected 268435456 at most"),
        ("h264", b"\0\0\0\1\x67", "'h264' of 5 bytes cannot be decoded"),
    ],
)
def test_what_is_no_compressed_image_is_told(form: str, data: bytes, match: str) -> None:
    with pytest.raises(SourceError, match=match):
        decoded(form, data)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_is_cut_short_or_changed_is_a_picture_or_told(suffix: str) -> None:
    _, encoded = cv2.imencode(suffix, PHOTO)
    random = np.random.default_rng(4)
    for length in range(1, encoded.size, encoded.size // 40):
        changed = encoded.ravel().copy()
        changed[random.integers(0, changed.size, 5)] = random.integers(0, 256, 5)
        for data in (encoded.ravel()[:length], changed):
            try:
                assert decoded("jpeg", data.tobytes()).shape[2] == 3
            except SourceError as error:
                assert "compressed image" in str(error)  # noqa: PT017 - either will do
