"""The command `python -m runtime SOURCE [SINK ...]`; with the name of a tool instead of a source, that tool."""

import ctypes
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
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from runtime.arguments import files_among, refuse_sources_as_sinks, sources_and_sinks
from runtime.assembly import Address, Assembly, Wishes
from runtime.command_line import StreamCommand, read_config
from runtime.commands import FAILED, STOPPED, console, stop_signals
from runtime.engines.choice import AUTO
from runtime.errors import UsageError
from runtime.job import Job, run_jobs
from runtime.overlay import Look
from runtime.report import report, report_partial
from runtime.segmenter import MOST_THREADS
from runtime.sinks.keys import HELP
from runtime.stream.schedule import Change, parse_duration
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

python -m runtime rtsp://camera.local/stream --classes "person, dog|puppy" --serve 8080   (a page, words changed there)

python -m runtime -s front=0 -s yard=rtsp://10.0.0.7/1 '{source}.mp4' --segment 10m --serve 8080   (several cameras)

python -m runtime *.jpg --to out/ --classes car   (several sources)

python -m runtime --config street.yaml   (options from a file: `source: 0`, `classes: \\[car, road]`, `to: out.mp4`)

python -m runtime benchmark street.tclb   (how fast this machine is)

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
        str | None,
        typer.Argument(
            help="Video file, picture, folder, glob, - (piped in), camera (0, /dev/video0), rtsp:// or http:// "
            "address, gst:'PIPELINE', csi://0, a robot's ros2:/camera/image_raw or bag:FILE?topic=/camera, "
            "test://cars or test://pattern."
        ),
    ] = None,
    sinks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SINK]...",
            help="out.mp4, out.png, out/ or out/%06d.png (overlay), masks/ or masks.npz (class indices), out.json or "
            "out.panoptic/ (COCO), out.jsonl (a line a frame), out.labelstudio.json, out.cvat.xml, ros2:/segmentation "
            "or bag:out.mcap (for robots), display.",
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", "-o", help="A sink; with it, all arguments are sources. Repeat for several."),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            "-s",
            metavar="NAME=SOURCE",
            help="One of several sources at the same time; then all arguments are sinks, where {source} is the name.",
        ),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again when the source has ended.")] = False,
    bundle: Annotated[str, typer.Option(help="Name of a shipped bundle, or path of a NAME.tclb directory.")] = "tiny",
    classes: Annotated[
        str | None,
        typer.Option(
            help="Words to segment: 'cat, sofa|couch, floor:0.6' (a threshold of its own), a word list (.txt, .names, "
            ".csv), or a word file (see `words`)."
        ),
    ] = None,
    classes_at: Annotated[
        list[str] | None,
        typer.Option(metavar="TIME=WORDS", help="Other words from a time on: 3s='wheel, windscreen'. May be repeated."),
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
    provider: Annotated[
        str,
        typer.Option(help="Where the network runs: cpu, cuda, tensorrt, or auto: the fastest that passes its check."),
    ] = AUTO,
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
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT", help="Show it on a web page, where words can be changed; a host needs --token."
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="TCL_EDGE_TOKEN", help="Who does not know it sees no page.", show_envvar=True)
    ] = None,
    segment: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin a new video file every so often: 10m, 1h.")
    ] = None,
    stats: Annotated[
        str | None, typer.Option(help="Write a JSON line a frame: times of the stages, age, coverage, state.")
    ] = None,
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
    given, names = sources_and_sinks(source, sinks, to, sources, window=not headless and serve is None)
    if headless and "display" in names:
        raise UsageError("--headless and the sink `display` contradict each other: leave one out")
    if source is not None and not to and not sources:
        refuse_sources_as_sinks(source, names, overwrite)
    wishes = Wishes(
        sources=given,
        sinks=names,
        bundle=bundle,
        classes=classes,
        changes=[Change.parse(text) for text in classes_at or ()],
        background=background,
        threshold=threshold,
        size=imgsz,
        provider=provider,
        threads=threads,
        refine=refine,
        temporal=temporal,
        keyframe=keyframe,
        look=Look(alpha, legend, outline),
        loop=loop,
        address=None if serve is None else Address.parse(serve),
        token=token,
        segment_s=None if segment is None else parse_duration(segment),
        stats=stats,
        read=files_among(classes, background, str(config) if config else None),
        overwrite=overwrite,
    )
    with ExitStack() as stack:
        stream = stack.enter_context(Assembly(wishes))
        if provider == AUTO:
            console.print(f"provider: {stream.provider}", markup=False, soft_wrap=True)
        stop = stack.enter_context(_stop_on_signal(stream.jobs))  # not before: Ctrl-C has to end the build of an engine
        stream.begin()
        if stream.address is not None:
            console.print(f"page: {stream.address}", markup=False, soft_wrap=True)
        progress = stack.enter_context(_progress())
        for job in stream.jobs:
            job.advance = progress(job.name or "segmenting", job.source.count)
        stream.notifier.ready()
        try:
            run_jobs(stream.jobs)
        finally:
            stream.notifier.stopping()
            for job in stream.jobs:
                report_partial(job.sinks)
        failed = report(stream.jobs, names, stopped=stop.signal is not None)
        if stream.address is not None and not failed and stop.signal is None:
            console.print(f"ended; the page stays at {stream.address} until Ctrl-C", markup=False, soft_wrap=True)
            while not stop.asked.wait(0.2):
                pass
    if stop.signal is not None:
        raise typer.Exit(STOPPED + stop.signal)
    if failed:
        raise typer.Exit(FAILED)


@dataclass
class _Stop:
    """Whether the stream is asked to end, and by which signal."""

    asked: Event = field(default_factory=Event)
    signal: int | None = None


@contextmanager
def _stop_on_signal(jobs: Sequence[Job]) -> Iterator[_Stop]:
    """Let a signal end the stream after the current frame, so that files are finished; the same again ends at once."""
    stop = _Stop()

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        stop.signal = number
        stop.asked.set()
        for job in jobs:
            job.stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask_to_stop) for number in stop_signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Callable[[str, int | None], Callable[[], None]]]:
    """Show a bar for each source that ends, a counter for those that do not; nothing where nobody watches."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
    )
    progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    begin = perf_counter()

    def add(name: str, count: int | None) -> Callable[[], None]:
        task = progress.add_task(name, total=count, fps=0.0)

        def advance() -> None:
            done = progress.tasks[task].completed + 1
            progress.update(task, advance=1, fps=done / (perf_counter() - begin))

        return advance

    with progress:
        yield add


M_ARENA_MAX = -8


def _few_arenas() -> None:
    """Let threads share what the C library keeps of freed memory: those that come and go would each keep their own."""
    if sys.platform == "linux" and hasattr(system := ctypes.CDLL(None), "mallopt"):
        system.mallopt(M_ARENA_MAX, 2)


def main() -> None:
    """Run the command line: a tool if the first argument names one, otherwise the stream."""
    _few_arenas()
    completed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
    first = (sys.argv[1:] or completed.split()[1:] or [""])[0]
    (tools if first in TOOLS else app)()


if __name__ == "__main__":
    main()
