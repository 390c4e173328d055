"""What the command tells at its end."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from runtime.arguments import for_source
from runtime.commands import console
from runtime.job import Job
from runtime.sinks.sink import Sink
from runtime.sinks.video import VideoSink
from runtime.sources.source import Source
from runtime.stream.latency import PERCENTILES, STAGES
from runtime.tally import Tally

MOST_NAMED = 50
"""Words without a pixel that are told one by one; more may have been typed at a page."""


def report(jobs: Sequence[Job], sinks: Sequence[str], *, stopped: bool) -> bool:
    """Tell how it went, and whether something failed or was skipped.

    Args:
        jobs: that have ended.
        sinks: what each was to write.
        stopped: somebody asked them to end.
    """
    failed = False
    for job in jobs:
        report_latency(job)
        report_words(job.tally)
        frames = job.monitor.latency.frames
        title = f"{job.name}: " if job.name else ""
        told = None
        if job.error is not None:
            told, failed = f"{title}{job.error}", True
        elif job.complete and not frames and not stopped:
            told, failed = f"{title}the source has no frames: nothing was written", True
        elif job.complete and not frames and sinks:
            told = f"{title}stopped before the first frame: nothing was written"
        elif not job.complete:
            told = f"{title}stopped after {count_of_frames(frames, job.source.count)}"
        elif _written(job, sinks):
            told = f"{title}wrote {', '.join(_written(job, sinks))}"
        if told is not None:
            console.print(told, markup=False, soft_wrap=True)
        report_problems(job.source)
        failed |= bool(job.source.problems)
    return failed


def _written(job: Job, sinks: Sequence[str]) -> list[str]:
    """Name the results: of a recording in pieces, the first and the last."""
    names = []
    for text, sink in zip(sinks, job.sinks, strict=False):  # the page follows them
        if text == "display":
            continue
        pieces = sink.pieces if isinstance(sink, VideoSink) else []
        named = [str(pieces[0]), *(["…"] if len(pieces) > 2 else []), str(pieces[-1])] if len(pieces) > 1 else []
        names.append(" ".join(named) or for_source(text, job.name))
    return names


def report_latency(job: Job) -> None:
    """Print where the time went, on standard output."""
    monitor, source, latency = job.monitor, job.source, job.monitor.latency
    if not latency.frames:
        return
    title = f"{job.name}: " if job.name else ""
    table = Table(title=f"{title}{latency.frames} frames, milliseconds a frame", title_justify="left")
    table.add_column("stage")
    for percentile in PERCENTILES:
        table.add_column(f"p{percentile}", justify="right")
    for stage, values in latency.percentiles().items():
        name = "waiting" if source.live and stage == STAGES[0] else stage
        table.add_row(name, *(f"{value:.1f}" for value in values), end_section=stage == STAGES[-2])
    told = [f"[bold]{latency.fps:.1f} fps[/bold]"]
    if source.live:
        told.append(f"{source.dropped} frames dropped")
    if monitor.lost:
        told.append(f"{monitor.lost} results not written: a sink was too slow")
    if source.reconnects:
        told.append(f"{source.reconnects} reconnects")
    out = Console(highlight=False)
    out.print(table)
    out.print(f"{', '.join(told)}; the first {latency.warm_up} frames are left out", soft_wrap=True)
    out.print(
        "[dim]post: upsampling, argmax and blending in one pass; overlay: outlines and legend; write: encoding[/dim]",
        soft_wrap=True,
    )


def report_partial(sinks: Sequence[Sink]) -> None:
    """Tell where results lie that are not whole."""
    for sink in sinks:
        if sink.partial is not None and sink.partial.exists():  # unless somebody took its folder away
            console.print(f"what was written until then: {sink.partial}", soft_wrap=True)


def report_words(tally: Tally) -> None:
    """Tell which words were not found."""
    never = tally.never_found
    for word in never[:MOST_NAMED]:
        console.print(f"{word}: 0 pixels", markup=False, soft_wrap=True)
    if len(never) > MOST_NAMED:
        console.print(f"and {len(never) - MOST_NAMED} more words: 0 pixels", soft_wrap=True)


def report_problems(source: Source) -> None:
    """Tell what was skipped, and what lies beside."""
    for line in source.left_out:
        console.print(f"left out: {line}", markup=False, soft_wrap=True)
    if source.problems:
        console.print(f"[bold red]skipped {len(source.problems)}:[/bold red]")
        for problem in source.problems:
            console.print(f"  {problem}", markup=False, soft_wrap=True)


def count_of_frames(count: int, announced: int | None) -> str:
    """Say how many frames there were."""
    return f"{count} frames" if announced is None else f"{count} of {announced} frames"
