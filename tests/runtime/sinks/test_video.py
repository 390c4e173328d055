"""Videos that are written. Oracles: another decoder (OpenCV), FFmpeg's reader, times and colours that the test made."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from runtime.errors import SinkError, UsageError, WriteError
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.video import Clock, VideoSink
from runtime.sources.source import Frame

Limit = Callable[[int], AbstractContextManager[None]]
SIZE = (48, 64)
NOISE = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)


def put(sink: VideoSink, picture: np.ndarray, time_s: float) -> None:
    """Write a painted frame."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    soft = np.zeros((1, 1, 1), np.float32)
    result = Segmentation(mask, ("a",), picture, soft, None, np.zeros((1, 3), np.uint8), None, {})
    sink.write(result, Frame(picture, 0, time_s, "cat"), picture)


def written(path: Path, times: Sequence[float], *, fps: float | None = None, size: tuple[int, int] = SIZE) -> Path:
    """Write grey frames, lighter from one to the next."""
    sink = VideoSink(path, fps, Outputs())
    for number, time_s in enumerate(times):
        put(sink, np.full((*size, 3), 40 + 20 * number, np.uint8), time_s)
    sink.close(complete=True)
    assert sink.partial is None
    return path


def read(path: Path) -> tuple[list[float], list[int], float]:
    """Times and numbers of the frames, and how long it all lasts."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        numbers = [round((float(f.to_ndarray(format="bgr24").mean()) - 40) / 20) for f in frames]
        return [float(f.time) for f in frames], numbers, container.duration / 1e6


TIMES = {
    "regular": (0.0, 0.04, 0.08, 0.12),
    "irregular": (0.0, 0.033, 0.5, 0.51, 2.0),
    "begins late": (7.0, 7.1, 7.2),
    "one": (0.0,),
}


@pytest.mark.parametrize("times", TIMES.values(), ids=list(TIMES))
@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.mkv", "v.webm"])
def test_frames_are_shown_when_the_source_showed_them(name: str, times: tuple[float, ...], tmp_path: Path) -> None:
    given, numbers, lasts_s = read(written(tmp_path / name, times, fps=10))
    assert given == pytest.approx([time_s - times[0] for time_s in times], abs=0.0011)
    assert numbers == list(range(len(times)))
    assert lasts_s == pytest.approx(times[-1] - times[0] + 0.1, abs=0.0021)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("fps", [0.5, 119.757, 29.97002997, 1000.0])
def test_every_rate_can_be_written(fps: float, tmp_path: Path) -> None:
    given, _, lasts_s = read(written(tmp_path / "v.mp4", [number / fps for number in range(9)], fps=fps))
    assert given == pytest.approx([number / fps for number in range(9)], abs=1e-5)
    assert lasts_s == pytest.approx(9 / fps, abs=1e-4)
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-2)
    capture.release()


def test_without_a_rate_the_last_frame_lasts_as_long_as_the_one_before(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.mp4", (0.0, 0.04, 0.54)))[2] == pytest.approx(1.04)
    assert read(written(tmp_path / "b.mp4", (3.0,)))[2] == pytest.approx(1 / 25)


@pytest.mark.parametrize(
    ("times", "ticks"),
    [
        ((0.0, 0.0, 0.0, 0.1), [0, 1, 2, 9000]),
        ((0.0, 0.1, 0.1, 0.2), [0, 9000, 9001, 18000]),
        ((5.0, 5.1, 0.0, 0.1), [0, 9000, 18000, 27000]),
        ((0.0, 0.1, 0.05, 0.1, 0.1), [0, 9000, 18000, 22500, 22501]),
        ((0.0, 1e-9, 1e-8), [0, 1, 2]),
        ((1e6, 1e6 + 0.1), [0, 9000]),
    ],
)
def test_the_time_of_a_video_never_stands_nor_goes_back(times: tuple[float, ...], ticks: list[int]) -> None:
    """By hand, at 10 frames a second and 90,000 ticks."""
    clock = Clock(10)
    assert [clock.place(time_s) for time_s in times] == [(tick, 9000) for tick in ticks]


def test_it_is_what_browsers_play(tmp_path: Path) -> None:
    with av.open(str(written(tmp_path / "v.mp4", TIMES["regular"], fps=25))) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert container.streams.video[0].average_rate == Fraction(25)


COLOURS = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (0, 0, 220), (0, 200, 0), (220, 0, 0), (30, 190, 240)]


@pytest.mark.parametrize("name", ["v.mp4", "v.webm"])
def test_colours_are_kept(name: str, tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / name, 25, Outputs())
    for number, colour in enumerate(COLOURS):
        put(sink, np.full((*SIZE, 3), colour, np.uint8), number / 25)
    sink.close(complete=True)
    capture = cv2.VideoCapture(str(tmp_path / name))
    for colour in COLOURS:
        assert capture.read()[1].mean(axis=(0, 1)) == pytest.approx(colour, abs=5)
    capture.release()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 5), (49, 64), (48, 65), (2, 2000)])
def test_odd_sides_repeat_their_last_pixel(size: tuple[int, int], tmp_path: Path) -> None:
    picture = np.linspace(0, 255, size[0] * size[1], dtype=np.uint8).reshape(size)[..., None].repeat(3, -1)
    sink = VideoSink(tmp_path / "v.mp4", 25, Outputs())
    put(sink, picture, 0.0)
    sink.close(complete=True)
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    image = capture.read()[1]
    capture.release()
    assert image.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    expected = np.pad(picture, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
    assert cv2.absdiff(image, expected).mean() < 12


def test_avi_knows_no_times(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"AVI knows no times.*\.mp4"):
        VideoSink(tmp_path / "v.avi", 25, Outputs())
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    with pytest.raises(SinkError, match=r"needs the encoder libx264.*pip install"):
        VideoSink(tmp_path / "v.mp4", 25, Outputs())


def test_a_frame_too_large_for_a_video_is_refused(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "v.mp4", 25, Outputs())
    with pytest.raises(SinkError, match="20000 x 1 given"):
        put(sink, np.zeros((1, 20_000, 3), np.uint8), 0.0)
    sink.close(complete=False)
    assert list(tmp_path.iterdir()) == []


def test_names_mean_nothing_to_the_encoder(tmp_path: Path) -> None:
    for name in ("caf\udce9.mp4", "a%03d.mp4", "pipe:1.mp4"):
        assert read(written(tmp_path / name, TIMES["regular"], fps=25).rename(tmp_path / "a"))[1] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_full_disk_is_told_within_a_second_of_video(name: str, tmp_path: Path, files_no_longer_than: Limit) -> None:
    """What there is can be played: FFmpeg reads it until it breaks off."""
    sink = VideoSink(tmp_path / name, 5, Outputs())
    taken = 0
    with files_no_longer_than(3_000_000), pytest.raises(WriteError, match=rf"v\.partial\{name[1:]} .*File too large"):
        for number in range(100):
            put(sink, np.roll(NOISE, number, 0), number / 5)
            taken += 1
    sink.close(complete=False)
    assert sink.partial == tmp_path / f"v.partial{name[1:]}"
    assert [file.name for file in tmp_path.iterdir()] == [sink.partial.name]
    decoded = 0
    with av.open(str(sink.partial)) as container, suppress(av.error.InvalidDataError):
        for _ in container.decode(video=0):
            decoded += 1
    assert taken - 7 <= decoded <= taken < 90


def test_a_disk_that_is_full_at_the_end_is_told(tmp_path: Path, files_no_longer_than: Limit) -> None:
    sink = VideoSink(tmp_path / "v.mp4", 25, Outputs())
    put(sink, NOISE, 0.0)
    with files_no_longer_than(1000), pytest.raises(WriteError, match="File too large"):
        sink.close(complete=True)
    assert sink.partial == tmp_path / "v.partial.mp4"
    assert not (tmp_path / "v.mp4").exists()
    sink.close(complete=True)


def test_what_is_stopped_can_be_played_and_so_can_what_is_killed(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "v.mp4", 2, Outputs())
    for number in range(6):
        put(sink, np.full((*SIZE, 3), 40 + 20 * number, np.uint8), number / 2)
    shutil.copy(tmp_path / "v.partial.mp4", tmp_path / "killed.mp4")
    assert read(tmp_path / "killed.mp4")[1] == [0, 1, 2, 3]  # of 3 s, the last one is lost
    sink.close(complete=False)
    assert sink.partial == tmp_path / "v.partial.mp4"
    assert read(sink.partial)[1] == list(range(6))
    sink.close(complete=False)
    assert not (tmp_path / "v.mp4").exists()


def recorded(sink: VideoSink, times: Sequence[float], *, size: tuple[int, int] = SIZE, first: int = 0) -> None:
    for number, time_s in enumerate(times, first):
        put(sink, np.full((*size, 3), 40 + 20 * number, np.uint8), time_s)


@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.mkv", "v.webm"])
def test_pieces_together_are_the_recording(name: str, tmp_path: Path) -> None:
    """Irregular times, a camera that is away for two seconds, times that begin late and go back once."""
    times = (7.0, 7.3, 7.9, 8.0, 8.2, 10.2, 10.3, 3.0, 3.4)
    sink = VideoSink(tmp_path / name, None, Outputs(), segment_s=1.0, live=True)
    recorded(sink, times)
    sink.close(complete=True)
    stem, suffix = name.split(".")
    assert [path.name for path in sink.pieces] == [f"{stem}-{number:03d}.{suffix}" for number in range(3)]
    assert sorted(tmp_path.iterdir()) == sink.pieces
    numbers, lasted = [], []
    for path, expected in zip(sink.pieces, ((0.0, 0.3, 0.9), (0.0, 0.2, 2.2, 2.3)[:2], ()), strict=True):
        given, found, lasts_s = read(path)
        assert given[: len(expected)] == pytest.approx(expected, abs=0.0011)
        assert given[0] == 0
        numbers += found
        lasted.append(lasts_s)
    assert numbers == list(range(len(times)))
    whole = read(written(tmp_path / f"whole.{suffix}", times))
    assert lasted[:2] == pytest.approx([1.0, 2.2], abs=0.0021)
    assert sum(lasted) == pytest.approx(whole[2], abs=0.006)


def test_a_file_in_pieces_has_every_frame_and_the_last_piece_may_stay_partial(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "v-%d.mp4", 10, Outputs(), segment_s=1)
    recorded(sink, [number / 5 for number in range(8)])
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["v-0.mp4", "v-1.partial.mp4"]
    sink.close(complete=False)
    assert sink.partial == tmp_path / "v-1.partial.mp4"
    first, last = read(tmp_path / "v-0.mp4"), read(sink.partial)
    assert (first[1], last[1]) == ([0, 1, 2, 3, 4], [5, 6, 7])
    assert (first[2], last[2]) == (pytest.approx(1.0), pytest.approx(0.5))


def test_pieces_of_less_than_a_second_are_refused(tmp_path: Path) -> None:
    for segment_s in (0.0, 0.9, -5.0):
        with pytest.raises(UsageError, match=r"pieces of .* s given for .*v\.mp4, expected at least 1 s"):
            VideoSink(tmp_path / "v.mp4", 10, Outputs(), segment_s=segment_s)


def test_a_camera_that_changes_its_size_goes_on_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "v-001.mp4").write_text("an earlier one")
    sink = VideoSink(tmp_path / "v.mp4", 10, Outputs(), live=True)
    recorded(sink, (0.0, 0.1))
    recorded(sink, (0.5, 0.6), size=(96, 128), first=2)
    recorded(sink, (0.7,), first=4)
    sink.close(complete=True)
    assert [path.name for path in sink.pieces] == ["v.mp4", "v-002.mp4", "v-003.mp4"]
    assert [read(path)[1] for path in sink.pieces] == [[0, 1], [2, 3], [4]]
    assert [read(path)[2] for path in sink.pieces] == pytest.approx([0.5, 0.2, 0.1])
    assert (tmp_path / "v-001.mp4").read_text() == "an earlier one"


def test_a_file_that_changes_its_size_is_refused_unless_it_is_in_pieces(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "v.mp4", 10, Outputs())
    recorded(sink, (0.0,))
    with pytest.raises(SinkError, match=r"is 128 x 96, the video .*v\.mp4 began with 64 x 48"):
        recorded(sink, (0.1,), size=(96, 128))
    sink.close(complete=False)
    sink = VideoSink(tmp_path / "w.mp4", 10, Outputs(), segment_s=60)
    recorded(sink, (0.0,))
    recorded(sink, (0.1,), size=(96, 128), first=1)
    sink.close(complete=True)
    assert [read(path)[1] for path in sink.pieces] == [[0], [1]]


RECORD = """
import sys, time
from pathlib import Path
import numpy as np
from runtime.sinks.output import Outputs
from runtime.sinks.video import VideoSink
sys.path.insert(0, sys.argv[2])
from test_video import put
sink = VideoSink(Path(sys.argv[1]), 10, Outputs(), segment_s=2.0, live=True)
for number in range(56):
    put(sink, np.full((48, 64, 3), 40 + number, np.uint8), number / 10)
print("recorded", flush=True)
time.sleep(60)
"""


def test_what_is_killed_while_it_records_plays_up_to_a_second_before(tmp_path: Path) -> None:
    """A real process, killed after 5.6 s in pieces of 2 s; what it starts again goes on after them."""
    command = [sys.executable, "-c", RECORD, str(tmp_path / "v.mp4"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"
        process.kill()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v-000.mp4", "v-001.mp4", "v-002.partial.mp4"]
    for name in ("v-000.mp4", "v-001.mp4"):
        given, _, lasts_s = read(tmp_path / name)
        assert (len(given), lasts_s) == (20, pytest.approx(2.0))
    assert len(read(tmp_path / "v-002.partial.mp4")[0]) >= 16 - 10 - 2
    sink = VideoSink(tmp_path / "v.mp4", 10, Outputs(), segment_s=2.0, live=True)
    recorded(sink, (0.0,))
    sink.close(complete=True)
    assert [path.name for path in sink.pieces] == ["v-003.mp4"]


def test_what_is_killed_loses_a_second_and_two_frames(tmp_path: Path) -> None:
    """At moments from the second second on: what is on disk then, read by another."""
    sink = VideoSink(tmp_path / "v.mp4", 10, Outputs(), segment_s=60, live=True)
    copy = tmp_path / "killed.mp4"
    for number in range(40):
        put(sink, np.full((*SIZE, 3), 40 + number, np.uint8), number / 10)
        if number >= 20 and number % 3 == 0:
            shutil.copy(tmp_path / "v-000.partial.mp4", copy)
            assert read(copy)[0][-1] >= number / 10 - 1.0 - 0.2001
    sink.close(complete=False)


def test_a_sink_without_frames_leaves_nothing(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "v.mp4", 25, Outputs())
    sink.close(complete=True)
    sink.close(complete=True)
    assert list(tmp_path.iterdir()) == []
