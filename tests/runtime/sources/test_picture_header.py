"""What headers say. Oracles: Pillow, which wrote the files, and OpenCV, which decodes them."""

import io
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime.sources.picture_header import (
    count_pictures,
    declared_size,
    kind_of,
    kind_of_file,
    orientation,
    tiff_directories,
)

COLOUR = np.arange(24 * 40 * 3, dtype=np.uint8).reshape(24, 40, 3)


def written(kind: str, frames: int = 1) -> bytes:
    """A picture of 24 x 40 pixels."""
    if kind in {".ras", ".pam", ".ppm", ".pgm", ".hdr", ".pfm"}:
        image = COLOUR.astype(np.float32) if kind in {".hdr", ".pfm"} else COLOUR
        return cv2.imencode(kind, image[..., 0] if kind == ".pgm" else image)[1].tobytes()
    content = io.BytesIO()
    images = [Image.fromarray(COLOUR[:, ::-1] if index % 2 else COLOUR) for index in range(frames)]
    if frames == 1:
        images[0].save(content, kind)
    else:
        images[0].save(content, kind, save_all=True, append_images=images[1:], duration=50)
    return content.getvalue()


KINDS = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "GIF": "GIF",
    "WEBP": "WebP",
    "BMP": "BMP",
    "TIFF": "TIFF",
    "JPEG2000": "JPEG 2000",
    "AVIF": "AVIF",
    ".ras": "Sun raster",
    ".pam": "PNM",
    ".ppm": "PNM",
    ".pgm": "PNM",
    ".hdr": "HDR",
}


@pytest.mark.parametrize("kind", KINDS)
def test_kind_and_size(kind: str) -> None:
    data = written(kind)
    assert kind_of(data[:64]) == KINDS[kind]
    assert declared_size(KINDS[kind], data) == (None if kind == "WEBP" else (24, 40))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (24, 40, 3)


def test_a_codestream_and_comments_have_a_size_too() -> None:
    data = written("JPEG2000")
    assert declared_size("JPEG 2000", data[data.index(b"\xff\x4f\xff\x51") :]) == (24, 40)
    assert declared_size("WebP", written("WEBP", 2)) == (24, 40)
    assert declared_size("PNM", b"P5 # one\n# two\n 40 # three\n24\n255\n") == (24, 40)
    assert declared_size("JPEG", b"\xff\xd8\xff\xff\xfe\0\4xx\xff\xc4\0\2\xff\xc2\0\x11\x08\0\x18\0\x28") == (24, 40)


@pytest.mark.parametrize(
    "text", [b"", b"P1ease", b"P2 people", b"BMW", b"GIF", b"II*", b"\0\0\0\x18ftypisom\0\0\0\0isom"]
)
def test_other_files_are_no_pictures(text: bytes) -> None:
    assert kind_of(text) is None


@pytest.mark.parametrize("brands", [b"heic", b"mif1\0\0\0\0mif1heic", b"heix"])
def test_phones_pictures_are_told_from_avif(brands: bytes) -> None:
    assert kind_of(b"\0\0\0\x18ftyp" + brands) == "HEIC"
    assert kind_of(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif") == "AVIF"


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_pictures_of_a_file_are_counted(kind: str, frames: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(written(kind, frames))
    assert count_pictures(path, kind_of_file(path)) == frames
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) == frames


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert kind_of_file(tmp_path / "pipe") is kind_of_file(tmp_path) is kind_of_file(tmp_path / "none") is None


@pytest.mark.parametrize("order", "<>")
def test_large_tiff_and_circles(order: str) -> None:
    begin = b"II" if order == "<" else b"MM"
    entry = struct.pack(f"{order}HHQQ", 0x100, 4, 1, 40 if order == "<" else 40 << 32)
    big = begin + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, 1) + entry + struct.pack(f"{order}Q", 16)
    assert tiff_directories(big) == [{0x100: 40}]
    with pytest.raises(ValueError, match="cut short"):
        tiff_directories(big[:-1])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_survived(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(FRAGILE)))
    file = bytearray(FRAGILE[kind])
    for at in data.draw(st.lists(st.integers(0, min(len(file), 600) - 1), max_size=4)):
        file[at] = data.draw(st.integers(0, 255))
    file = file[: data.draw(st.integers(0, len(file)))]
    declared_size(KINDS[kind], bytes(file))
    assert 1 <= orientation(KINDS[kind], bytes(file)) <= 8
    path = Path(f"/proc/self/fd/{os.memfd_create('x')}")
    try:
        path.write_bytes(file)
        assert count_pictures(path, KINDS[kind]) >= 1
    finally:
        os.close(int(path.name))


FRAGILE = {kind: written(kind, 2) for kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF")} | {
    kind: written(kind) for kind in ("JPEG", "JPEG2000", "BMP", ".ppm", ".hdr")
}
