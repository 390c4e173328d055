"""A sink that is written to by a thread of its own, so that the next frame need not wait for the disk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from time import perf_counter

from runtime.frame import BGR
from runtime.overlay import Look
from runtime.segmentation import Segmentation
from runtime.sinks.sink import Sink
from runtime.sources.source import Frame


@dataclass(eq=False)
class Work:
    """A frame on its way through the stream. What it holds is used again when nobody writes it any more.

    Attributes:
        frame, result: what is written.
        look: how the frame is painted; None where nobody wants it so.
        begin_s: when it was fetched, or came in (`time.perf_counter`).
        made_s: when it was ready to be written.
        stages_ms: what each stage took so far.
        canvas: memory to paint in, if it fits.
        writers: who still writes it.
    """

    frame: Frame
    result: Segmentation
    look: Look | None
    begin_s: float
    made_s: float
    stages_ms: dict[str, float]
    canvas: BGR | None = None
    writers: int = 1
    _painted: bool = False
    _lock: Lock = field(default_factory=Lock)

    def write(self, sink: Sink) -> None:
        """Write it to a sink."""
        sink.write(self.result, self.frame, self.picture())

    def picture(self) -> BGR:
        """Give the frame as it is painted, by whoever needs it first: beside the network, where there is a core."""
        if self.look is None:
            return self.frame.image
        with self._lock:
            if not self._painted:
                begin_s = perf_counter()
                look, canvas = self.look, self.canvas
                fits = canvas is not None and canvas.shape == self.result.frame.shape
                self.canvas = self.result.plot(
                    alpha=look.alpha, legend=look.legend, outline=look.outline, out=canvas if fits else None
                )
                self._painted = True
                self.stages_ms["overlay"] = 1000 * (perf_counter() - begin_s)
        assert self.canvas is not None
        return self.canvas


class Outlet:
    """Writes to a sink one frame at a time; none queues up, so that nothing grows old and memory stays what it is.

    Args:
        sink: where to. Called by the outlet's thread alone until it is finished.
        done: called from that thread when a frame is written.
    """

    def __init__(self, sink: Sink, done: Callable[[Work], None]) -> None:
        self._sink, self._done = sink, done
        self._changed = Condition()
        self._work: Work | None = None
        self._error: BaseException | None = None
        self._finishing = False
        self._thread = Thread(target=self._run, name=type(sink).__name__, daemon=True)
        self._thread.start()

    def put(self, work: Work, *, wait: bool) -> bool:
        """Hand over a frame, and tell whether it was taken.

        Args:
            work: the frame.
            wait: until the one before is written; otherwise it is not taken if that is not so.

        Raises:
            SinkError: the one before could not be written.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._work is None)
            self._raise()
            if self._work is not None:
                return False
            work.writers += 1
            self._work = work
            self._changed.notify_all()
        return True

    def finish(self) -> None:
        """Write what was handed over, and end the thread.

        Raises:
            SinkError: it could not be written.
        """
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._work is not None or self._finishing)
                work = self._work
            if work is None:
                return
            try:
                work.write(self._sink)
                self._done(work)
            except BaseException as error:  # it is raised where the stream runs
                self._error = error
            with self._changed:
                self._work = None
                self._changed.notify_all()
