"""The command `python -m runtime SOURCE [SINK ...]`; with the name of a tool instead of a source, that tool."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import perf_counter
from types import FrameType
from typing import Annotated, TextIO

import cv2
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from runtime.command_line import StreamCommand, read_config
from runtime.commands import FAILED, STOPPED, console, stop_signals
from runtime.errors import SinkNameError, UsageError
from runtime.latency import PERCENTILES, STAGES, Latency
from runtime.segmentation import Segmentation
from runtime.segmenter import MOST_THREADS, Segmenter
from runtime.sinks.keys import HELP
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sinks.sink import Sink
from runtime.sources.open import open_sources
from runtime.sources.source import Frame, Source
from runtime.stream import stream
from runtime.tally import Tally
from runtime.temporal import Temporal
from runtime.tools import TOOLS, tools
from runtime.version import __version__

app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)

EPILOG = """
[bold]Examples[/bold]

python -m runtime street.mp4 out.mp4 --classes "car, person, road"

python -m runtime 0 --classes "cup, laptop, hand" --background "wall, desk"   (camera 0, in a window)

python -m runtime photos/ masks/ --classes words.txt --background none   (class-index PNGs and classes.txt)

python -m runtime words tiny --classes "car:0.6, road|asphalt" --output street.safetensors   (words saved, and compared)

python -m runtime engine street.tclb   (build the TensorRT engine of this device, for --provider tensorrt)

python -m runtime *.jpg --to out/ --classes car   (several sources)

python -m runtime --config street.yaml   (options from a file: `source: 0`, `classes: \\[car, road]`, `to: out.mp4`)

python -m runtime doctor   (what is installed, what does not work, and what to do about it)

[bold]Keys of the window[/bold]

""" + "; ".join(f"{keys}: {what}" for keys, what in HELP)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tcl-edge {__version__}")
        raise typer.Exit


@app.command(cls=StreamCommand, epilog=EPILOG, no_args_is_help=True)
def run(
    source: Annotated[
        str,
        typer.Argument(
            help="Video file, picture, folder, glob, camera (0, /dev/video0), test://cars or test://pattern."
        ),
    ],
    sinks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SINK]...",
            help="out.mp4, out.png, out/ or out/%06d.png (overlay), masks/ or masks.npz (class indices), out.json or "
            "out.panoptic/ (COCO), out.jsonl (a line a frame), out.labelstudio.json, out.cvat.xml, display.",
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", "-o", help="A sink; with it, all arguments are sources. Repeat for several."),
    ] = None,
    bundle: Annotated[str, typer.Option(help="Name of a shipped bundle, or path of a NAME.tclb directory.")] = "tiny",
    classes: Annotated[
        str | None,
        typer.Option(
            help="Words to segment: 'cat, sofa|couch, floor:0.6' (a threshold of its own), a word list (.txt, .names, "
            ".csv), or a word file (see `words`)."
        ),
    ] = None,
    background: Annotated[
        str,
        typer.Option(help="Words that count as background; 'default': the bundle's own; 'none': no background."),
    ] = "default",
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Soft mask below which a pixel is background.")
    ] = None,
    imgsz: Annotated[
        int | None, typer.Option(help="Network size: side in pixels of a square with as many pixels.")
    ] = None,
    provider: Annotated[str, typer.Option(help="Where the network runs: cpu, cuda or tensorrt.")] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_THREADS, help="Threads, used by one stage at a time; default: one per core."),
    ] = None,
    refine: Annotated[
        str | None,
        typer.Option(help="Move the masks to edges in the frame: none, edge or pamr (slower); default the bundle's."),
    ] = None,
    temporal: Annotated[
        float, typer.Option(min=0, max=1, help="Weight of the frames before in each mask, below 1: calmer, but late.")
    ] = 0.0,
    keyframe: Annotated[
        int, typer.Option(min=1, help="Run the network every so many frames; in between, masks follow the motion.")
    ] = 1,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Opacity of the colours.")] = 0.5,
    legend: Annotated[bool, typer.Option(help="Draw which colour is which word.")] = True,
    outline: Annotated[bool, typer.Option(help="Draw a thin line where one word ends and another begins.")] = True,
    headless: Annotated[bool, typer.Option("--headless", help="Open no window; without a sink, only measure.")] = False,
    stats: Annotated[Path | None, typer.Option(help="Write the stage times of every frame, a JSON line each.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(is_eager=True, callback=read_config, help="YAML file with options that are not given here."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Segment any words in a video stream and print where the time went."""
    sources, names = ([source, *(sinks or [])], to) if to else ([source], sinks or [])
    names = names or ([] if headless else ["display"])
    if headless and "display" in names:
        raise UsageError("--headless and the sink `display` contradict each other: leave one out")
    if not to:
        _refuse_sources_as_sinks(source, names, overwrite)
    with ExitStack() as stack:
        frames = stack.enter_context(open_sources(sources))
        outputs = Outputs([*frames.inputs, *_files(classes, background, str(config) if config else None)], overwrite)
        if threads is not None:
            cv2.setNumThreads(threads)
        segmenter = stack.enter_context(
            Segmenter(
                bundle,
                classes,
                background=background,
                threshold=threshold,
                provider=provider,
                threads=threads,
                size=imgsz,
                refine=refine,  # type: ignore[arg-type] # checked by the segmenter
                temporal=Temporal(weight=temporal, keyframe=keyframe) if temporal or keyframe > 1 else None,
            )
        )
        stop = stack.enter_context(_stop_on_signal())  # not before: Ctrl-C has to end the build of an engine
        opened = [open_sink(name, frames, segmenter.names, outputs) for name in names]
        latency = Latency(stack.enter_context(_open_stats(stats, outputs)) if stats else None)
        advance = stack.enter_context(_progress(frames))
        tally = Tally()

        def on_result(result: Segmentation, frame: Frame) -> None:
            tally.add(result)
            advance()

        try:
            complete = stream(
                frames,
                segmenter,
                opened,
                latency=latency,
                alpha=alpha,
                legend=legend,
                outline=outline,
                stop=stop.asked,
                on_result=on_result,
            )
        finally:
            _report_partial(opened)
    _report(latency, frames)
    for word in tally.never_found:
        console.print(f"{word}: 0 pixels", markup=False, soft_wrap=True)
    if complete and not latency.frames and stop.signal is None:
        console.print("the source has no frames: nothing was written")
        raise typer.Exit(FAILED)
    if not complete:
        console.print(f"stopped after {_frames(len(latency.frames), frames.count)}", soft_wrap=True)
    elif written := [name for name in names if name != "display"]:
        console.print(f"wrote {', '.join(written)}", soft_wrap=True)
    _report_problems(frames)
    if stop.signal is not None:
        raise typer.Exit(STOPPED + stop.signal)
    if frames.problems:
        raise typer.Exit(FAILED)


def _refuse_sources_as_sinks(source: str, sinks: Sequence[str], overwrite: bool) -> None:
    """Tell what the shell makes of *.jpg: the second file and all that follow are no results."""
    kind = Path(source).suffix.lower()
    there = [sink for sink in sinks if kind and Path(sink).suffix.lower() == kind and os.path.isfile(sink)]  # noqa: PTH113
    if len(there) > 1 or (there and len(sinks) > 1 and not overwrite):
        raise SinkNameError(
            f"results would replace {', '.join(there[:3])}{', …' * (len(there) > 3)}. If these are sources, too, quote "
            f"the pattern ('*{kind}'), or name the results by --to: tcl-edge *{kind} --to out/"
        )


def _open_stats(path: Path, outputs: Outputs) -> TextIO:
    """Begin the log, in place: whoever follows it reads it while it grows, and each line is whole."""
    outputs.claim(path)
    return path.open("w", encoding="utf-8", buffering=1)


def _files(*texts: str | None) -> list[Path]:
    """Find those options that name a file."""
    return [Path(text.strip()) for text in texts if text and os.path.isfile(text.strip())]  # noqa: PTH113 - of any text


@dataclass
class _Stop:
    """Whether the stream is asked to end, and by which signal."""

    asked: Event = field(default_factory=Event)
    signal: int | None = None


@contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    """Let a signal end the stream after the current frame, so that files are finished; the same again ends at once."""
    stop = _Stop()

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        stop.signal = number
        stop.asked.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask_to_stop) for number in stop_signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(source: Source) -> Iterator[Callable[[], None]]:
    """Show a bar for sources that end, a counter for those that do not; nothing where nobody watches."""
    columns = (
        TextColumn("segmenting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
    )
    progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    begin = perf_counter()
    with progress:
        task = progress.add_task("segmenting", total=source.count, fps=0.0)

        def advance() -> None:
            done = progress.tasks[task].completed + 1
            progress.update(task, advance=1, fps=done / (perf_counter() - begin))

        yield advance


def _report_partial(sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        if sink.partial is not None:
            console.print(f"what was written until then: {sink.partial}", soft_wrap=True)


def _report(latency: Latency, source: Source) -> None:
    if not latency.frames:
        return
    table = Table(title=f"{len(latency.frames)} frames, milliseconds a frame", title_justify="left")
    table.add_column("stage")
    for percentile in PERCENTILES:
        table.add_column(f"p{percentile}", justify="right")
    for stage, values in latency.percentiles().items():
        table.add_row(stage, *(f"{value:.1f}" for value in values), end_section=stage == STAGES[-2])
    dropped = f", {source.dropped} frames dropped" if source.live else ""
    warm_up = len(latency.frames) - len(latency.measured)
    out = Console(highlight=False)
    out.print(table)
    out.print(f"[bold]{latency.fps:.1f} fps[/bold]{dropped}; the first {warm_up} frames are left out", soft_wrap=True)
    out.print(
        "[dim]post: upsampling, argmax and blending in one pass; overlay: outlines and legend; write: encoding[/dim]",
        soft_wrap=True,
    )


def _report_problems(source: Source) -> None:
    for line in source.left_out:
        console.print(f"left out: {line}", markup=False, soft_wrap=True)
    if source.problems:
        console.print(f"[bold red]skipped {len(source.problems)}:[/bold red]")
        for problem in source.problems:
            console.print(f"  {problem}", markup=False, soft_wrap=True)


def _frames(count: int, announced: int | None) -> str:
    return f"{count} frames" if announced is None else f"{count} of {announced} frames"


def main() -> None:
    """Run the command line: a tool if the first argument names one, otherwise the stream."""
    completed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
    first = (sys.argv[1:] or completed.split()[1:] or [""])[0]
    (tools if first in TOOLS else app)()


if __name__ == "__main__":
    main()
