"""Videos. Oracles: frames, times and damage that the test makes itself; OpenCV's decoder."""

import gc
import io
import itertools
import os
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.damage import announced_size
from runtime.sources.files import STANDARD_INPUT, VideoSource
from runtime.sources.open import SHIPPED_CLIP, open_source

REGULAR = tuple(number / 25 for number in range(20))
IRREGULAR = (0.0, 0.04, 0.4, 0.41, 1.0, 1.5, 1.54)


def grey(number: int) -> int:
    return 40 + 9 * number


def write(
    path: Path | io.BytesIO,
    times: Sequence[float] = REGULAR,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (48, 64),
    kind: str | None = None,
    options: dict[str, str] | None = None,
    turn: tuple[int, bool] = (0, False),
    picture: np.ndarray | None = None,
    sound_s: float = 0,
) -> None:
    """Write a video whose frames are grey and lighter from one to the next, at these times, with one key frame."""
    file = path if isinstance(path, io.BytesIO) else str(path)
    with av.open(file, "w", format=kind, options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        if codec not in {"mpeg2video", "mpeg4"}:  # those count frames
            stream.codec_context.time_base = Fraction(1, 90_000)
        stream.codec_context.gop_size = 250
        stream.bit_rate = 2_000_000
        if turn != (0, False):
            stream.set_display_rotation(turn[0], hflip=turn[1])
        sound = container.add_stream("aac", rate=8000) if sound_s else None
        for number, time_s in enumerate(times):
            shown = np.full((*size, 3), grey(number), np.uint8) if picture is None else np.roll(picture, number, 0)
            image = av.VideoFrame.from_ndarray(shown, format="bgr24")
            image.pts, image.time_base = round(time_s * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, int(sound_s * 8000)), np.float32), "fltp", "mono")
            silence.rate = 8000
            container.mux([*sound.encode(silence), *sound.encode(None)])


def seen(source: VideoSource) -> tuple[list[float], list[int]]:
    """Times and nearest numbers of the frames that a source gives."""
    with source:
        frames = list(source)
    return [f.time_s for f in frames], [round((float(f.image.mean()) - 40) / 9) for f in frames]


def test_a_video_yields_every_frame_as_another_decoder_does() -> None:
    with open_source("test://cars") as source:
        frames = list(source)
    assert (source.count, source.fps, source.live, source.problems) == (120, 12.5, False, [])
    assert [frame.index for frame in frames] == list(range(120))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 12.5 for number in range(120)])
    assert {frame.path for frame in frames} == set(source.inputs) == {SHIPPED_CLIP}
    capture = cv2.VideoCapture(str(SHIPPED_CLIP))
    for number, frame in enumerate(frames):
        decoded, image = capture.read()
        if number % 40 == 0:
            assert decoded
            assert cv2.absdiff(image, frame.image).mean() < 1


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "libx264", {}),
        ("a.mp4", "libx264", {}),
        ("fragments.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("browser.webm", "libvpx", {"live": "1"}),  # neither its length nor a rate
    ],
)
@pytest.mark.parametrize("times", [REGULAR, IRREGULAR])
def test_frames_have_the_times_that_the_file_gives(
    name: str, codec: str, options: dict[str, str], times: tuple[float, ...], tmp_path: Path
) -> None:
    write(tmp_path / name, times, codec=codec, options=options)
    given, numbers = seen(VideoSource(tmp_path / name))
    assert given == pytest.approx(times, abs=0.0011)  # Matroska counts milliseconds
    assert numbers == list(range(len(times)))


@pytest.mark.parametrize("hidden", [0, 1, 8])
def test_what_an_edit_list_hides_is_not_shown(hidden: int, tmp_path: Path) -> None:
    """FFmpeg's writer hides what lies before 0, as a cut without encoding does."""
    write(tmp_path / "a.mp4", [t - hidden / 25 for t in REGULAR], options={"avoid_negative_ts": "disabled"})
    source = VideoSource(tmp_path / "a.mp4")
    assert source.count == 20 - hidden
    times, numbers = seen(source)
    assert times == pytest.approx(REGULAR[: 20 - hidden])
    assert numbers == list(range(hidden, 20))


CORNERS = np.zeros((64, 96, 3), np.uint8)
CORNERS[:32, :48], CORNERS[:32, 48:], CORNERS[32:, :48] = (200, 0, 0), (0, 200, 0), (0, 0, 200)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_are_turned_and_mirrored_as_a_player_does(degrees: int, mirrored: bool, tmp_path: Path) -> None:
    """A turn against the clock, then the mirror: so does `ffmpeg` with what this writes."""
    write(tmp_path / "a.mov", (0.0,), size=(64, 96), picture=CORNERS, turn=(degrees, mirrored))
    expected = np.rot90(CORNERS, degrees // 90)[:, :: -1 if mirrored else 1]
    with VideoSource(tmp_path / "a.mov") as source:
        (frame,) = source
    assert frame.image.flags.c_contiguous
    assert frame.image.shape == expected.shape
    assert cv2.absdiff(frame.image, np.ascontiguousarray(expected)).mean() < 8


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("deep.mkv", "libx264", "yuv420p10le", (48, 64)),
        ("vp9.webm", "libvpx-vp9", "yuv420p", (48, 64)),
        ("odd.mkv", "ffv1", "yuv444p", (57, 101)),
        ("grey.mkv", "ffv1", "gray16le", (48, 64)),
        ("point.mkv", "ffv1", "yuv420p", (1, 1)),
        ("a.ts", "mpeg2video", "yuv420p", (48, 64)),
        ("a.avi", "mpeg4", "yuv420p", (48, 64)),
    ],
)
def test_codecs_depths_and_sizes(name: str, codec: str, pixels: str, size: tuple[int, int], tmp_path: Path) -> None:
    write(tmp_path / name, codec=codec, pixels=pixels, size=size)
    with VideoSource(tmp_path / name) as source:
        images = [frame.image for frame in source]
    assert {image.shape for image in images} == {(*size, 3)}
    assert [image.mean() for image in images] == pytest.approx([grey(number) for number in range(20)], abs=4)


@pytest.mark.parametrize(
    "name", [b"caf\xe9.mp4", b"http:x.mp4", b"a%03d.mp4", b"concat:a|b.mp4", b"-.mp4", b"file", b"a.txt"]
)
def test_names_mean_nothing_but_the_file(name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mp4")
    os.rename(b"a.mp4", name)  # noqa: PTH104 - bytes
    assert seen(VideoSource(Path(os.fsdecode(name))))[1] == list(range(20))


@pytest.fixture
def in_one_go() -> bytes:
    """A video that can be read from its beginning to its end."""
    file = io.BytesIO()
    write(file, kind="matroska")
    return file.getvalue()


def test_a_pipe_is_a_video(in_one_go: bytes, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[in_one_go])
    writer.start()
    source = open_source(str(tmp_path / "pipe"))
    assert isinstance(source, VideoSource)
    assert seen(source)[1] == list(range(20))
    writer.join()


def test_standard_input_is_a_video(in_one_go: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(in_one_go)
    with (tmp_path / "a").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", file)
        source = open_source("-")
        assert isinstance(source, VideoSource)
        assert seen(source)[1] == list(range(20))
        assert not file.closed
    assert source.inputs == []
    assert str(STANDARD_INPUT) == "-"


NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_an_mp4_whose_index_comes_last_cannot_be_piped(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", codec="mjpeg", pixels="yuvj420p", picture=np.tile(NOISE, (2, 2, 1)), size=(96, 128))
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes((tmp_path / "a.mp4").read_bytes()))
    writer.start()
    with pytest.raises(SourceError, match=r"pipe is no video .* in one go: .*faststart"):
        seen(VideoSource(tmp_path / "pipe"))
    writer.join()


def blanked(data: bytes, size: int = 60) -> bytes:
    """Blank some bytes in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes(size) + data[middle + size :]


def without(data: bytes, number: int) -> bytes:
    """Blank one of the frames."""
    with av.open(io.BytesIO(data)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    begin, size = places[number]
    return data[:begin] + bytes(size) + data[begin + size :]


@pytest.mark.parametrize(
    ("name", "codec", "options", "harm", "message"),
    [
        (
            "end.mp4",
            "libx264",
            {"movflags": "faststart"},
            lambda d: d[:-1500],
            r"\d+ of 20 frames that it announces are there",
        ),
        ("middle.mp4", "libx264", {}, blanked, r"\d of 20 frames are broken or missing, the first at 0\.\d\d s"),
        ("middle.mkv", "libx264", {}, blanked, "broken"),
        ("end.mkv", "libx264", {}, lambda d: d[:-1500], r"cut short, \d+ of \d+ bytes are there; 1\d frames"),
        ("end.avi", "mjpeg", {}, lambda d: d[: len(d) // 2], "cut short"),
        ("one.avi", "mjpeg", {}, lambda d: without(d, 7), "1 of 20 frames are broken or missing"),
        ("middle.ts", "mpeg2video", {}, lambda d: blanked(d, 188 * 4), "broken"),
    ],
)
def test_a_damaged_video_yields_what_it_has_then_fails(
    name: str, codec: str, options: dict[str, str], harm: object, message: str, tmp_path: Path
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    write(tmp_path / name, codec=codec, options=options, picture=NOISE, pixels=pixels)
    with VideoSource(tmp_path / name) as source:
        assert len(list(source)) == 20
    (tmp_path / name).write_bytes(harm((tmp_path / name).read_bytes()))  # type: ignore[operator]
    decoded = 0
    with open_source(str(tmp_path / name)) as source, pytest.raises(SourceError, match=f"is damaged: .*{message}"):
        for _ in source:
            decoded += 1
    assert 5 < decoded <= 20


def test_a_cut_copy_of_the_shipped_clip_is_damaged(tmp_path: Path) -> None:
    data = SHIPPED_CLIP.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with (
        open_source(str(tmp_path / "cut.mp4")) as source,
        pytest.raises(SourceError, match=r"is damaged: \d+ of 120 frames"),
    ):
        list(source)


def test_sound_may_be_longer_than_the_pictures(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.mp4"):
        write(tmp_path / name, sound_s=5)
        assert len(seen(VideoSource(tmp_path / name))[0]) == 20


def test_a_broadcast_may_begin_between_key_frames(tmp_path: Path) -> None:
    write(tmp_path / "a.ts", codec="mpeg2video")
    write(tmp_path / "b.ts", codec="mpeg2video")
    first, second = (tmp_path / "a.ts").read_bytes(), (tmp_path / "b.ts").read_bytes()
    (tmp_path / "c.ts").write_bytes(first[len(first) // 2 // 188 * 188 :] + second)
    times, numbers = seen(VideoSource(tmp_path / "c.ts"))
    assert numbers[-20:] == list(range(20))
    assert times == sorted(set(times))  # the second begins at 0 again


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"RIFF\x10\0\0\0AVI ", 24),
        (b"RIFF\0\0\0\0AVI ", 0),
        (b"RIFF\xff\xff\xff\xffAVI ", 0),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x85", 10 + 5),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\0\0\0\0\0\1\0", 17 + 256),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7, 0),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff", 0),
        (b"\x1a\x45\xdf\xa3", 0),
        (b"", 0),
    ],
)
def test_what_a_header_says_of_its_file(head: bytes, size: int) -> None:
    """By hand, after the formats' descriptions; all ones stand for a length that was not known."""
    assert announced_size(head) == size


def test_pictures_one_behind_the_other_are_timed_at_25(tmp_path: Path) -> None:
    pictures = (cv2.imencode(".jpg", np.full((16, 16, 3), grey(number), np.uint8))[1].tobytes() for number in range(3))
    (tmp_path / "a.mjpeg").write_bytes(b"".join(pictures))
    source = VideoSource(tmp_path / "a.mjpeg")
    assert source.count is None
    times, numbers = seen(source)
    assert times == pytest.approx([0, 0.04, 0.08])
    assert numbers == [0, 1, 2]


def wrong(path: Path) -> Iterator[tuple[str, str]]:
    """Files that are no videos, and what is said of each."""
    write(path / "a.mp4")
    data = (path / "a.mp4").read_bytes()
    for name, content, message in (
        ("empty.mp4", b"", "is empty"),
        ("page.mp4", b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        ("text.txt", b"a text\n" * 99, "is no video that FFmpeg can read: check it with `ffprobe"),
        ("index.mp4", data[: len(data) // 2], "is damaged: an MP4 without its index"),
        ("evc.mp4", data.replace(b"avc1", b"evc1"), r"is encoded as evc, .*cannot decode.*`ffmpeg -i \S+ -c:v libx264"),
        ("new.mp4", data.replace(b"avc1", b"x%x1"), r"is encoded as something unknown|is encoded as x"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\na.mp4\n#EXT-X-ENDLIST\n", "is no video"),
        ("list", b"ffconcat version 1.0\nfile a.mp4\n", "is no video"),
    ):
        (path / name).write_bytes(content)
        yield name, message
    with av.open(str(path / "sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.rate = 8000
        container.mux([*sound.encode(silence), *sound.encode(None)])
    yield "sound.mp4", "holds no video, but audio"
    (path / "folder.mp4").mkdir()
    yield "folder.mp4", "cannot be opened: Is a directory"


def test_what_is_no_video_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, message in wrong(tmp_path):
        with pytest.raises(SourceError, match=f"{name} {message}"):
            VideoSource(Path(name))
    assert not [link for link in Path("/proc/self/fd").iterdir() if link.resolve().is_relative_to(tmp_path)]


def test_a_closed_video_holds_no_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")

    def is_open() -> bool:
        return (tmp_path / "a.mp4").resolve() in [link.resolve() for link in Path("/proc/self/fd").iterdir()]

    with VideoSource(tmp_path / "a.mp4") as source:
        assert is_open()
        next(iter(source))
    assert not is_open()
    source.close()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_what_lies_beside_a_frame_may_be_of_an_unknown_kind(orientation: int, tmp_path: Path) -> None:
    """As EXIF beside a frame of Motion JPEG. Oracle: OpenCV, which turns pictures by it."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :16] = 255
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHHI", 0x0112, 3, 1, orientation, 0, 0)
    (tmp_path / "a.mjpeg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    expected = cv2.imread(str(tmp_path / "a.mjpeg"))
    with VideoSource(tmp_path / "a.mjpeg") as source:
        (frame,) = source
    assert frame.image.shape == expected.shape
    assert np.abs(frame.image.astype(int) - expected).mean() < 6


def test_decoded_pictures_do_not_pile_up() -> None:
    """What holds itself waits for the collector with its memory. Oracle: the objects that Python knows of."""

    def decoded() -> int:
        return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())  # others may answer with a warning

    gc.collect()
    gc.disable()
    try:
        before = decoded()
        with VideoSource(SHIPPED_CLIP) as source:
            for _ in itertools.islice(source, 20):
                pass
            assert decoded() < before + 8
    finally:
        gc.enable()
