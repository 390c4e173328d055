"""Videos. Oracles: ffprobe-like counts of the shipped clip, and videos written and damaged by the test itself."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.open import SHIPPED_CLIP, open_source


def test_a_video_yields_every_frame() -> None:
    with open_source("test://cars") as source:
        frames = list(source)
    assert (source.count, source.fps, source.live, source.problems) == (120, 12.5, False, [])
    assert [frame.index for frame in frames] == list(range(120))
    assert frames[10].time_s == pytest.approx(10 / 12.5)
    assert {frame.image.shape for frame in frames} == {(432, 768, 3)}


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


def video(path: Path, count: int, whole: int, fps: float = 25) -> str:
    """Write a video of so many frames, of which all but the first `whole` are blanked in the file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (16, 16))
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


@pytest.mark.parametrize("fps", [0.5, 1000.0])
def test_slow_and_fast_videos_keep_their_time(fps: float, tmp_path: Path) -> None:
    with open_source(video(tmp_path / "a.avi", 3, 2, fps)) as source:
        assert source.fps == fps
        assert [frame.time_s for frame in source] == [0, 1 / fps]


def test_a_video_that_announces_nothing_has_no_end_to_fall_short_of(tmp_path: Path) -> None:
    """Pictures one behind the other: OpenCV makes up a rate of 25 and a negative number of frames."""
    grey = (cv2.imencode(".jpg", np.full((16, 16, 3), 90 * number, np.uint8))[1].tobytes() for number in range(3))
    (tmp_path / "a.mjpeg").write_bytes(b"".join(grey))
    source = open_source(str(tmp_path / "a.mjpeg"))
    assert (source.count, source.fps) == (None, 25)
    assert [round(float(frame.image.mean())) for frame in source] == [0, 90, 180]


def test_a_video_without_a_rate_is_timed_at_25(tmp_path: Path) -> None:
    source = open_source(video(tmp_path / "a.avi", 3, 2))
    source.fps = None
    assert [frame.time_s for frame in source] == [0, 0.04]


def test_a_closed_video_holds_no_file(tmp_path: Path) -> None:
    path = Path(video(tmp_path / "a.avi", 3, 2)).resolve()

    def is_open() -> bool:
        return path in [link.resolve() for link in Path("/proc/self/fd").iterdir()]

    with open_source(str(path)) as source:
        assert is_open()
    assert not is_open()
    assert source.count == 3
