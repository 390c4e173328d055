"""Pictures by folder, glob and name. Oracle: pictures written by the test itself."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from runtime.errors import SourceError
from runtime.sources import pictures
from runtime.sources.open import open_source, open_sources


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
    assert list(source.left_out) == ["folders (1): d.png", "other files (1): notes.txt"]


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


def pillow_file(path: Path, kind: str, images: Sequence[NDArray[np.uint8]], turn: int = 1, **options: object) -> None:
    """Write pictures by Pillow, lossless where the kind can, with an orientation in EXIF."""
    first, *others = map(Image.fromarray, images)
    exif = Image.Exif()
    exif[0x112] = turn
    more = {"save_all": True, "append_images": others, **options} if others else options
    exact = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}, "JPEG": {"quality": 98}}
    first.save(path, kind, **({} if kind == "GIF" else {"exif": exif}), **exact.get(kind, {}), **more)


def blocks(*levels: int) -> NDArray[np.uint8]:
    """Four blocks of grey, no turn of which is like another: 24 x 40 RGB."""
    return np.kron(np.array(levels or (10, 90, 170, 250), np.uint8).reshape(2, 2, 1), np.ones((12, 20, 3), np.uint8))


def close(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b).mean()) < 4


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "frames"),  # Pillow crashes on animated AVIF with an orientation
    [("JPEG", 1), ("PNG", 1), ("PNG", 2), ("WEBP", 1), ("WEBP", 2), ("AVIF", 1), ("TIFF", 1), ("TIFF", 2)],
)
def test_pictures_are_upright(kind: str, frames: int, turn: int, tmp_path: Path) -> None:
    """Oracle: Pillow's exif_transpose."""
    path = tmp_path / "x"  # told by its content
    pillow_file(path, kind, [blocks(), blocks(200, 60, 130, 20)][:frames], turn)
    read = [frame.image for frame in open_source(str(path))]
    assert len(read) == frames
    for image, array in zip(read, [blocks(), blocks(200, 60, 130, 20)], strict=False):
        picture = Image.fromarray(array)
        picture.getexif()[0x112] = turn
        assert close(image, np.asarray(ImageOps.exif_transpose(picture))[..., ::-1])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_frame_by_frame_at_their_own_times(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: what Pillow was given; also where not all frames fit into memory at once."""
    images = [blocks(level, 0, 80, 255) for level in (40, 120, 200, 250)]
    pillow_file(tmp_path / "x", kind, images, duration=[40, 200, 10, 70])
    cv2.imwrite(str(tmp_path / "y.png"), images[0])
    for memory in (2**29, 2 * 4 * 24 * 40):
        monkeypatch.setattr(pictures, "DECODED_AT_ONCE_BYTES", memory)
        source = open_source(str(tmp_path))
        frames = list(source)
        assert all(close(frame.image, image[..., ::-1]) for frame, image in zip(frames, images, strict=False))
        assert [round(frame.time_s, 3) for frame in frames] == [0, 0.04, 0.24, 0.34, 0.41]  # 10 ms stands for 100
        assert [frame.name for frame in frames] == source.names == ["x_0000", "x_0001", "x_0002", "x_0003", "y"]
        assert (source.count, source.fps, source.problems) == (5, None, [])
        assert frames[2].path == tmp_path / "x"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_that_breaks_off_gives_what_is_there(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    pillow_file(tmp_path / "x", kind, list(noise))
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data[: len(data) * 6 // 10])
    cv2.imwrite(str(tmp_path / "y.png"), noise[0])
    source = open_source(str(tmp_path))
    names = [frame.name for frame in source]
    assert names[-1] == "y"
    assert len(source.problems) == 1 or len(names) == source.count  # never fewer without a word
    assert len(names) < 5


def test_an_old_decoder_does_not_pass_the_first_frame_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_file(tmp_path / "x.webp", "WEBP", [blocks(), blocks(1, 2, 3, 4)])
    monkeypatch.delattr(cv2, "imdecodeanimation")
    with pytest.raises(SourceError, match=r"2 frames, which OpenCV .* cannot decode: expected 4\.12 or later"):
        list(open_source(str(tmp_path / "x.webp")))


def test_pages_of_different_sizes_and_no_previews(tmp_path: Path) -> None:
    """Oracle: the arrays written; a small version of a page says so in its NewSubfileType."""
    pages = [blocks(), blocks()[:10, :30], blocks()[:, :8]]
    pillow_file(tmp_path / "x.tif", "TIFF", pages)
    read = [frame.image for frame in open_source(str(tmp_path / "x.tif"))]
    assert all(np.array_equal(image, page[..., ::-1]) for image, page in zip(read, pages, strict=True))
    first, *others = map(Image.fromarray, pages)
    first.save(tmp_path / "y.tif", save_all=True, append_images=others, tiffinfo={254: 1})
    with pytest.raises(SourceError, match="without a page of full size"):
        list(open_source(str(tmp_path / "y.tif")))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("IMG_1.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture, which OpenCV cannot decode"),
        ("no suffix", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
        ("a.jxl", b"\xff\x0a\0\0", "a JPEG XL picture, which OpenCV cannot decode: save it as PNG"),
        ("a.psd", b"8BPS\0\1", "a Photoshop picture"),
        ("a.NEF", b"MM\0*\0\0\0\x08", "a camera's raw picture"),
        ("a.cr3", b"\0\0\0\x18ftypcrx ", "a camera's raw picture"),
        ("a.tif", b"II*\0\xff\xff\0\0", "a TIFF that is cut short"),
        ("a.pfm", b"PF\n1 1\n-1\n" + b"\0" * 12, "numbers without a range"),
        ("a.pgm", b"P5\n40000 40000\n255\n", "announces 40000 x 40000 pixels, expected 268435456 at most"),
        ("a.gif", b"GIF89a\xff\xff\xff\xff\0\0\0", "announces 65535 x 65535 pixels"),
        ("a", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (30_000).to_bytes(4, "big") * 2, "announces 30000 x 30000 pixels"),
        ("a.jpg", b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\3", "announces 65500 x 65500 pixels"),
        ("b.jpeg", b"<html>", "not a picture that OpenCV can decode"),
    ],
)
def test_what_cannot_be_decoded_is_told(name: str, data: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    cv2.imwrite(str(tmp_path / "z.png"), blocks())
    source = open_source(str(tmp_path))
    assert [frame.name for frame in source] == ["z"]
    (told,) = source.problems
    assert told.startswith(f"{tmp_path / name}: ")
    assert problem in told
    with pytest.raises(SourceError, match="none of 1 pictures could be read"):
        list(open_source(str(tmp_path / name)))


@pytest.mark.parametrize("array", [np.ones((4, 5), np.float32), np.full((4, 5), 70_000, np.int32)])
def test_numbers_without_a_range_are_refused(array: NDArray[Any], tmp_path: Path) -> None:
    Image.fromarray(array).save(tmp_path / "depth.tif")
    with pytest.raises(SourceError, match="scale them to 8 or 16 bits"):
        list(open_source(str(tmp_path / "depth.tif")))


@pytest.mark.parametrize("suffix", [".bmp", ".jp2", ".ppm", ".pgm", ".pam", ".ras", ".hdr", ".gif", ".avif", ".jfif"])
def test_every_kind_that_is_decoded_counts(suffix: str, tmp_path: Path) -> None:
    image = blocks().astype(np.float32) / 255 if suffix == ".hdr" else blocks()
    if suffix in {".jp2", ".gif"}:
        Image.fromarray(blocks()).save(tmp_path / f"a{suffix}")
    else:
        data = cv2.imencode(".jpg" if suffix == ".jfif" else suffix, image[..., 0] if suffix == ".pgm" else image)[1]
        (tmp_path / f"a{suffix}").write_bytes(data.tobytes())
    (tmp_path / "b").write_bytes((tmp_path / f"a{suffix}").read_bytes())
    first, second = open_source(str(tmp_path))
    assert close(first.image, blocks())
    assert np.array_equal(first.image, second.image)


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), blocks())
    for name in ("clip.MOV", "x.mp4", "notes.txt", ".DS_Store", "._a.png", "labels.json"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypqt  ")
    (tmp_path / "more").mkdir()
    source = open_source(str(tmp_path))
    assert (source.count, list(source.problems)) == (1, [])
    assert list(source.left_out) == [
        "videos, to be given alone (2): clip.MOV, x.mp4",
        "folders (1): more",
        "other files (4): ._a.png, .DS_Store, labels.json, notes.txt",
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(SourceError, match=r"no picture in .*clip\.MOV"):
        open_source(str(tmp_path))


def test_pictures_of_several_folders_keep_names_apart(tmp_path: Path) -> None:
    for name in ("left/2.png", "left/10.png", "right/2.png", "right/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), blocks())
    source = open_source(str(tmp_path / "**" / "*"))
    assert source.names == [frame.name for frame in source] == ["left/2", "10", "2.jpg", "right/2"]
    again = open_sources([str(tmp_path / "left"), f"{tmp_path}/right/../left/2.png"])
    assert (again.count, again.names) == (2, ["2", "10"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"\xff\xfe", b"\xe9.gif"):
        (tmp_path / os.fsdecode(name)).write_bytes(cv2.imencode(".png", blocks())[1].tobytes())
    (tmp_path / os.fsdecode(b"z\xe9.heic")).write_bytes(b"\0\0\0\x18ftypheic")
    source = open_source(str(tmp_path))
    assert [os.fsencode(frame.name) for frame in source] == [b"caf\xe9", b"\xe9", b"\xff\xfe"]
    assert len(source.problems) == 1
    assert b"z\xe9.heic: a HEIC" in os.fsencode(source.problems[0])
