"""Measure a model on pictures with known masks: `python -m tcl_core.evaluate MODEL --data DIR --report OUT`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from tcl_core.commands import Command, Overwrite, console, counting, new_app, refuse_existing
from tcl_core.evaluate.bundle import bundle_segment, network_size
from tcl_core.evaluate.evaluation import Evaluation, evaluate
from tcl_core.evaluate.folder import open_folder
from tcl_core.evaluate.metrics import pixel_accuracy
from tcl_core.evaluate.report import write_report
from tcl_core.evaluate.soft_masks import Protocol, model_segment
from tcl_core.load import options
from tcl_core.load.choice import ModelChoice
from tcl_core.load.model import load_model
from tcl_core.prompts import parse_words, templates
from tcl_core.segment import THRESHOLD, THRESHOLD_WITH_PAMR

app = new_app()

EPILOG = """
[bold]Examples[/bold]

python -m tcl_core.evaluate tiny --data my_pictures --report out/report

python -m tcl_core.evaluate street.tclb --data my_pictures --report out/report

python -m tcl_core.evaluate ViT-B-16.pt --checkpoint tcl.pth --pamr --data my_pictures --report out/report
"""


def print_figures(evaluation: Evaluation) -> None:
    """Print the summary as a table."""
    table = Table("words that compete", "mIoU", "pixel accuracy")
    for tally in evaluation.tallies:
        iou = float(tally.scored(evaluation.benchmark.has_background).nanmean())
        table.add_row(tally.name, f"{100 * iou:.1f}", f"{100 * pixel_accuracy(tally.confusion):.1f}")
    output = Console(highlight=False)
    output.print(table)
    output.print(f"pointing game {100 * evaluation.pointing.score:.1f}")


@app.command(cls=Command, epilog=EPILOG, no_args_is_help=True)
def main(
    model: Annotated[str, typer.Argument(help=f"{options.MODEL_HELP[:-1]}; or a bundle.tclb.")],
    data: Annotated[
        Path, typer.Option(help="Folder with images/, masks/ (PNG of class numbers, 255 does not count), classes.txt.")
    ],
    report: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")],
    benchmark: Annotated[Literal["folder"], typer.Option(help="What kind of data it is.")] = "folder",
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
    kp_weight: options.KpWeight = 0.0,
    protocol: Annotated[
        Protocol | None,
        typer.Option(
            help="tcl: short side of a size, square windows (paper); runtime: the whole picture at once. "
            "Default tcl; runtime for bundles, tiny and what was trained on it."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, max=2048, help="Pixels, see --protocol; default the model's.")
    ] = None,
    num_pictures: Annotated[int, typer.Option("--pictures", min=0, help="Pictures to show in the report.")] = 12,
    overwrite: Overwrite = False,
) -> None:
    """Measure masks: mIoU, pixel accuracy and the pointing game, without and with background, as JSON and HTML."""
    is_bundle = model.endswith(".tclb") or (Path(model) / "manifest.json").is_file()
    choice = None if is_bundle else ModelChoice(model, pretrained, checkpoint, head, tokenizer)
    templates(template_name or "custom")  # mistakes are told before anything is read
    left_out = tuple(word.name for word in parse_words(without)) if without.strip() else ()
    refuse_existing(report / "report.json", report / "report.html", overwrite=overwrite)
    opened = open_folder(data, split=split, without=left_out)
    if limit:
        opened = opened.thinned(limit)
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
            )
            segment = bundle_segment(Path(model), opened.words, size=size, pamr=pamr)
        else:
            loaded = load_model(choice)
            refined = loaded.pamr if pamr is None else pamr
            segment = model_segment(
                loaded.model,
                opened.words,
                loaded.background_words(background, opened.words),
                template_name=template_name or loaded.templates,
                threshold=_first_given(threshold, loaded.threshold, THRESHOLD_WITH_PAMR if refined else THRESHOLD),
                protocol=protocol or ("runtime" if loaded.whole_pictures else "tcl"),
                size=size,
                pamr=refined,
                kp_weight=kp_weight,
                network_size=network_size,
            )
    console.print(f"measured on {segment.how}", markup=False, soft_wrap=True)
    with counting() as bars:
        task = bars.add_task("pictures", total=len(opened.pictures))
        evaluation = evaluate(segment, opened, lambda done, _: bars.update(task, completed=done))
    about = {"model": model, "how": segment.how, "command": shlex.join(sys.argv[1:])}
    write_report(report, evaluation, segment, about, num_pictures)
    print_figures(evaluation)
    console.print(f"wrote {report / 'report.html'} and {report / 'report.json'}", markup=False)


def _first_given(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _refuse_for_bundles(**options: object) -> None:
    given = [name.replace("_", "-") for name, value in options.items() if value is not None]
    if given:
        raise ValueError(f"--{given[0]} with a bundle, which is measured as it is: export another one, or leave it out")


if __name__ == "__main__":
    app()
