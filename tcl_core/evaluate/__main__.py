"""Measure a model on pictures with known masks: `python -m tcl_core.evaluate MODEL --data DIR --report OUT`.

`python -m tcl_core.evaluate table --weights DIR --data DIR --report OUT` measures every system of the paper's table,
`python -m tcl_core.evaluate diff A.json B.json` compares two measurements, `python -m tcl_core.evaluate data DIR` looks
whether the papers' data is there and whole, and `python -m tcl_core.evaluate convert BENCHMARK RAW DIR` makes masks of
raw downloads.
"""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from tcl_core.commands import Command, Overwrite, console, counting, refuse_existing
from tcl_core.errors import ConfigError
from tcl_core.evaluate.benchmarks import Benchmark
from tcl_core.evaluate.bundle import bundle_segment, network_size
from tcl_core.evaluate.commands import add_data_commands
from tcl_core.evaluate.diff_command import add_diff_command
from tcl_core.evaluate.digests import data_digest, digest_of
from tcl_core.evaluate.evaluation import Evaluation, evaluate
from tcl_core.evaluate.folder import open_folder
from tcl_core.evaluate.layouts import Layout, layout_of, open_benchmark
from tcl_core.evaluate.metrics import pixel_accuracy
from tcl_core.evaluate.names import NameList
from tcl_core.evaluate.protocol import Protocol, Refinement, overridden
from tcl_core.evaluate.protocols import RUNTIME, TCL, ProtocolName, protocol_named
from tcl_core.evaluate.report import write_report
from tcl_core.evaluate.soft_masks import Described, model_segment, resolved
from tcl_core.load import options
from tcl_core.load.choice import ModelChoice
from tcl_core.load.model import LoadedModel, load_model
from tcl_core.prompts import parse_words, templates
from tcl_core.table.command import table

BenchmarkName = Literal[
    "folder", "voc", "voc20", "context", "context59", "coco_object", "coco_stuff", "cityscapes", "ade20k"
]


class MeasuringGroup(TyperGroup):
    """The group of commands whose first is meant where none is named: `MODEL --data DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command in front that was left out."""
        return super().parse_args(ctx, self.named(args))

    def named(self, args: list[str]) -> list[str]:
        """Give the arguments with the name of their command in front."""
        return args if args and args[0] in (*self.commands, "--help") else ["model", *args]


app = typer.Typer(
    cls=MeasuringGroup, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False, help=__doc__
)

EPILOG = """
[bold]Examples[/bold]

python -m tcl_core.evaluate tiny --data my_pictures --report out/report

python -m tcl_core.evaluate street.tclb --data my_pictures --report out/report

python -m tcl_core.evaluate ViT-B-16.pt --checkpoint tcl.pth --benchmark voc20 --protocol tcl --data data --report out

python -m tcl_core.evaluate data data
"""


def print_figures(evaluation: Evaluation) -> None:
    """Print the summary as a table."""
    table = Table("words that compete", "mIoU", "pixel accuracy")
    for tally in evaluation.tallies:
        iou = float(tally.scored(evaluation.benchmark.has_background).nanmean())
        table.add_row(tally.name, f"{100 * iou:.1f}", f"{100 * pixel_accuracy(tally.confusion):.1f}")
    output = Console(highlight=False)
    output.print(table)
    figures = evaluation.figures()
    own = figures["benchmark"]
    around = own["mean_iou_interval"]

    def shown(value: float | None) -> str:
        return "unknown" if value is None else f"{100 * value:.2f}"

    output.print(
        f"{evaluation.benchmark.name}: mIoU {shown(own['mean_iou'])} ({around['level']:.0%} of draws: "
        f"{shown(around['low'])} to {shown(around['high'])}), mAcc {shown(own['mean_accuracy'])}, "
        f"aAcc {shown(own['pixel_accuracy'])}",
        soft_wrap=True,
    )
    output.print(
        f"boundary IoU {shown(own['boundary_iou'])}, small components {shown(own['small_component_iou'])}, "
        f"classes with IoU 0 {shown(own['share_of_classes_with_iou_0'])} %, calibration error "
        f"{shown(own['calibration_error'])}, {figures['seconds_per_picture']:.3g} s a picture",
        soft_wrap=True,
    )
    output.print(f"pointing game {100 * evaluation.pointing.score:.1f}")


@app.command("model", cls=Command, epilog=EPILOG, no_args_is_help=True)
def main(
    model: Annotated[str, typer.Argument(help=f"{options.MODEL_HELP[:-1]}; or a bundle.tclb.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with images/, masks/ (PNG of class numbers, 255 does not count), classes.txt; for another "
            "--benchmark the folder of VOCdevkit/, coco_stuff164k/, cityscapes/, ade/."
        ),
    ],
    report: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")],
    benchmark: Annotated[BenchmarkName, typer.Option(help="What kind of data it is.")] = "folder",
    split: Annotated[str | None, typer.Option(help="Take this split of split.txt only.")] = None,
    without: Annotated[str, typer.Option(help="Classes that neither compete nor count: 'horse, mountain'.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many pictures, evenly spread.")] = None,
    pretrained: options.Pretrained = None,
    checkpoint: options.Checkpoint = None,
    head: options.Head = None,
    tokenizer: options.Tokenizer = None,
    template_name: options.Templates = None,
    background: options.Background = None,
    threshold: options.Threshold = None,
    pamr: Annotated[
        bool | None, typer.Option(help="Align masks with the colours of the picture; default the model's own.")
    ] = None,
    kp_weight: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the frozen encoder's own masks, 0.3 in the paper; default the protocol's."
        ),
    ] = None,
    protocol: Annotated[
        ProtocolName | None,
        typer.Option(
            help="tcl: the paper's unified evaluation; runtime: the whole picture at once; or how the authors of "
            "sclip, naclip, scclip, resclip, groupvit, maskclip measured. Default: windows as tcl, of the model's own "
            "size, masks as they are; runtime for bundles, tiny and what was trained on it."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting of the protocol, like window=224; all are printed. May be repeated."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, max=2048, help="Pixels: short side and windows, or side of the area; default the protocol's."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows at once; only speed and memory depend on it.")] = 1,
    num_pictures: Annotated[int, typer.Option("--pictures", min=0, help="Pictures to show in the report.")] = 12,
    overwrite: Overwrite = False,
) -> None:
    """Measure masks: mIoU, pixel accuracy and the pointing game, without and with background, as JSON and HTML."""
    is_bundle = model.endswith(".tclb") or (Path(model) / "manifest.json").is_file()
    choice = None if is_bundle else ModelChoice(model, pretrained, checkpoint, head, tokenizer)
    templates(template_name or "custom")  # mistakes are told before anything is read
    key = None if benchmark == "folder" else layout_of(benchmark).key
    wanted = None if protocol is None else protocol_named(protocol, key)
    overridden(wanted or TCL, settings or ())
    refuse_existing(report / "report.json", report / "report.html", overwrite=overwrite)
    names = overridden(wanted or TCL, [item for item in settings or () if item.startswith("names=")]).names
    opened = _open(data, benchmark, names, split, without)
    if limit:
        opened = opened.thinned(limit)
    about: dict[str, Any] = {"model": model, "command": shlex.join(sys.argv[1:])}
    about["all_pictures"] = key is None or len(opened.pictures) in layout_of(key).counts
    if not about["all_pictures"]:
        console.print(_of_a_part(opened, layout_of(benchmark)), markup=False, soft_wrap=True)
    about["files"] = {path.name: digest_of(path) for path in (Path(model), checkpoint) if path and path.exists()}
    about["data_sha256"] = data_digest(opened)
    with console.status("loading the model"):
        if choice is None:
            _refuse_for_bundles(
                pretrained=pretrained,
                checkpoint=checkpoint,
                head=head,
                tokenizer=tokenizer,
                templates=template_name,
                background=background,
                threshold=threshold,
                kp_weight=kp_weight or None,
                protocol=None if protocol == "runtime" else protocol,
                set=settings or None,
            )
            segment = bundle_segment(Path(model), opened.words, size=size, pamr=pamr)
            about["protocol"] = {"name": "runtime", "bundle": segment.how}
        else:
            loaded = load_model(choice)
            chosen = _protocol(loaded, wanted, settings or [], template_name, threshold, kp_weight, size, pamr)
            segment = _ready(loaded, opened, chosen, background, batch)
            about["protocol"] = chosen.settings()
    console.print(f"measured on {segment.how}", markup=False, soft_wrap=True)
    for name, value in about["protocol"].items():
        console.print(f"  {name} = {value}", markup=False, soft_wrap=True)
    with counting() as bars:
        task = bars.add_task("pictures", total=len(opened.pictures))
        evaluation = evaluate(segment, opened, lambda done, _: bars.update(task, completed=done))
    write_report(report, evaluation, segment, {**about, "how": segment.how}, num_pictures)
    print_figures(evaluation)
    console.print(f"wrote {report / 'report.html'} and {report / 'report.json'}", markup=False)


def _of_a_part(opened: Benchmark, layout: Layout) -> str:
    return (
        f"{len(opened.pictures)} pictures of {' or '.join(map(str, layout.counts))}: the figures are not those of "
        f"{layout.key}, whose classes need not all occur in a part of it"
    )


def _open(data: Path, benchmark: str, names: NameList, split: str | None, without: str) -> Benchmark:
    left_out = tuple(word.name for word in parse_words(without)) if without.strip() else ()
    if benchmark == "folder":
        if names != "benchmark":
            raise ConfigError(f"names={names} with a folder, whose names are in its classes.txt: leave it out")
        return open_folder(data, split=split, without=left_out)
    if split or left_out:
        raise ConfigError(f"--{'split' if split else 'without'} with {benchmark}: expected for --benchmark folder only")
    return open_benchmark(data, benchmark, names=names)


def _protocol(
    loaded: LoadedModel,
    wanted: Protocol | None,
    settings: list[str],
    template_name: str | None,
    threshold: float | None,
    kp_weight: float | None,
    size: int | None,
    pamr: bool | None,
) -> Protocol:
    """Choose every setting: what was typed, else the protocol's that was named, else the model's own."""
    preprocess = loaded.model.preprocess
    if wanted is not None:
        protocol = wanted
    elif loaded.whole_pictures:
        protocol = RUNTIME
    else:
        protocol = replace(TCL.adapted(preprocess), templates=None, pamr=None, kp_weight=0.0)
    if size is not None:
        window = None if protocol.window is None else size
        protocol = replace(protocol, short_side=size, window=window, stride=max(size // 2, 1))
    if pamr is not None:
        on: Refinement = "runtime" if protocol.sizing == "area" else "window"
        kept = protocol.pamr if protocol.pamr not in (None, "off") else on
        protocol = replace(protocol, pamr=kept if pamr else "off")
    protocol = replace(
        protocol,
        templates=protocol.templates if template_name is None else template_name,
        threshold=protocol.threshold if threshold is None else threshold,
        kp_weight=protocol.kp_weight if kp_weight is None else kp_weight,
    )
    return resolved(
        overridden(protocol, settings),
        size=preprocess.size,
        own_templates=loaded.templates,
        own_threshold=loaded.threshold,
        pamr=loaded.pamr,
    )


def _ready(loaded: LoadedModel, opened: Benchmark, protocol: Protocol, background: str | None, batch: int) -> Described:
    others = loaded.background_words(background, opened.words)
    if protocol.softmax_scale is not None and background is None:
        others = opened.background
    return model_segment(loaded.model, opened.words, others, protocol, network_size=network_size, batch=batch)


def _refuse_for_bundles(**options: object) -> None:
    given = [name.replace("_", "-") for name, value in options.items() if value is not None]
    if given:
        raise ValueError(f"--{given[0]} with a bundle, which is measured as it is: export another one, or leave it out")


app.command("table", cls=Command)(table)
add_data_commands(app)
add_diff_command(app)

if __name__ == "__main__":
    app()
