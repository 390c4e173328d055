"""The command line: `python -m export --model tiny --classes "..." --output NAME.tclb`."""

import shlex
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from runtime.bundle import SUFFIX, Bundle, check_replaceable
from runtime.errors import TclEdgeError

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

EPILOG = """
[bold]Examples[/bold]

python -m export --model tiny --classes "person, bicycle, road" --output street.tclb

python -m export --model tiny --classes words.txt --output street.tclb --fp16   (for GPUs: arithmetic in 16 bits)

python -m export --model tiny --output small.tclb --fp16-weights   (half the file, the speed of fp32 on CPUs)
"""


@app.command(epilog=EPILOG, no_args_is_help=True)
def run(
    output: Annotated[Path, typer.Option(help=f"Directory to write, NAME{SUFFIX}.")],
    model: Annotated[str, typer.Option(help="Model to export: tiny.")] = "tiny",
    classes: Annotated[
        str | None,
        typer.Option(help="Words: 'cat, sofa|couch, floor', or a .txt file with one class a line. Changeable later."),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", "--half", help="Compute in float16, for GPUs.")] = False,
    fp16_weights: Annotated[
        bool, typer.Option("--fp16-weights", help="Store weights as float16, compute in float32.")
    ] = False,
    text_encoder: Annotated[
        bool, typer.Option("--text-encoder/--no-text-encoder", help="Include it, so that words can change later.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Export a model as a bundle: ONNX graphs, words, and the comparison with PyTorch that vouches for them."""
    try:
        check_replaceable(output, overwrite=overwrite)
    except TclEdgeError as error:
        _fail(str(error))
    from export.build import Options, export_bundle  # PyTorch takes seconds to import: not for --help and typing errors
    from export.parity import ParityError
    from export.subject import SubjectError, load_subject

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    options = Options(
        precision="fp16" if fp16 else "fp32", weights="fp16" if fp16_weights else "fp32", text_encoder=text_encoder
    )
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"loading {model}")
            subject = load_subject(model)

            def stage(description: str) -> None:
                progress.reset(task, description=description)

            bundle = export_bundle(subject, classes, output, options, overwrite=overwrite, stage=stage)
    except (TclEdgeError, ParityError, SubjectError) as error:
        _fail(str(error))
    _report(bundle)


def _fail(message: str) -> NoReturn:
    console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    raise typer.Exit(1)


def _report(bundle: Bundle) -> None:
    table = Table(title="PyTorch and ONNX on sizes and words that were not traced", title_justify="left")
    for column in ("input", "batch", "words", "max error", "mean error", "same labels"):
        table.add_column(column, justify="right")
    for r in bundle.manifest.parity:
        errors = f"{r.max_error:.1e}", f"{r.mean_error:.1e}", f"{r.label_agreement:.2%}"
        table.add_row(f"{r.size[0]} x {r.size[1]}", str(r.batch), str(r.words), *errors)
    out = Console()
    out.print(table)
    size = sum(record.bytes for record in bundle.manifest.files.values()) / 1e6
    out.print(f"wrote {bundle.path} ({size:.1f} MB)", soft_wrap=True, highlight=False)
    out.print("next:", highlight=False)
    path = shlex.quote(str(bundle.path))
    out.print(f"  python -m runtime test://cars out.mp4 --bundle {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    app()
