"""One source on its way to its sinks, with all that belongs to it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from time import perf_counter

from runtime.errors import TclEdgeError
from runtime.overlay import Look
from runtime.segmentation import Segmentation
from runtime.segmenter import Segmenter
from runtime.sinks.sink import Sink
from runtime.sources.source import Frame, Source
from runtime.stream.loop import stream
from runtime.stream.monitor import Monitor
from runtime.stream.outlet import Work
from runtime.stream.schedule import Schedule
from runtime.stream.stats import StatsLog
from runtime.tally import Tally


@dataclass(eq=False)
class Job:
    """A stream of the command.

    Attributes:
        name: of the source, where there are several; else empty.
        source, segmenter, sinks, monitor, look, stop: see `runtime.stream.loop`.
        schedule: words that change at a time.
        stats: the log.
        paced: a source that waits for nobody is segmented in its own time, as somebody watches.
        beat: called with every frame, and about ten times a second where none comes.
        advance: called when a frame is segmented.
    """

    name: str
    source: Source
    segmenter: Segmenter
    monitor: Monitor
    look: Look
    stop: Event = field(default_factory=Event)
    sinks: list[Sink] = field(default_factory=list)
    schedule: Schedule | None = None
    stats: StatsLog | None = None
    paced: bool = False
    beat: Callable[[], None] = lambda: None
    advance: Callable[[], None] = lambda: None
    tally: Tally = field(default_factory=Tally)
    complete: bool = field(default=False, init=False)
    error: BaseException | None = field(default=None, init=False)
    _begin_s: float | None = field(default=None, init=False)

    def run(self) -> None:
        """Stream until the end. `complete` tells afterwards whether that is all that there was.

        Raises:
            TclEdgeError: whatever source, segmenter or sinks raise.
        """
        try:
            self.complete = stream(
                self.source,
                self.segmenter,
                self.sinks,
                monitor=self.monitor,
                look=self.look,
                stop=self.stop,
                on_frame=self._before,
                on_result=self._after,
                on_done=self._done if self.stats is not None else None,
            )
        except BaseException as error:
            self.error = error
            self.monitor.end("failed", str(error) if isinstance(error, TclEdgeError) else type(error).__name__)
            raise
        else:
            self.monitor.end("ended")
        finally:
            if self.stats is not None:
                self.stats.look()

    def _before(self, frame: Frame | None) -> None:
        self.beat()
        if frame is None:
            if self.stats is not None:
                self.stats.look()
            return
        if self.schedule is not None:
            self.schedule(frame.time_s)
        if self.paced:
            self._wait(frame.time_s)

    def _wait(self, time_s: float) -> None:
        if self._begin_s is None:
            self._begin_s = perf_counter() - time_s
        while not self.stop.is_set() and (left_s := self._begin_s + time_s - perf_counter()) > 0:
            self.stop.wait(min(left_s, 0.1))
            self.beat()

    def _after(self, result: Segmentation, frame: Frame) -> None:
        self.tally.add(result)
        self.advance()

    def _done(self, work: Work) -> None:
        assert self.stats is not None
        self.stats.done(work)


def run_jobs(jobs: Sequence[Job]) -> None:
    """Run them until the last has ended. Of several each has a thread, and one that fails leaves the others alone.

    Raises:
        TclEdgeError: what a single one raises; of several, their `error` tells.
    """
    if len(jobs) == 1:
        jobs[0].run()
        return
    threads = [Thread(target=_run_quietly, args=[job], name=job.name, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)  # or no signal would be seen


def _run_quietly(job: Job) -> None:
    with suppress(Exception):
        job.run()
