"""The window. Oracles: what plot gives for a view, a person who presses keys, a real screen without glass (Xvfb)."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SinkError
from runtime.overlay import Look
from runtime.segmenter import Segmenter
from runtime.sinks.display import DisplaySink
from runtime.sinks.keys import HELP, View
from runtime.sinks.screen import user_interface, window_problem
from runtime.sinks.sink import Sink
from runtime.sources.open import open_source
from runtime.sources.source import Frame, Source
from runtime.stream.loop import stream
from runtime.stream.monitor import Monitor

PATTERN = "test://pattern?frames=5&size=320x240"
CODES = {"right": 0xFF53, "esc": 27, "space": 32}


def code(key: str) -> int:
    return CODES.get(key) or ord(key)


def pressed(*keys: str, still: bool = False) -> View:
    view = View(Look())
    for key in keys:
        view = view.after(code(key), still=still)
    return view


def test_keys_change_how_things_are_seen() -> None:
    assert pressed("l", "o").look == Look(legend=False, outline=False)
    assert pressed("L", "l").look == Look()
    assert pressed("+", "+", "=").look.alpha == 0.8
    assert pressed(*"+" * 9).look.alpha == 1.0
    assert pressed(*"-" * 9).look.alpha == 0.0
    assert pressed("-", "_", "+").look.alpha == 0.4
    assert pressed("h").help
    assert not pressed("h", "?").help
    assert pressed("space").paused
    assert not pressed("space", "space").paused
    assert all(pressed(key).quit for key in ("q", "Q", "esc"))
    assert all(pressed(key).onward for key in ("n", "right"))


def test_words_are_typed() -> None:
    """Oracle: what a text field makes of these keys."""
    view = View(Look())
    for key in (ord("w"), ord("x"), 8, ord(","), ord(" "), ord("Q"), 0xFF08, ord("q"), -1, 0xFFE1):
        view = view.after(key, still=True, words="car")
    assert view == View(Look(), typed="car, q")
    assert view.after(27, still=True) == View(Look())
    assert view.after(13, still=True) == View(Look(), typed="car, q", words=True)


def test_space_is_for_the_next_picture_where_nothing_runs() -> None:
    assert pressed("space", still=True) == View(Look(), onward=True)


@pytest.mark.parametrize("key", [-1, 0, ord("x"), 0xFFE1, 0xFF51, 0x10FFFF])
def test_other_keys_change_nothing(key: int) -> None:
    """-1 is no key, 0xFFE1 a shift key, 0xFF51 the arrow to the left."""
    assert View(Look()).after(key, still=False) == View(Look())


def test_help_and_the_page_name_every_key() -> None:
    """Oracle: the keys that the tests above press."""
    keys = ("h", "space", "n", "right", "l", "o", "+", "-", "w", "s", "q", "Esc")
    assert set(" ".join(names for names, _ in HELP).replace(",", "").split()) == set(keys)
    page = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (paragraph,) = (part for part in page.split("\n\n") if part.startswith("In the window, "))
    assert all(f"`{key}`" in paragraph for key in keys if key != "space")


class Person:
    """Sits before a window and presses keys: at the n-th time that one is waited for, the n-th key or none."""

    def __init__(self, *keys: str, closes_at: int | None = None) -> None:
        self.keys, self.closes_at = list(keys), closes_at
        self.asked = 0
        self.seen: list[np.ndarray] = []
        self.closed = 0

    def show(self, picture: np.ndarray) -> None:
        self.seen.append(picture.copy())

    def key(self, wait_ms: int) -> int:
        self.asked += 1
        assert self.asked < 500, "nobody ends this"
        key = self.keys[self.asked - 1] if self.asked <= len(self.keys) else ""
        return code(key) if key else -1

    def is_open(self) -> bool:
        return self.closes_at is None or self.asked < self.closes_at

    def close(self) -> None:
        self.closed += 1


class Collector(Sink):
    """Another sink of the same stream."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []
        self.complete: bool | None = None

    def write(self, result, frame, picture) -> None:
        self.pictures.append(picture.copy())

    def close(self, *, complete: bool) -> None:
        self.complete = complete


class Clock:
    """A tenth of a second passes whenever somebody looks."""

    def __init__(self, step_s: float = 0.1) -> None:
        self.now, self.step = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def shown(
    segmenter: Segmenter, person: Person, source: str = PATTERN, folder: Path | None = None, **options
) -> tuple[Collector, bool]:
    """Let a person watch a stream; another sink gets it, too."""
    opened, other = open_source(source), Collector()
    sink = DisplaySink(opened, person, folder=folder, clock=options.pop("clock", Clock()))
    complete = stream(opened, segmenter, [sink, other], monitor=Monitor(opened), **options)
    assert person.closed == 1
    return other, complete


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for frame in open_source("test://pattern?frames=3&size=320x240"):
        cv2.imwrite(str(folder / f"{frame.index}.png"), frame.image)
    return folder


def test_a_video_runs_and_its_rate_is_written_into_the_window_only(segmenter: Segmenter) -> None:
    """Oracle: the pictures of the other sink, which the line at the lower edge must leave alone."""
    person = Person()
    other, complete = shown(segmenter, person)
    assert complete
    assert len(person.seen) == len(other.pictures) == 5
    for seen, picture in zip(person.seen, other.pictures, strict=True):
        assert np.array_equal(seen[:200], picture[:200])
        assert not np.array_equal(seen[220:], picture[220:])
        assert np.array_equal(seen[:, 200:], picture[:, 200:])


def test_the_rate_is_that_of_the_frames(segmenter: Segmenter) -> None:
    opened = open_source(PATTERN)
    times = iter([0.0, *np.arange(0, 100) / 25])
    sink = DisplaySink(opened, Person(), clock=lambda: next(times))
    sink._until = -1.0  # no message before it
    sink._times.extend([10.0, 10.04, 10.08, 10.12])
    sink._shown = (None, next(iter(opened)), None)  # type: ignore[assignment]
    assert sink._line() == "25.0 fps"
    sink._times.clear()
    assert sink._line() == "- fps"


def test_a_paused_video_goes_on_frame_by_frame(segmenter: Segmenter) -> None:
    """Space at the first frame; nothing for ten looks; two steps; space again: five frames in all, none lost."""
    person = Person("space", *[""] * 10, "n", "", "", "right", "", "space")
    other, complete = shown(segmenter, person)
    assert complete
    assert len(other.pictures) == 5
    assert person.asked == 17 + 2


def test_a_picture_stays_until_the_next_is_asked_for(segmenter: Segmenter, pictures: Path) -> None:
    person = Person(*[""] * 20, "n", "", "", "space", "", "right")
    other, complete = shown(segmenter, person, str(pictures))
    assert complete
    assert len(other.pictures) == 3
    assert person.asked == 26


@pytest.mark.parametrize(("keys", "whole"), [(["n", "n", "", "q"], True), (["n", "q"], False)])
def test_who_quits_at_the_last_picture_has_seen_all(
    keys: list[str], whole: bool, segmenter: Segmenter, pictures: Path
) -> None:
    other, complete = shown(segmenter, Person(*keys), str(pictures))
    assert complete == other.complete == whole


@pytest.mark.parametrize("person", [Person("", "esc"), Person("", "Q"), Person(closes_at=2)])
def test_the_stream_ends_with_the_window(person: Person, segmenter: Segmenter) -> None:
    other, complete = shown(segmenter, person)
    assert len(other.pictures) == 2
    assert not complete


def test_a_held_picture_lets_go_when_the_stream_is_stopped(segmenter: Segmenter, pictures: Path) -> None:
    """As Ctrl-C does it."""

    class Stop:
        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 30

    other, complete = shown(segmenter, Person(), str(pictures), stop=Stop())
    assert len(other.pictures) == 1
    assert not complete


def test_time_that_a_picture_is_held_is_no_time_of_a_stage(segmenter: Segmenter, pictures: Path) -> None:
    class Slow(Person):
        def key(self, wait_ms: int) -> int:
            time.sleep(0.1 if wait_ms > 1 else 0)
            return super().key(wait_ms)

    opened = open_source(str(pictures))
    monitor = Monitor(opened)
    person = Slow(*[""] * 10, "n", "n", "n")
    stream(opened, segmenter, [DisplaySink(opened, person)], monitor=monitor)
    assert max(monitor.latency.percentiles()["end to end"]) < 900
    assert 1000 / monitor.latency.fps < 900


@pytest.mark.parametrize(
    ("keys", "look"),
    [
        (["l"], Look(legend=False)),
        (["o"], Look(outline=False)),
        (["+", "+"], Look(alpha=0.7)),
        (["-", "l", "o"], Look(0.4, legend=False, outline=False)),
        (["l", "l"], Look()),
    ],
)
def test_a_held_picture_is_painted_anew(keys: list[str], look: Look, segmenter: Segmenter, pictures: Path) -> None:
    """Oracle: the result's own plot with that look. The other sink's picture stays as it was."""
    person = Person(*keys, "", "q")
    other, _ = shown(segmenter, person, str(pictures))
    result = segmenter(next(iter(open_source(str(pictures)))).image, overlay=True)
    expected = result.plot(alpha=look.alpha, legend=look.legend, outline=look.outline)
    assert np.array_equal(person.seen[-1][:200], expected[:200])
    assert np.array_equal(other.pictures[0], result.plot())


def test_the_window_begins_as_the_stream_paints(segmenter: Segmenter, pictures: Path) -> None:
    """After --no-legend, the key l shows it."""
    person = Person("", "l", "q")
    other, _ = shown(segmenter, person, str(pictures), look=Look(0.3, legend=False, outline=False))
    assert np.array_equal(person.seen[0][:200], other.pictures[0][:200])
    result = segmenter(next(iter(open_source(str(pictures)))).image)
    assert np.array_equal(person.seen[-1][:200], result.plot(alpha=0.3, outline=False)[:200])


def test_who_watches_changes_the_words(segmenter: Segmenter) -> None:
    """A word that is refused changes nothing, and stays to be mended. Oracle: the names of later results."""
    names = []
    person = Person("w", *["\b"] * 200, *"sea|sky, |", "\r", "\b", "\b", "\b", "\r", "", "", "q")
    before = str(segmenter.vocabulary.classes)
    try:
        shown(
            segmenter,
            person,
            "test://pattern?size=320x240",
            on_result=lambda result, frame: names.append(result.names),
        )
        assert names[0] == names[205]
        assert str(segmenter.vocabulary.classes) != before
        assert names[-1] == ("background", "sea")
    finally:
        segmenter.set_classes(None)


def test_a_stale_picture_is_grey_and_says_so(segmenter: Segmenter) -> None:
    class Camera(Source):
        live, ends, state, age_s = True, False, "live", 0.1

        def frames(self, tick_s: float) -> Iterator[Frame | None]:
            yield None
            yield from open_source("test://pattern?frames=1&size=320x240")
            self.state, self.age_s = "reconnecting", 4.2
            yield None

    person, source = Person(), Camera()
    stream(source, segmenter, [DisplaySink(source, person, clock=Clock())], monitor=Monitor(source))
    live, stale = person.seen
    assert np.ptp(live[:60].astype(int), axis=2).max() > 40
    assert (np.ptp(stale.astype(int), axis=2) == 0).all()
    assert person.asked == 3


def test_help_lies_over_the_picture(segmenter: Segmenter, pictures: Path) -> None:
    person = Person("h", "h", "q")
    other, _ = shown(segmenter, person, str(pictures))
    centre = np.s_[60:180, 100:220]
    assert (person.seen[1][centre] != other.pictures[0][centre]).any(-1).mean() > 0.9
    assert np.array_equal(person.seen[2][centre], other.pictures[0][centre])


def test_a_saved_picture_has_a_name_of_its_own(segmenter: Segmenter, pictures: Path, tmp_path: Path) -> None:
    """Three within a second, without the window's own line, and none over another; a message names the file."""
    person = Person("s", "s", "l", "s", *[""] * 60, "q")
    other, _ = shown(segmenter, person, str(pictures), tmp_path)
    saved = sorted(tmp_path.glob("tcl-edge-*.png"), key=lambda path: path.stat().st_mtime_ns)
    assert len(saved) == 3
    result = segmenter(next(iter(open_source(str(pictures)))).image, overlay=True)
    for path, expected in zip(saved, (other.pictures[0], other.pictures[0], result.plot(legend=False)), strict=True):
        assert np.array_equal(cv2.imread(str(path)), expected)
    assert len(person.seen) == 1 + 4 + 1, "once a key, and once when the message is over"


def test_a_picture_that_cannot_be_saved_is_told_and_the_stream_goes_on(
    segmenter: Segmenter, pictures: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    person = Person("s", "", "n", "n", "n")
    other, complete = shown(segmenter, person, str(pictures), blocked / "deeper")
    assert complete
    assert len(other.pictures) == 3
    assert not np.array_equal(person.seen[0], person.seen[1])


def test_a_tiny_frame_is_enlarged_for_the_line_below_it(segmenter: Segmenter) -> None:
    person = Person()
    other, _ = shown(segmenter, person, "test://pattern?frames=1&size=64x48")
    assert person.seen[0].shape == (240, 320, 3)
    assert np.array_equal(person.seen[0][:200:5, ::5], other.pictures[0][:40])


def wait_for(what: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """A screen without glass, and what it shows, (H,W,4) BGRX."""
    if shutil.which("Xvfb") is None or shutil.which("xdotool") is None:
        pytest.skip("needs Xvfb and xdotool: apt-get install xvfb xdotool")
    if user_interface() is None:
        pytest.skip("this OpenCV has no user interface: it is opencv-python-headless")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x900x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as numbers:
            display = f":{numbers.readline().strip()}"

        def content() -> np.ndarray:
            data = np.fromfile(tmp_path / "Xvfb_screen0", np.uint8)
            header = int.from_bytes(data[:4].tobytes(), "big")
            colours = int.from_bytes(data[76:80].tobytes(), "big")
            return data[header + 12 * colours :][: 1400 * 900 * 4].reshape(900, 1400, 4)

        yield display, content
    finally:
        server.terminate()
        server.wait(30)


def press(display: str, key: str) -> None:
    """Press a key as the X server would tell it, in the window that is there."""
    environment = {**os.environ, "DISPLAY": display}
    command = ["xdotool", "search", "--name", "TCL Edge", "windowfocus", "--sync", "key", key]
    subprocess.run(command, env=environment, check=True, timeout=30, capture_output=True)


@pytest.mark.parametrize(
    ("source", "key", "code"), [("{photo}", "n", 0), ("test://pattern?size=320x240", "q", 0), ("{photo}", None, 143)]
)
def test_on_a_real_screen(
    source: str, key: str | None, code: int, screen: tuple[str, Callable[[], np.ndarray]], tmp_path: Path
) -> None:
    display, content = screen
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.full((360, 640, 3), (200, 60, 20), np.uint8))
    command = [sys.executable, "-m", "runtime", source.format(photo=photo), "display", "--classes", "car"]
    environment = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: process.poll() is not None or (content()[:720, :900, :3] > 0).mean() > 0.9)
        if source == "{photo}":
            assert np.abs(content()[300, 700, :3].astype(int) - (200, 60, 20)).max() <= 2
            time.sleep(0.5)
        assert process.poll() is None, process.stderr and process.stderr.read()
        press(display, key) if key else process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
    finally:
        process.kill()
        process.communicate()  # or a failure would be that of the next test, too


def test_a_screen_that_cannot_be_reached_is_an_error(screen: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qt would abort the process: no screen of that number, and a kind that this OpenCV does not have."""
    source = open_source(PATTERN)
    with monkeypatch.context() as patch:
        patch.setenv("DISPLAY", ":4242")
        with pytest.raises(SinkError, match=r"no window can be opened: .* reaches no screen \(.*:4242.*--headless"):
            DisplaySink(source)
    monkeypatch.setenv("DISPLAY", screen[0])  # type: ignore[index]
    assert window_problem() is None
    monkeypatch.setenv("QT_QPA_PLATFORM", "wayland")
    if "QT" in (user_interface() or ""):
        with pytest.raises(SinkError, match=r"wayland.*QT_QPA_PLATFORM to xcb"):
            DisplaySink(source)
