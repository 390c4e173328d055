"""Commands beside the stream: `python -m runtime doctor | benchmark | words | engine`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.bundle import Bundle
from runtime.commands import FAILED, Command, console
from runtime.engines.profile import MOST_WORDS
from runtime.errors import UsageError
from runtime.frame import resized
from runtime.words.vocabulary import SAME_MEANING

TOOLS = {"benchmark", "doctor", "engine", "words"}

tools = typer.Typer(pretty_exceptions_enable=False)


@tools.callback(no_args_is_help=True)
def _tools() -> None:
    """Tools beside the stream."""


@tools.command(cls=Command)
def doctor() -> None:
    """Examine what is installed and print the exact fix for what is wrong; fails if something is."""
    from runtime.doctor.examine import examine

    table = Table(title="TCL Edge doctor", title_justify="left", show_lines=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    marks = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "problem": "[bold red]problem[/bold red]"}
    problems = 0
    for finding in examine():
        table.add_row(marks[finding.status], Text(finding.subject), Text(finding.detail), Text(finding.fix))
        problems += finding.status == "problem"
    Console().print(table)
    if problems:
        raise typer.Exit(FAILED)


@tools.command(cls=Command)
def benchmark(
    bundle: Annotated[str, typer.Argument(help="Name of a shipped bundle, or path of a NAME.tclb directory.")] = "tiny",
    sizes: Annotated[str, typer.Option(help="Network sizes, like 256,416.")] = "default",
    words: Annotated[str, typer.Option(help="Numbers of classes; background words come on top.")] = "5,20",
    providers: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt.")] = "auto",
    threads: Annotated[str, typer.Option(help="Threads of every stage, like 1,2; default: one per core.")] = "default",
    refine: Annotated[str, typer.Option(help="none, edge, pamr; default: the bundle's own.")] = "default",
    frames: Annotated[int, typer.Option(min=1, help="Frames of each combination.")] = 50,
    source: Annotated[str, typer.Option(help="Where the frames come from.")] = "test://cars",
    output: Annotated[
        str | None, typer.Option("--json", help="Write everything as JSON; '-' for standard output.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Measure this machine with a bundle: every combination of the listed settings. Ctrl-C prints what there is."""
    from runtime.benchmark.command import plan_of
    from runtime.benchmark.command import run as run_benchmark

    plan = plan_of(sizes=sizes, words=words, providers=providers, threads=threads, refine=refine, frames=frames)
    if not run_benchmark(bundle, plan, source=source, output=output, overwrite=overwrite, console=console):
        raise typer.Exit(FAILED)


@tools.command(cls=Command, no_args_is_help=True)
def words(
    bundle: Annotated[
        str | None, typer.Argument(help="Name of a shipped bundle, or path of a NAME.tclb directory.")
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Word files to show, or to merge in this order.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Words to add: 'cat, sofa|couch, floor:0.6', or a word list (.txt, .names, .csv)."),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(help="Background words; 'default', as if left out: the bundle's own; 'none': no background."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Soft mask below which a pixel is background.")
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(help="Sentence to put the words into, like 'a photo of a {}'; repeat to average over several."),
    ] = None,
    near: Annotated[
        float, typer.Option(min=-1, max=1, help="Report words of different classes that are at least this alike.")
    ] = SAME_MEANING,
    output: Annotated[
        Path | None, typer.Option(help="Write a word file, NAME.safetensors, for --classes of the stream.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    live: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Show or change the words of a running stream instead: its page's address."),
    ] = None,
    add: Annotated[list[str] | None, typer.Option(help="With --live: words to add, 'dog|puppy, cat:0.4'.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="With --live: classes to remove, by name.")] = None,
    replaced: Annotated[str | None, typer.Option("--set", help="With --live: words in place of all others.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="TCL_EDGE_TOKEN", help="With --live: the token of the stream.")
    ] = None,
) -> None:
    """Build, merge or show vocabularies: synonyms (sofa|couch), thresholds (floor:0.6), near-duplicates."""
    if live is not None:
        if bundle or classes or template or output:
            raise UsageError("--live is about a running stream: no bundle, file, --classes, --template or --output")
        from runtime.words.served import run_served

        run_served(
            live,
            token=token,
            replaced=replaced,
            removed=remove or [],
            added=add or [],
            background=background,
            threshold=threshold,
        )
        return
    if add or remove or replaced:
        raise UsageError("--add, --remove and --set change a running stream: name it by --live http://HOST:PORT/")
    if bundle is None:
        raise UsageError("name a bundle, like `tiny`, or a running stream by --live http://HOST:PORT/")
    from runtime.words.command import run as run_words

    run_words(
        bundle,
        files or [],
        classes,
        background="default" if background is None else background,
        threshold=threshold,
        templates=template or [],
        near=near,
        output=output,
        overwrite=overwrite,
    )


@tools.command(cls=Command, no_args_is_help=True)
def engine(
    bundle: Annotated[str, typer.Argument(help="Name of a shipped bundle, or path of a NAME.tclb directory.")],
    imgsz: Annotated[
        int | None, typer.Option(help="Network size: side in pixels of a square with as many pixels.")
    ] = None,
    words: Annotated[
        int, typer.Option(min=1, help="Most phrases at once, synonyms and background words included.")
    ] = MOST_WORDS,
    batch: Annotated[int, typer.Option(min=1, help="Most frames at once.")] = 1,
) -> None:
    """Build the TensorRT engine of a bundle for this device now, instead of when the first stream begins."""
    from runtime.engines.tensorrt import open_tensorrt

    opened = Bundle.open(bundle)
    spec = resized(opened.manifest.input, imgsz)
    open_tensorrt(opened, spec, words=words, most_words=words, batch=batch, console=console).close()
    console.print(f"ready: python -m runtime SOURCE --bundle {bundle} --provider tensorrt", soft_wrap=True)
