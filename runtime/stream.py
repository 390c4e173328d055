"""The streaming loop: source -> segmenter -> sinks, one frame at a time, every exit path closed."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Event
from time import perf_counter

from runtime.frame import BGR
from runtime.latency import Latency
from runtime.overlay import Look
from runtime.segmentation import ALPHA, Segmentation
from runtime.segmenter import Segmenter
from runtime.sinks.sink import Sink
from runtime.sources.source import Frame, Source


def stream(
    source: Source,
    segmenter: Segmenter,
    sinks: Sequence[Sink],
    *,
    latency: Latency,
    alpha: float = ALPHA,
    legend: bool = True,
    outline: bool = True,
    stop: Event | None = None,
    on_result: Callable[[Segmentation, Frame], None] | None = None,
) -> bool:
    """Segment every frame of `source` into `sinks`, and tell whether that is all that there was to get.

    The stages run one after the other: on a small machine the network already uses every core. Source and sinks are
    closed whatever happens; sinks are told whether they got all: of a source that is stopped before its end, files stay
    partial; what a camera sent until it is stopped is whole. Each result lies where the one before lay: sinks and
    `on_result` copy what they keep.

    Args:
        source: where frames come from.
        segmenter: segments them.
        sinks: each gets every result.
        latency: gets the stage times of every frame.
        alpha: opacity of the colours in painted frames.
        legend: whether painted frames say which colour is which word.
        outline: whether painted frames have a thin line along the borders.
        stop: once set, the current frame is the last.
        on_result: called after each frame.

    Raises:
        TclEdgeError: whatever source, segmenter or sink raise.
    """
    paint = any(sink.paints for sink in sinks)
    result: Segmentation | None = None
    picture: BGR | None = None
    ended = complete = False

    def wanted() -> bool:
        return not (stop is not None and stop.is_set()) and not any(sink.finished for sink in sinks)

    with ExitStack() as stack:
        stack.enter_context(source)
        for sink in sinks:
            stack.callback(lambda sink: sink.close(complete=complete), sink)
            sink.begin(Look(alpha, legend, outline))
        frames = iter(source)
        while wanted():
            begin = perf_counter()
            frame = next(frames, None)
            if frame is None:
                ended = True
                break
            decoded = perf_counter()
            result = segmenter(frame.image, overlay=paint, alpha=alpha, reuse=result)
            segmented = perf_counter()
            if paint:
                fits = picture is not None and picture.shape == result.frame.shape
                picture = result.plot(alpha=alpha, legend=legend, outline=outline, out=picture if fits else None)
            painted = perf_counter()
            for sink in sinks:
                sink.write(result, frame, frame.image if picture is None else picture)
            end = perf_counter()
            latency.add(
                {
                    **result.speed,
                    "decode": 1000 * (decoded - begin),
                    "overlay": 1000 * (painted - segmented),
                    "write": 1000 * (end - painted),
                    "end to end": 1000 * (end - begin),
                }
            )
            if on_result is not None:
                on_result(result, frame)
            while wanted() and any(sink.holds() for sink in sinks):
                pass
        if source.ends and any(sink.finished for sink in sinks):  # who closes the window after the last frame saw all
            ended = ended or next(frames, None) is None
        complete = ended or not source.ends
    return complete
