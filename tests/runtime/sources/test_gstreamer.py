"""Pipelines in a process of their own. Oracles: what GStreamer's test pictures are said to show; the system."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from runtime.errors import SourceError, SourceNotFoundError
from runtime.sources import gstreamer
from runtime.sources.gstreamer import GstreamerCapture, open_gstreamer
from runtime.sources.live import LiveSource, Patience
from runtime.sources.open import open_source

needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None, reason="needs apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good"
)

QUICK = Patience(stale=0.3, lost=0.5, first=10.0, retry=0.02)


def until(true: Callable[[], object], seconds: float = 10) -> bool:
    deadline_s = monotonic() + seconds
    while not true() and monotonic() < deadline_s:
        sleep(0.01)
    return bool(true())


def children() -> list[int]:
    """Processes whose parent this is."""
    return [int(number) for path in Path("/proc/self/task").glob("*/children") for number in path.read_text().split()]


@needs_gstreamer
@pytest.mark.parametrize(
    ("caps", "size"),
    [
        ("width=64,height=48", (48, 64)),
        ("width=33,height=17", (17, 33)),
        ("width=1280,height=720,format=NV12", (720, 1280)),
        ("width=50,height=20,format=BGRx", (20, 50)),
        (
            "width=64,height=48,format=BGRx ! videoconvert ! video/x-raw,format=I420,colorimetry=1:4:0:0",
            (48, 64),
        ),  # JPEG
    ],
)
def test_every_picture_has_the_colours_and_the_size_that_were_made(caps: str, size: tuple[int, int]) -> None:
    """Red, by the name of the pattern: of brightness and colours of any kind."""
    capture = GstreamerCapture(f"videotestsrc num-buffers=3 pattern=red ! video/x-raw,{caps}".split(), "gst:red")
    try:
        for _ in range(3):
            picture = capture.read()
            assert picture is not None
            assert picture.image.shape == (*size, 3)
            assert np.abs(picture.image.astype(int) - (0, 0, 255)).max() <= 4
        assert capture.read() is None
    finally:
        capture.close()


@needs_gstreamer
def test_a_size_that_changes_is_followed() -> None:
    """Two sources of different sizes, one behind the other."""
    parts = " ".join(f"videotestsrc num-buffers=2 ! video/x-raw,width={w},height=48 ! c." for w in (64, 80))
    capture = GstreamerCapture(f"{parts} concat name=c".split(), "gst:two")
    try:
        shapes = [picture.image.shape[1] for picture in iter(capture.read, None)]
    finally:
        capture.close()
    assert shapes == [64, 64, 80, 80]


@needs_gstreamer
def test_a_pipeline_that_comes_to_its_end_has_ended() -> None:
    with open_source("gst:videotestsrc num-buffers=30 is-live=true ! video/x-raw,width=64,height=48") as source:
        assert isinstance(source, LiveSource)
        assert (source.live, source.ends) == (True, False)
        assert 0 < len(list(source)) <= 30
        assert source.state == "ended"


@needs_gstreamer
def test_a_pipeline_that_is_killed_or_hangs_is_run_again_and_leaves_nothing_behind() -> None:
    threads, files = threading.active_count(), len(list(Path("/dev/fd").iterdir()))
    with open_gstreamer("gst:videotestsrc is-live=true ! video/x-raw,width=64,height=48", patience=QUICK) as source:
        (first,) = children()
        os.kill(first, signal.SIGKILL)
        assert until(lambda: source.reconnects == 1 and source.state == "live")
        assert "ended by signal 9" in str(source.problem)
        (second,) = children()
        os.kill(second, signal.SIGSTOP)
        assert until(lambda: source.state != "live")
        assert until(lambda: source.reconnects == 2)
    assert until(lambda: not children())
    assert until(lambda: threading.active_count() == threads)
    assert until(lambda: len(list(Path("/dev/fd").iterdir())) == files)


@needs_gstreamer
@pytest.mark.skipif(sys.platform != "linux", reason="the system ends children with their parent on Linux")
def test_a_pipeline_ends_with_a_program_that_is_killed() -> None:
    code = (
        "import time; from runtime.sources.gstreamer import GstreamerCapture\n"
        "capture = GstreamerCapture('videotestsrc is-live=true ! video/x-raw,framerate=1/100'.split(), 'gst:slow')\n"
        "print(capture._process.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        pipeline = int(program.stdout.readline())
        sleep(0.2)  # for it to become what it is
        program.kill()
    assert until(lambda: not Path(f"/proc/{pipeline}").exists() or "Z" in Path(f"/proc/{pipeline}/stat").read_text())


@needs_gstreamer
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gst:nonesuchsrc", r"has no element 'nonesuchsrc' here: `apt-file search nonesuchsrc`"),
        (
            "gst:videotestsrc num-buffers=9 ! x264enc",
            "does not fit together: expected raw video at its end|has no element 'x264enc'",
        ),
        ("gst:filesrc location=/nowhere ! decodebin", r"gst-launch-1.0 ended with status 255.*No such file"),
        ("gst:videotestsrc num-buffers=0", "ended before its first picture"),
    ],
)
def test_a_pipeline_that_cannot_run_says_why(source: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(source)


@needs_gstreamer
@pytest.mark.skipif(Path("/dev/nvhost-ctrl").exists(), reason="this is a Jetson")
def test_a_jetsons_camera_elsewhere_names_the_package() -> None:
    with pytest.raises(SourceError, match=r"csi://0.*no element 'nvarguscamerasrc' here: .*nvidia-l4t-gstreamer"):
        open_source("csi://0?flip=2")


def test_a_jetsons_camera_is_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, after NVIDIA's description; in place of GStreamer something that writes down what it is told to do."""
    script = tmp_path / "gst-launch-1.0"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SourceError, match="ended before its first picture"):
        open_source("csi://1?width=1280&height=720&fps=60&flip=2")
    assert (tmp_path / "words").read_text().splitlines()[:8] == [
        "-q",
        "nvarguscamerasrc",
        "sensor-id=1",
        "!",
        "video/x-raw(memory:NVMM),format=NV12,width=1280,height=720,framerate=60/1",
        "!",
        "nvvidconv",
        "flip-method=2",
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gst:", "is empty"),
        ("gst:videotestsrc ! 'x", "a quotation mark without another"),
        ("gst:v4l2src ! videoconvert ! appsink drop=1", "ends with 'appsink': leave it out"),
        ("csi://", "expected csi://0"),
        ("csi://front", "expected csi://0"),
        ("csi://0?widht=9", "expected csi://0"),
        ("csi://0?width=-9", "expected csi://0"),
        ("csi://0?flip=8", "a flip of 0 to 7"),
        ("csi://0?fps=0", "1 to 1000 fps"),
    ],
)
def test_what_is_no_pipeline_is_wrong_usage(source: str, message: str) -> None:
    with pytest.raises(SourceNotFoundError, match=message):
        open_source(source)


def test_without_gstreamer_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "LAUNCH", "gst-launch-that-is-not-there")
    with pytest.raises(SourceError, match=r"is not installed: `apt install gstreamer1\.0-tools`"):
        open_source("gst:videotestsrc")


@needs_gstreamer
def test_secrets_of_a_pipeline_are_shown_to_nobody() -> None:
    pipeline = "gst:rtspsrc location=rtsp://eve:secret@127.0.0.1:9/a user-pw=secret ! decodebin"
    with pytest.raises(
        SourceError, match=r"location=rtsp://\*\*\*@127\.0\.0\.1:9/a user-pw=\*\*\* ! decodebin"
    ) as found:
        open_source(pipeline)
    assert "secret" not in str(found.value)
