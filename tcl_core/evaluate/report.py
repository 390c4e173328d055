"""An evaluation to read and to look at: report.json, and report.html with the pictures inside."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from jinja2 import Environment, StrictUndefined
from PIL import Image

from tcl_core.atomic_file import write_together
from tcl_core.evaluate.benchmarks import Benchmark
from tcl_core.evaluate.evaluation import Evaluation, PictureScore, labelled
from tcl_core.evaluate.records import record_of
from tcl_core.pictures import open_picture, palette

if TYPE_CHECKING:
    from tcl_core.evaluate.soft_masks import Segment

LONGEST_SIDE = 320  # of a picture in the page
OPACITY = 0.6


def write_report(
    directory: Path, evaluation: Evaluation, segment: "Segment", about: Mapping[str, Any], num_pictures: int
) -> None:
    """Write `report.json` and `report.html`, both or neither.

    Args:
        directory: made if it is not there.
        evaluation: what was measured.
        segment: the same model, to draw its labels.
        about: what else to say, by name: plain data.
        num_pictures: to show: a third each of the worst, the middle and the best.

    Raises:
        WriteError: they cannot be written.
    """
    figures = record_of(evaluation, about)
    shown = [_shown(score, evaluation.benchmark, segment) for score in exemplary(evaluation.pictures, num_pictures)]
    page = rendered("report.html.jinja", figures=figures, pictures=shown)
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    write_together({directory / "report.json": text.encode(), directory / "report.html": page.encode()})


def rendered(template: str, **values: Any) -> str:
    """Fill in a page; what comes from outside is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f}"
    return environment.from_string(files("tcl_core.evaluate").joinpath(template).read_text(encoding="utf-8")).render(
        **values
    )


def exemplary(scores: Sequence[PictureScore], count: int) -> list[PictureScore]:
    """Choose pictures to look at by a rule: the worst, the middle and the best by pixel accuracy, in that order."""
    known = sorted((score for score in scores if score.accuracy == score.accuracy), key=lambda score: score.accuracy)
    if len(known) <= count:
        return known
    third, rest = divmod(count, 3)
    middle = (len(known) - third - rest) // 2
    chosen = [*range(third), *range(middle, middle + third + rest), *range(len(known) - third, len(known))]
    return [known[index] for index in chosen]


def _shown(score: PictureScore, benchmark: Benchmark, segment: "Segment") -> dict[str, Any]:
    image = open_picture(score.picture.image)
    with torch.inference_mode():
        truth, masks = labelled(segment, benchmark, score.picture)
        found = masks.words.argmax(dim=0).numpy()
    labels = truth.numpy()
    colours = palette(len(benchmark.words) + 1)[1:]
    occurring = [int(index) for index in np.union1d(np.unique(labels), np.unique(found)) if index < len(colours)]
    return {
        "name": score.picture.name,
        "accuracy": score.accuracy,
        "width": image.width,
        "height": image.height,
        "image": inline(image),
        "truth": inline(painted(image, labels, colours)),
        "found": inline(painted(image, found, colours)),
        "legend": [
            {"name": benchmark.words[index].name, "colour": "rgb({}, {}, {})".format(*colours[index])}
            for index in occurring
        ],
    }


def painted(image: Image.Image, labels: npt.NDArray[Any], colours: npt.NDArray[np.uint8]) -> Image.Image:
    """Lay colours over a picture; where there is no word it stays dark."""
    pixels = np.asarray(image, np.float32)
    named = labels < len(colours)
    over = colours[np.where(named, labels, 0)]
    mixed = np.where(named[..., None], (1 - OPACITY) * pixels + OPACITY * over, 0.25 * pixels)
    return Image.fromarray(mixed.round().astype(np.uint8))


def inline(image: Image.Image) -> str:
    """Make a small JPEG that stands in a page itself."""
    small = image.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


__all__ = ["exemplary", "inline", "painted", "rendered", "write_report"]
