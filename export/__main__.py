"""The command line: `python -m export --model tiny --classes "..." --output NAME.tclb`."""

import shlex
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from export.triton import write_model_repository
from runtime.bundle import SUFFIX, Bundle, check_replaceable
from runtime.cuda import find_gpu, load_cuda
from runtime.engine_profile import MOST_WORDS
from runtime.errors import EngineError, TclEdgeError
from runtime.tensorrt_engine import load_tensorrt, open_tensorrt

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
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Also build the TensorRT engine, for the GPU of this machine.")
    ] = False,
    triton: Annotated[
        Path | None, typer.Option(help="Also write the graphs into this model repository of a Triton server.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Export a model as a bundle: ONNX graphs, words, and the comparison with PyTorch that vouches for them."""
    try:
        check_replaceable(output, overwrite=overwrite)
        if tensorrt:
            _require_tensorrt()
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
    try:
        if tensorrt:
            open_tensorrt(bundle, bundle.manifest.input, words=MOST_WORDS, console=console).close()
        if triton is not None:
            models = write_model_repository(bundle, triton, overwrite=overwrite)
            console.print(f"wrote {', '.join(map(str, models))}", soft_wrap=True)
    except TclEdgeError as error:
        _fail(f"{output} is complete, but {error}")


def _require_tensorrt() -> None:
    """Find out before the export what its last step needs."""
    try:
        load_tensorrt()
        find_gpu(load_cuda())
    except EngineError as error:
        raise EngineError(
            f"{error}. The bundle needs none of that: export it without --tensorrt, copy it to the device, and build "
            f"the engine there with `python -m runtime engine NAME{SUFFIX}`"
        ) from None


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
