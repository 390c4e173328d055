"""The command `python -m runtime SOURCE [SINK ...]`; with the name of a tool instead of a source, that tool."""

import os
import re
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

import cv2
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from runtime.bundle import Bundle
from runtime.command_line import StreamCommand, read_config
from runtime.commands import FAILED, STOPPED, console, stop_signals
from runtime.engines.choice import AUTO
from runtime.engines.open import open_chosen
from runtime.engines.profile import MOST_WORDS
from runtime.errors import SinkNameError, UsageError
from runtime.job import Job, run_jobs
from runtime.overlay import Look
from runtime.report import count_of_frames, report_latency, report_partial, report_problems, report_words
from runtime.segmenter import MOST_THREADS, Segmenter
from runtime.sinks.keys import HELP
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sinks.video import VIDEOS
from runtime.sources.loop import LoopSource
from runtime.sources.open import open_source, open_sources
from runtime.sources.source import Source
from runtime.stream.monitor import Monitor
from runtime.stream.schedule import Change, Schedule, parse_duration
from runtime.stream.stats import StatsLog
from runtime.temporal import Temporal
from runtime.tools import TOOLS, tools
from runtime.version import __version__

app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)

SOURCE = "{source}"
"""In the name of a sink: the name of its source."""
NAME = re.compile(r"[A-Za-z0-9_-]+")

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
            help="Video file, picture, folder, glob, camera (0, /dev/video0), rtsp:// or http:// address, a robot's "
            "ros2:/camera/image_raw or bag:FILE?topic=/camera, test://cars or test://pattern."
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
    given, names = _sources_and_sinks(source, sinks, to, sources, window=not headless and serve is None)
    if headless and "display" in names:
        raise UsageError("--headless and the sink `display` contradict each other: leave one out")
    if source is not None and not to and not sources:
        _refuse_sources_as_sinks(source, names, overwrite)
    changes = [Change.parse(text) for text in classes_at or ()]
    segment_s = None if segment is None else parse_duration(segment)
    if segment_s is not None and not any(Path(name).suffix.lower() in VIDEOS for name in names):
        raise UsageError("--segment cuts videos into pieces, and no result is one: name one, like out.mp4")
    look = Look(alpha, legend, outline)
    if threads is not None:
        cv2.setNumThreads(threads)
    with ExitStack() as stack:
        wait = serve is None and len(given) == 1  # somebody who looks at a page sees that a camera is not there yet
        opened = {name: stack.enter_context(_open(texts, loop=loop, wait=wait)) for name, texts in given.items()}
        inputs = [path for frames in opened.values() for path in frames.inputs]
        outputs = Outputs([*inputs, *_files(classes, background, str(config) if config else None)], overwrite)
        model = Bundle.open(bundle)
        engine = choice = None
        if len(opened) > 1:  # which all of them share
            engine, choice = open_chosen(model, size=imgsz, provider=provider, threads=threads, words=MOST_WORDS)
            stack.enter_context(engine)
        segmenters = {
            name: stack.enter_context(
                Segmenter(
                    model,
                    classes,
                    background=background,
                    threshold=threshold,
                    provider=provider if engine is None else None,
                    threads=threads,
                    size=imgsz,
                    refine=refine,  # type: ignore[arg-type] # checked by the segmenter
                    temporal=Temporal(weight=temporal, keyframe=keyframe) if temporal or keyframe > 1 else None,
                    engine=engine,
                )
            )
            for name in opened
        }
        for segmenter in segmenters.values():
            choice = choice or segmenter.provider
            _try_words(segmenter, classes, changes)
        if provider == AUTO:
            console.print(f"provider: {choice}", markup=False, soft_wrap=True)
        stop = stack.enter_context(_stop_on_signal())  # not before: Ctrl-C has to end the build of an engine
        jobs = []
        for name, frames in opened.items():
            monitor, segmenter = Monitor(frames), segmenters[name]
            job = Job(name, frames, segmenter, monitor, look, stop.asked)
            job.sinks = [
                open_sink(_for_source(sink, name), frames, segmenter.names, outputs, segment_s=segment_s)
                for sink in names
            ]
            fixed = next((text for text, sink in zip(names, job.sinks, strict=True) if sink.one_word_list), None)
            if changes and fixed is not None:
                raise SinkNameError(
                    f"{fixed} is read with one list of words, and --classes-at changes them: use out.jsonl"
                )
            job.schedule = Schedule(changes, segmenter.set_classes)
            jobs.append(job)
        for job in jobs if stats is not None else ():  # last: a refused run touches no log
            job.stats = stack.enter_context(StatsLog(Path(_for_source(stats or "", job.name)), outputs, job.monitor))
        progress = stack.enter_context(_progress())
        for job in jobs:
            job.advance = progress(job.name or "segmenting", job.source.count)
        try:
            run_jobs(jobs)
        finally:
            for job in jobs:
                report_partial(job.sinks)
    _report(jobs, [name for name in names if name != "display"], stop.signal)


def _report(jobs: Sequence[Job], written: Sequence[str], stopped_by: int | None) -> None:
    """Tell how it went, and end with the exit code of that.

    Raises:
        Exit: it was stopped, or not everything went well.
    """
    failed = False
    for job in jobs:
        report_latency(job)
        report_words(job.tally)
        frames = job.monitor.latency.frames
        title = f"{job.name}: " if job.name else ""
        if job.error is not None:
            console.print(f"{title}{job.error}", markup=False, soft_wrap=True)
            failed = True
        elif job.complete and not frames and stopped_by is None:
            console.print(f"{title}the source has no frames: nothing was written", markup=False)
            failed = True
        elif not job.complete:
            count = count_of_frames(frames, job.source.count)
            console.print(f"{title}stopped after {count}", markup=False, soft_wrap=True)
        elif written:
            names = ", ".join(_for_source(name, job.name) for name in written)
            console.print(f"{title}wrote {names}", markup=False, soft_wrap=True)
        report_problems(job.source)
        failed |= bool(job.source.problems)
    if stopped_by is not None:
        raise typer.Exit(STOPPED + stopped_by)
    if failed:
        raise typer.Exit(FAILED)


def _sources_and_sinks(
    source: str | None, sinks: list[str] | None, to: list[str] | None, named: list[str] | None, *, window: bool
) -> tuple[dict[str, list[str]], list[str]]:
    """Tell sources and sinks apart.

    Returns:
        The texts of each source by its name, which is empty where there is one; and the sinks.

    Raises:
        UsageError: there is no source, two have one name, or a sink cannot be for several.
    """
    arguments = [*([] if source is None else [source]), *(sinks or [])]
    if named:
        several = _named(named)
        names = [*arguments, *(to or [])]
        shared = [name for name in names if SOURCE not in name]
        if len(several) > 1 and shared:
            raise UsageError(
                f"{shared[0]} cannot be for {len(several)} sources: write {SOURCE} where the name of each belongs, "
                f"like '{SOURCE}.mp4'" + ("; what all of them show is on one page with --serve 8080" if window else "")
            )
        if len(several) > 1 and not names and window:
            raise UsageError("a window shows one source: use --serve 8080, sinks like '{source}.mp4', or --headless")
        return several, names or (["display"] if window else [])
    if not arguments:
        raise UsageError("no source given: the first argument is one, like street.mp4, 0 or rtsp://camera.local/stream")
    if to:
        return {"": arguments}, to
    return {"": arguments[:1]}, arguments[1:] or (["display"] if window else [])


def _named(texts: Sequence[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or not source or not NAME.fullmatch(name):
            raise UsageError(
                f"--source {text!r} given, expected NAME=SOURCE with letters, digits, - and _ in the name, like "
                "-s front=0; a single source is the first argument: tcl-edge street.mp4 out.mp4"
            )
        if name in named:
            raise UsageError(f"two sources are named {name}: each needs its own name")
        named[name] = [source]
    return named


def _for_source(text: str, name: str) -> str:
    return text.replace(SOURCE, name) if name else text


def _open(texts: Sequence[str], *, loop: bool, wait: bool) -> Source:
    if loop:
        return LoopSource(lambda: open_sources(texts))
    return open_source(texts[0], wait=wait) if len(texts) == 1 else open_sources(texts)


def _try_words(segmenter: Segmenter, classes: str | None, changes: Sequence[Change]) -> None:
    """Refuse words before the first frame that would be refused when their time comes."""
    for change in changes:
        segmenter.set_classes(change.words)
    if changes:
        segmenter.set_classes(classes)


def _refuse_sources_as_sinks(source: str, sinks: Sequence[str], overwrite: bool) -> None:
    """Tell what the shell makes of *.jpg: the second file and all that follow are no results."""
    kind = Path(source).suffix.lower()
    there = [sink for sink in sinks if kind and Path(sink).suffix.lower() == kind and os.path.isfile(sink)]  # noqa: PTH113
    if len(there) > 1 or (there and len(sinks) > 1 and not overwrite):
        raise SinkNameError(
            f"results would replace {', '.join(there[:3])}{', …' * (len(there) > 3)}. If these are sources, too, quote "
            f"the pattern ('*{kind}'), or name the results by --to: tcl-edge *{kind} --to out/"
        )


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


def main() -> None:
    """Run the command line: a tool if the first argument names one, otherwise the stream."""
    completed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
    first = (sys.argv[1:] or completed.split()[1:] or [""])[0]
    (tools if first in TOOLS else app)()


if __name__ == "__main__":
    main()
