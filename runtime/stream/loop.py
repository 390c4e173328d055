"""The streaming loop: source -> segmenter -> sinks, every exit path closed."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from threading import Event, Lock
from time import perf_counter

from runtime.cores import usable_cores
from runtime.overlay import Look
from runtime.segmentation import Segmentation
from runtime.segmenter import Segmenter
from runtime.sinks.live_words import LiveWords
from runtime.sinks.sink import Sink
from runtime.sources.source import TICK_S, Frame, Source
from runtime.stream.feed import Feed, Fetched
from runtime.stream.monitor import Monitor
from runtime.stream.outlet import Outlet, Work

LOOK = Look()


def stream(
    source: Source,
    segmenter: Segmenter,
    sinks: Sequence[Sink],
    *,
    monitor: Monitor,
    look: Look = LOOK,
    overlap: bool | None = None,
    stop: Event | None = None,
    on_frame: Callable[[Frame | None], None] | None = None,
    on_result: Callable[[Segmentation, Frame], None] | None = None,
    on_done: Callable[[Work], None] | None = None,
) -> bool:
    """Segment every frame of `source` into `sinks`, and tell whether that is all that there was to get.

    Source and sinks are closed whatever happens; sinks are told whether they got all: of a source that is stopped
    before its end, files stay partial; what a camera sent until it is stopped is whole. Results are used again: sinks,
    `on_result` and `on_done` copy what they keep.

    With `overlap`, fetching, network and sinks work at the same time, each on one frame. Of a live source a sink gets
    only what it has time for, and each has a thread of its own: none keeps the others waiting, or lets pictures age.

    Args:
        source: where frames come from.
        segmenter: segments them.
        sinks: each gets every result.
        monitor: is told of every frame.
        look: how frames are painted.
        overlap: None where there is more than one core, and for live sources.
        stop: once set, the current frame is the last.
        on_frame: called before a frame is segmented, and with None about ten times a second while none comes.
        on_result: called when a frame is segmented.
        on_done: called when a frame has reached every sink, maybe from another thread, but never twice at a time.

    Raises:
        TclEdgeError: whatever source, segmenter or sink raise.
    """
    overlap = (source.live or usable_cores() > 1) if overlap is None else overlap
    loop = _Loop(source, segmenter, sinks, monitor, look, overlap, on_done)
    words = LiveWords(segmenter, sinks)
    ended = complete = False

    def wanted() -> bool:
        return not (stop is not None and stop.is_set()) and not any(sink.finished for sink in sinks)

    with ExitStack() as stack:
        feed = Feed(source, tick_s=TICK_S, ahead=overlap)
        stack.callback(feed.close)
        for sink in sinks:
            stack.callback(lambda sink: sink.close(complete=complete), sink)
            sink.begin(look, words)
        stack.push(lambda *_: loop.finish())
        while wanted():
            fetched = next(feed, END)
            if fetched is END:
                ended = True
                break
            assert not isinstance(fetched, _End)
            if on_frame is not None:
                on_frame(None if fetched is None else fetched.frame)
            if fetched is None:
                loop.wait()
                continue
            with monitor.working():
                result = loop.segment(fetched)
            if on_result is not None:
                on_result(result, fetched.frame)
            loop.hold(wanted)
        if source.ends and any(sink.finished for sink in sinks):  # who closes the window after the last frame saw all
            ended = ended or next(feed, END) is END
        loop.finish()
        complete = ended or not source.ends
    return complete


class _End:
    """Stands for no further frame."""


END = _End()


class _Loop:
    """One frame after the other; what it needs memory for is used again."""

    def __init__(
        self,
        source: Source,
        segmenter: Segmenter,
        sinks: Sequence[Sink],
        monitor: Monitor,
        look: Look,
        overlap: bool,
        on_done: Callable[[Work], None] | None,
    ) -> None:
        self._source, self._segmenter, self._monitor, self._look = source, segmenter, monitor, look
        self._on_done = on_done
        self._paints = any(sink.paints for sink in sinks)
        self._here = [sink for sink in sinks if sink.immediate or not overlap]
        self._outlets = [Outlet(sink, self._written) for sink in sinks if sink not in self._here]
        self._held_s = 0.0
        self._done_s: float | None = None
        self._lock = Lock()
        self._spare: list[Work] = []

    def segment(self, fetched: Fetched) -> Segmentation:
        """Segment a frame and hand it to the sinks."""
        with self._lock:
            used = self._spare.pop() if self._spare else None
        look, frame = self._look, fetched.frame
        reuse = None if used is None else used.result
        result = self._segmenter(frame.image, overlay=self._paints, alpha=look.alpha, reuse=reuse)
        made_s = perf_counter()
        if frame.arrived_s is not None:
            result = replace(result, age_ms=1000 * (made_s - fetched.begin_s))
        work = Work(
            frame,
            result,
            look if self._paints else None,
            fetched.begin_s,
            made_s,
            {**result.speed, "decode": fetched.took_ms, "overlay": 0.0},
            canvas=None if used is None else used.canvas,
        )
        for outlet in self._outlets:
            if not outlet.put(work, wait=not self._source.live):
                self._monitor.lose()
        for sink in self._here:
            work.write(sink)
        self._written(work)
        return result

    def _written(self, work: Work) -> None:
        """Count a frame when the last of those who write it is done."""
        with self._lock:
            work.writers -= 1
            if work.writers:
                return
            now_s = perf_counter()
            work.stages_ms["write"] = 1000 * (now_s - work.made_s) - work.stages_ms["overlay"]
            work.stages_ms["end to end"] = 1000 * (now_s - work.begin_s)
            since_s = now_s - (work.begin_s if self._done_s is None else self._done_s) - self._held_s
            self._done_s, self._held_s = now_s, 0.0
            self._monitor.done(work.stages_ms, since_last_ms=1000 * since_s)
            if self._on_done is not None:
                self._on_done(work)
            self._spare.append(work)

    def hold(self, wanted: Callable[[], bool]) -> None:
        """Wait for as long as somebody looks at the frame."""
        begin_s = perf_counter()
        while wanted() and any(sink.holds() for sink in self._here):
            pass
        self._held_s += perf_counter() - begin_s

    def wait(self) -> None:
        """Tell those who show something that nothing comes."""
        for sink in self._here:
            sink.idle(self._source.state, self._source.age_s)

    def finish(self) -> None:
        """Wait until everything is written."""
        outlets, self._outlets = self._outlets, []
        with ExitStack() as stack:
            for outlet in outlets:
                stack.callback(outlet.finish)
