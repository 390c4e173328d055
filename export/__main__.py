"""The command line: `python -m export --model NAME --classes "..." --output NAME.tclb`."""

import re
import shlex
import signal
import warnings
from pathlib import Path
from time import monotonic
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from export.errors import ExportError, SubjectError
from export.triton import write_model_repository
from runtime.bundle import SUFFIX, Bundle, check_replaceable
from runtime.commands import STOPPED, Command, console
from runtime.engines.cuda import find_gpu, load_cuda
from runtime.engines.profile import MOST_WORDS
from runtime.engines.tensorrt import load_tensorrt, open_tensorrt
from runtime.errors import EngineError, TclEdgeError, UsageError, WriteError
from runtime.words.vocabulary import parse_classes, split_background
from tcl_core.errors import ConfigError
from tcl_core.load import options
from tcl_core.load.choice import ModelChoice

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

EPILOG = """
[bold]Examples[/bold]

python -m export --model tiny --classes "person, bicycle, road" --output street.tclb

python -m export --model ViT-B-16.pt --checkpoint tcl.pth --kp-weight 0.3 --output tcl.tclb   (the official weights)

python -m export --model ViT-B-16-quickgelu --pretrained openai --head naclip --classes words.txt --output naclip.tclb

python -m export --model MobileCLIP-S1 --pretrained datacompdr --imgsz 512 --fp16 --output mobile.tclb   (for GPUs)

python -m export --model tiny --int8 --calib photos/ --output small.tclb   (scales measured on your pictures)

python -m export --model tiny --imgsz 288,512 --fold-text --classes "road, car" --output rigid.tclb   (a constant graph)
"""


class Display:
    """Says which stage runs, for how long, and which were reused: live in a terminal, a line each elsewhere."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage: str | None = None
        self._task: TaskID | None = None
        self._begun = monotonic()
        self._fate = ""

    def tell(self, stage: str, fate: str) -> None:
        """Show that a stage begins, or what became of it."""
        if fate == "begins":
            self.finish()
            self._stage, self._fate, self._begun = stage, "", monotonic()
            self._task = self._progress.add_task(stage, total=None)
        else:
            self._fate = fate

    def count(self, done: int, total: int) -> None:
        """Show how far the stage that runs is."""
        if self._task is not None:
            self._progress.update(self._task, description=f"{self._stage}: {done} of {total}")

    def finish(self, mark: str = "done") -> None:
        """End the stage that runs."""
        if self._stage is None or self._task is None:
            return
        self._progress.remove_task(self._task)
        console.print(f"{self._stage}: {self._fate or mark} ({monotonic() - self._begun:.1f} s)", markup=False)
        self._stage = None


@app.command(cls=Command, epilog=EPILOG, no_args_is_help=True)
def run(
    output: Annotated[
        Path | None,
        typer.Option(help=f"Directory to write, NAME{SUFFIX}.", show_default=f"the model's name, tiny-fp16{SUFFIX}"),
    ] = None,
    model: Annotated[str, typer.Option(help=options.MODEL_HELP)] = "tiny",
    pretrained: options.Pretrained = None,
    checkpoint: options.Checkpoint = None,
    head: options.Head = None,
    tokenizer: options.Tokenizer = None,
    prompts: options.Templates = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Words: 'cat, sofa|couch, floor', or a .txt file with one class a line. Changeable later."),
    ] = None,
    imgsz: Annotated[
        str | None, typer.Option(help="Input in pixels: 448, or H,W. Frames are stretched to a fixed size.")
    ] = None,
    dynamic: Annotated[
        bool | None,
        typer.Option(
            "--dynamic/--static",
            help="Leave height and width free, or fix them; default: free for convolutional models, fixed for ViTs.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(help="Arithmetic of the segmenter.")] = "fp32",
    fp16: Annotated[bool, typer.Option("--fp16", "--half", help="The same as --dtype fp16, for GPUs.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="The same as --dtype int8, for GPUs: slower on CPUs. Needs --calib.")
    ] = False,
    calib: Annotated[
        Path | None, typer.Option(help="Folder of 8 pictures or, better, some dozens, like those the camera will see.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write int8 even if its labels differ too often; if need be, everything in int8."),
    ] = False,
    fp16_weights: Annotated[
        bool, typer.Option("--fp16-weights", help="Store weights as float16, compute in float32.")
    ] = False,
    kp_weight: options.KpWeight = 0.0,
    text_encoder: Annotated[
        bool, typer.Option("--text-encoder/--no-text-encoder", help="Include it, so that words can change later.")
    ] = True,
    fold_text: Annotated[
        bool, typer.Option("--fold-text", help="Put the words into the graph, for targets that need a constant one.")
    ] = False,
    rewrite: Annotated[
        Literal["none", "exact", "winograd"] | None,
        typer.Option(help="How to save operations; default winograd in fp32, else exact.", show_default=False),
    ] = None,
    opset: Annotated[int, typer.Option(help="Of the ONNX standard, 18 to 24.")] = 20,
    atol: Annotated[
        float | None,
        typer.Option(help="Largest error of a soft mask; default 1e-4 in fp32, 2e-2 in fp16.", show_default=False),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where PyTorch and ONNX are compared.")] = "cpu",
    licence: Annotated[
        str | None, typer.Option(help="SPDX expression of the weights' licence.", show_default=False)
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where results of stages are kept.", show_default="your cache")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep no results, reuse none.")] = False,
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
        choice = ModelChoice(model, pretrained, checkpoint, head, tokenizer)
    except ConfigError as error:
        raise SubjectError(str(error)) from None
    precision, size = _precision(dtype, fp16, int8), _size(imgsz)
    output = output or default_output(choice, precision)
    check_replaceable(output, overwrite=overwrite)
    if classes is not None:
        split_background(parse_classes(classes))
    if tensorrt:
        _require_tensorrt()
    from export.build import export_bundle  # PyTorch takes seconds to import: not for --help and typing errors
    from export.options import Options
    from export.stages import Stages, default_folder
    from export.subject import load_subject

    how = Options(
        precision=precision,
        weights="fp16" if fp16_weights else "fp32",
        size=size,
        dynamic=dynamic,
        kp_weight=kp_weight,
        opset=opset,
        atol=atol,
        device=device,
        text_encoder=text_encoder,
        fold_text=fold_text,
        calibration=calib,
        force=force,
        rewrite=rewrite,
    )
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            display = Display(progress)
            warnings.showwarning = lambda message, *_, **__: console.print(f"warning: {message}", markup=False)
            display.tell(f"loading {model}", "begins")
            subject = load_subject(choice, prompts=prompts, licence=licence)
            stages = Stages(None if no_cache else cache_dir or default_folder(), display.tell, display.count)
            bundle = export_bundle(subject, classes, output, how, overwrite=overwrite, stages=stages)
            display.finish()
    except OSError as error:
        raise WriteError(output, error.strerror or str(error)) from error
    except KeyboardInterrupt:
        console.print("interrupted: nothing was written; finished stages are kept for the next time", markup=False)
        raise typer.Exit(STOPPED + signal.SIGINT) from None
    _report(bundle, words_fixed=not how.keeps_text_encoder)
    try:
        if tensorrt:
            open_tensorrt(bundle, bundle.manifest.input, words=MOST_WORDS, console=console).close()
        if triton is not None:
            models = write_model_repository(bundle, triton, overwrite=overwrite)
            console.print(f"wrote {', '.join(map(str, models))}", soft_wrap=True)
    except TclEdgeError as error:
        raise ExportError(f"{output} is complete, but {error}") from None


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


def default_output(choice: ModelChoice, precision: str) -> Path:
    """Name a bundle in the current folder after what is in it: tiny.tclb, tiny-fp16.tclb, ViT-B-16-naclip.tclb."""
    name = Path(choice.name).stem if Path(choice.model).is_file() else choice.name
    parts = [re.sub(r"[^\w.+-]+", "-", name)]
    parts += [choice.head] if choice.head not in (None, "tcl") else []
    parts += [precision] if precision != "fp32" else []
    return Path("-".join(parts) + SUFFIX)


def _precision(dtype: str, fp16: bool, int8: bool) -> Literal["fp32", "fp16", "int8"]:
    chosen = {name for name, wanted in (("fp16", fp16), ("int8", int8)) if wanted}
    if dtype != "fp32":
        chosen.add(dtype)
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(sorted(chosen))} given: choose one precision")
    return "fp16" if "fp16" in chosen else "int8" if "int8" in chosen else "fp32"


def _size(imgsz: str | None) -> tuple[int, int] | None:
    if imgsz is None:
        return None
    sides = imgsz.replace("x", ",").split(",")
    if len(sides) > 2 or not all(side.strip().isdecimal() for side in sides):
        raise UsageError(f"--imgsz {imgsz} given, expected a side like 448, or height and width like 288,512")
    return int(sides[0]), int(sides[-1])


def _report(bundle: Bundle, *, words_fixed: bool) -> None:
    table = Table(title="PyTorch and ONNX on pictures, sizes and words that were not traced", title_justify="left")
    for column in ("input", "batch", "words", "max error", "mean error", "cosine", "same labels"):
        table.add_column(column, justify="right")
    for r in bundle.manifest.parity:
        errors = f"{r.max_error:.1e}", f"{r.mean_error:.1e}", f"{r.cosine:.7f}", f"{r.label_agreement:.2%}"
        table.add_row(f"{r.size[0]} x {r.size[1]}", str(r.batch), str(r.words), *errors)
    out = Console(highlight=False)
    out.print(table)
    if operations := bundle.manifest.operations:
        height, width = operations.size
        saved = 1 - operations.exported / operations.plain
        out.print(
            f"multiply-adds at {height} x {width}: {operations.plain:.3g} GMAC in PyTorch, "
            f"{operations.exported:.3g} GMAC in the graph ({saved:.0%} fewer)"
        )
        if operations.int8_share is not None:
            out.print(f"in int8: {operations.int8_share:.0%} of them")
    if kept := bundle.manifest.segmenter.kept_fp32:
        out.print(f"computed in float32: {', '.join(kept)}")
    size = sum(record.bytes for record in bundle.manifest.files.values()) / 1e6
    words = "; its words are fixed" if words_fixed else "; words can change while it runs"
    out.print(f"wrote {bundle.path} ({size:.1f} MB){words}", soft_wrap=True)
    out.print("next:")
    path = shlex.quote(str(bundle.path))
    out.print(f"  python -m runtime test://cars out.mp4 --bundle {path}", soft_wrap=True)


if __name__ == "__main__":
    app()
