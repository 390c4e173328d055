"""A window."""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Protocol

import cv2
import numpy as np

from runtime.errors import SinkError, TclEdgeError
from runtime.frame import BGR
from runtime.overlay import Look, draw_panel
from runtime.segmentation import Segmentation, write_picture
from runtime.sinks.keys import HELP, View
from runtime.sinks.live_words import LiveWords
from runtime.sinks.screen import window_problem
from runtime.sinks.sink import Sink
from runtime.sources.source import Frame, Source, State

TOLD_S = 4.0
"""How long a message is shown."""
POLL_MS = 20
"""How long the window waits for a key before it looks whether the stream is to stop."""
SMALLEST_PX = 240
"""Shorter side of what is shown: smaller frames are enlarged, or there was no room for a line of text."""
TYPING = "words, as in: cat, sofa|couch, floor:0.6   Enter: take   Esc: leave"
WINDOW_PX = (1280, 720)
"""Width and height that a window has room in when it opens."""


class Window(Protocol):
    """What the sink needs of a window."""

    def show(self, picture: BGR) -> None:
        """Show a picture until the next."""

    def key(self, wait_ms: int) -> int:
        """Wait for a key, and give its code, or -1 if none was pressed."""

    def is_open(self) -> bool:
        """Tell whether nobody has closed the window."""

    def close(self) -> None:
        """Close the window; closing again does nothing."""


class OpenCVWindow:
    """A window on the screen.

    Raises:
        SinkError: none can be opened.
    """

    TITLE = "TCL Edge"

    def __init__(self) -> None:
        problem = window_problem()
        if problem is not None:
            raise SinkError(
                f"no window can be opened: {problem.reason}; {problem.advice}, or use --headless or a file as sink"
            )
        cv2.namedWindow(self.TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._sized = self._closed = False

    def show(self, picture: BGR) -> None:
        """Show a picture; the window takes the first one's shape, and after that what the user gives it."""
        if not self._sized:
            height, width = picture.shape[:2]
            scale = min(WINDOW_PX[0] / width, WINDOW_PX[1] / height)
            cv2.resizeWindow(self.TITLE, max(round(width * scale), 1), max(round(height * scale), 1))
            self._sized = True
        cv2.imshow(self.TITLE, picture)

    def key(self, wait_ms: int) -> int:
        """Wait for a key, and let the window draw itself."""
        return cv2.waitKeyEx(wait_ms)

    def is_open(self) -> bool:
        """Tell whether nobody has closed the window."""
        return cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        if not self._closed:
            self._closed = True
            if self.is_open():
                cv2.destroyWindow(self.TITLE)
            cv2.waitKey(1)  # or it stays on the screen until the process ends


class DisplaySink(Sink):
    """A window with keys (`runtime.sinks.keys.HELP`). Closing it ends the stream.

    A picture stays until the next one is asked for; a video and a camera run, and the window closes after their end.

    Args:
        source: whose frames are shown.
        window: where; None for one on the screen.
        folder: for saved pictures; None for the current one.
        clock: seconds.

    Raises:
        SinkError: no window can be opened.
    """

    immediate = True  # a window belongs to the thread that opened it

    def __init__(
        self,
        source: Source,
        window: Window | None = None,
        *,
        folder: Path | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._still = source.fps is None and not source.live
        self._window = OpenCVWindow() if window is None else window
        self._folder, self._clock = folder or Path(), clock
        self._given = Look()
        self._view = View(self._given)
        self._times: deque[float] = deque(maxlen=30)
        self._shown: tuple[Segmentation, Frame, BGR] | None = None
        self._words: LiveWords | None = None
        self._repainted: BGR | None = None
        self._written = ""
        self._tell("h: help")

    def begin(self, look: Look, words: LiveWords) -> None:
        """Show pictures as they come, until a key changes that."""
        self._given, self._view, self._words = look, View(look), words

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Show a frame, and do what the keys say."""
        self._view = replace(self._view, onward=False)
        self._shown = result, frame, picture
        self._times.append(self._clock())
        self._draw()
        self._answer(self._window.key(1))

    def holds(self) -> bool:
        """Wait a moment for a key where the frame is to stay, and tell whether it still is."""
        if self._stays():
            self._times.clear()  # what is waited for is no frame rate
            self._answer(self._window.key(POLL_MS))
            if self._line() != self._written:  # a message is over
                self._draw()
        return self._stays()

    def idle(self, state: State, age_s: float | None) -> None:
        """Show that the picture is old."""
        if state != "live":
            self._times.clear()
            self._window.show(self._greyed(state, age_s))
        self._answer(self._window.key(1))

    def _greyed(self, state: State, age_s: float | None) -> BGR:
        if self._shown is None:
            canvas = np.full((WINDOW_PX[1] // 2, WINDOW_PX[0] // 2, 3), 64, np.uint8)
        else:
            grey = cv2.cvtColor(self._enlarged(), cv2.COLOR_BGR2GRAY)
            canvas = np.asarray(cv2.cvtColor(grey // 2 + 64, cv2.COLOR_GRAY2BGR), np.uint8)
        told = "no picture yet" if age_s is None else f"last picture {age_s:.0f} s ago"
        draw_panel(canvas, [f"{state}, {told}"], above=True)
        return canvas

    def close(self, *, complete: bool) -> None:
        """Close the window."""
        self._window.close()

    def _stays(self) -> bool:
        return (self._still or self._view.paused) and not self._view.onward and not self.finished

    def _answer(self, key: int) -> None:
        before, self._view = self._view, self._view.after(key, still=self._still, words=str(self._words or ""))
        if self._view.words:
            self._change_words(self._view.typed or "")
        if self._view.save:
            self._view = replace(self._view, save=False)
            self._save()
        self.finished = self._view.quit or not self._window.is_open()
        if not self.finished and self._shown is not None and (key != -1 or before != self._view):
            self._draw()

    def _change_words(self, typed: str) -> None:
        """Let the next frame have other words; if they are refused, they stay to be mended."""
        if self._words is None:
            self._view = replace(self._view, typed=None, words=False)
            self._tell("these words stay as they are")
            return
        try:
            self._words.set_classes(typed)
        except TclEdgeError as error:
            self._view = replace(self._view, words=False)
            self._tell(str(error))
        else:
            self._view = replace(self._view, typed=None, words=False)
            self._tell("the next frame has these words")

    def _painted(self) -> BGR:
        """The frame as the view wants it: what the stream painted, as long as nobody wants it otherwise."""
        assert self._shown is not None  # a frame comes before a key
        result, _, picture = self._shown
        look = self._view.look
        if look == self._given:
            return picture
        fits = self._repainted is not None and self._repainted.shape == picture.shape
        self._repainted = result.plot(
            alpha=look.alpha, legend=look.legend, outline=look.outline, out=self._repainted if fits else None
        )
        return self._repainted

    def _enlarged(self) -> BGR:
        painted = self._painted()
        times = max(1, -(-SMALLEST_PX // min(painted.shape[:2])))
        return np.repeat(np.repeat(painted, times, axis=0), times, axis=1) if times > 1 else painted.copy()

    def _draw(self) -> None:
        canvas = self._enlarged()
        self._written = self._line()
        lines = [self._written]
        if self._view.typed is not None:
            lines = [*([self._message] if self._clock() < self._until else []), TYPING, f"> {self._view.typed}_"]
        draw_panel(canvas, lines, above=False)
        if self._view.help:
            draw_panel(canvas, [f"{keys}: {what}" for keys, what in HELP], above=True)
        self._window.show(canvas)

    def _line(self) -> str:
        assert self._shown is not None
        frame = self._shown[1]
        if self._clock() < self._until:
            return self._message
        if self._still:
            return f"{frame.name}   n: next"
        if self._view.paused:
            return f"paused, {frame.time_s:.1f} s"
        if len(self._times) < 2:
            return "- fps"
        return f"{(len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9):.1f} fps"

    def _tell(self, message: str) -> None:
        self._message, self._until = message, self._clock() + TOLD_S

    def _save(self) -> None:
        """Write what is seen, without the lines of the window, into a file that is not there."""
        stem = f"tcl-edge-{datetime.now():%Y%m%d-%H%M%S}"
        names = (f"{stem}{'' if number == 1 else f'-{number}'}.png" for number in itertools.count(1))
        path = next(path for name in names if not (path := self._folder / name).exists())
        try:
            write_picture(path, self._painted())
        except SinkError as error:
            self._tell(str(error))
        else:
            self._tell(f"saved {path}")
