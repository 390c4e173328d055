"""Where frames come from. Oracles: ffprobe-like counts of the shipped clip, pictures written by the test itself."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.camera import CameraSource
from runtime.sources.open import SHIPPED_CLIP, open_source


def test_a_video_yields_every_frame() -> None:
    with open_source("test://cars") as source:
        frames = list(source)
    assert (source.count, source.fps, source.live) == (120, 12.5, False)
    assert [frame.index for frame in frames] == list(range(120))
    assert frames[10].time_s == pytest.approx(10 / 12.5)
    assert {frame.image.shape for frame in frames} == {(432, 768, 3)}


def test_a_missing_source_says_what_was_expected() -> None:
    with pytest.raises(SourceError, match=r"'nowhere\.mp4' does not exist: expected a video file"):
        open_source("nowhere.mp4")
    with pytest.raises(SourceError, match=r"gopher://x' is of a kind that is not supported"):
        open_source("gopher://x")
    with pytest.raises(SourceError, match="no picture in"):
        open_source("nothing-*.jpg")


def test_an_empty_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SourceError, match="is empty"):
        open_source(str(tmp_path / "empty.mp4"))


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<html>404</html>")
    with pytest.raises(SourceError, match="is no video that FFmpeg can read"):
        open_source(str(tmp_path / "page.mp4"))


def test_a_truncated_video_yields_what_it_has_then_fails(tmp_path: Path) -> None:
    data = SHIPPED_CLIP.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    decoded = 0
    with (
        open_source(str(tmp_path / "cut.mp4")) as source,
        pytest.raises(SourceError, match=r"is damaged: \d+ of 120 announced frames"),
    ):
        for _ in source:
            decoded += 1
    assert 20 < decoded < 100


def video(path: Path, count: int, whole: int) -> str:
    """Write a video of so many frames, of which all but the first `whole` are blanked in the file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (16, 16))
    for number in range(count):
        writer.write(np.full((16, 16, 3), number, np.uint8))
    writer.release()
    data = path.read_bytes()
    end, index = data.index(b"movi"), data.index(b"idx1")
    for _ in range(whole + 1):
        end = data.index(b"00dc", end + 1)
    path.write_bytes(data[:end] + bytes(index - end) + data[index:])
    return str(path)


def test_a_few_frames_less_than_announced_are_no_damage(tmp_path: Path) -> None:
    """By hand: of n frames, 2 % and two more may be missing; 4 of 104 are, and 5 of 105 are too many."""
    assert len(list(open_source(video(tmp_path / "a.avi", 104, 100)))) == 100
    for name, count, whole in (("b.avi", 105, 100), ("c.avi", 1, 0)):
        with pytest.raises(SourceError, match=f"is damaged: {whole} of {count} announced frames could be decoded"):
            list(open_source(video(tmp_path / name, count, whole)))


def test_a_folder_yields_its_pictures_in_order_and_reports_the_others(tmp_path: Path) -> None:
    for i, name in enumerate(["b.png", "a.jpg", "naïve 図.PNG"]):
        data = cv2.imencode(name[-4:].lower(), np.full((8, 9, 3), 40 * i, np.uint8))[1]
        (tmp_path / name).write_bytes(data.tobytes())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nonsense")
    (tmp_path / "c.jpg").touch()
    (tmp_path / "notes.txt").write_text("not a picture")
    source = open_source(str(tmp_path))
    assert [(frame.index, frame.name) for frame in source] == [(0, "a"), (1, "b"), (2, "naïve 図")]
    assert [problem.split("/")[-1] for problem in source.problems] == [
        "broken.png: not a picture that OpenCV can decode",
        "c.jpg: empty file",
    ]


def test_globs_and_single_pictures(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((1, 1, 3), np.uint8))
    assert [frame.name for frame in open_source(str(tmp_path / "*.png"))] == ["1", "2"]
    (frame,) = open_source(str(tmp_path / "3.jpg"))
    assert frame.image.shape == (1, 1, 3)


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


def test_a_missing_camera_is_explained() -> None:
    with pytest.raises(SourceError, match=r"camera 93 cannot be opened \(cameras present"):
        CameraSource(93)


def test_a_camera_gives_its_newest_frame_and_counts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: an endless capture whose n-th frame is filled with n; there is no camera on a build machine."""

    class Counter:
        def __init__(self, _: object) -> None:
            self.n = 0

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return True

        def get(self, _: int) -> float:
            return float("nan")

        def read(self) -> tuple[bool, np.ndarray | None]:
            self.n += 1
            return (True, np.full((2, 2, 3), self.n, np.uint8)) if self.n <= 200 else (False, None)

        def release(self) -> None:
            self.n = -1

    monkeypatch.setattr(cv2, "VideoCapture", Counter)
    with CameraSource(0, timeout_s=0.2) as source:
        assert source.fps is None
        source._reader.join()  # all 200 frames have come before anyone asks
        (frame,) = itertools.islice(source, 1)
        assert (frame.image == 200).all()
        assert source.dropped == 199
        with pytest.raises(SourceError, match="or was unplugged"):
            next(iter(source))


def test_the_pattern_is_what_was_asked_for() -> None:
    frames = list(open_source("test://pattern?size=64x48&frames=3&fps=10"))
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3
    assert frames[2].time_s == pytest.approx(0.2)
    assert not np.array_equal(frames[0].image, frames[2].image)


@pytest.mark.parametrize(
    "uri", ["test://cats", "test://pattern?size=0x4", "test://pattern?frame=3", "test://pattern?fps=x"]
)
def test_bad_patterns_say_what_was_expected(uri: str) -> None:
    with pytest.raises(SourceError, match=r"expected test://pattern\?size=640x480"):
        open_source(uri)
