"""One picture, segmented in PyTorch: `python -m tcl_core.predict MODEL IMAGE --classes "cat, sofa|couch"`."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tcl_core.commands import Command, Overwrite, console, counting, new_app, refuse_existing
from tcl_core.load import options
from tcl_core.load.choice import ModelChoice
from tcl_core.load.model import load_model
from tcl_core.pictures import MAX_LONG_SIDE, open_picture, palette, save_picture, to_tensor
from tcl_core.prompts import Word, embed_words, merge_synonyms, parse_words, templates
from tcl_core.segment import THRESHOLD, THRESHOLD_WITH_PAMR, label_map, resize, slide

if TYPE_CHECKING:
    from tcl_core.model import TCL

app = new_app()

MAX_LABELS = 255  # a PNG palette, less the background

EPILOG = """
[bold]Examples[/bold]

python -m tcl_core.predict ViT-B-16.pt street.jpg --checkpoint tcl.pth --classes "car, person, road" --pamr

python -m tcl_core.predict ViT-B-16-quickgelu street.jpg --pretrained openai --head naclip --classes "car, sky"

python -m tcl_core.predict tiny street.jpg --classes "cat, sofa|couch"
"""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in a picture.

    Attributes:
        labels: uint8 (H,W); 0 is background, word n of `names` is n + 1.
        names: of the words.
        peaks: largest soft mask of every word, in [0, 1].
    """

    labels: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    peaks: tuple[float, ...]

    def coverage(self) -> list[float]:
        """Share of the picture of the background, then of every word; sums to 1."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names) + 1)
        return [float(count) / self.labels.size for count in counts]


@torch.inference_mode()
def predict(
    model: "TCL",
    picture: Image.Image,
    words: list[Word],
    background: list[Word],
    *,
    template_name: str = "custom",
    threshold: float | None = None,
    pamr: bool = False,
    kp_weight: float = 0.0,
    short_side: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Prediction:
    """Segment a picture as the paper's evaluation does: square windows along it, background by threshold.

    Args:
        model: in evaluation mode.
        picture: RGB.
        words: to find.
        background: words whose pixels are background.
        template_name: prompts, see `tcl_core.prompts.templates`.
        threshold: soft mask below which a pixel is background; None for the paper's, 0.5 or with PAMR 0.4.
        pamr: align masks with colours.
        kp_weight: share of the frozen encoder's masks.
        short_side: of the picture while segmenting, in pixels; None for what the model expects (448 in the paper).
        progress: called with (step, done, in all).
    """

    def report(step: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(step, done, total)

    synonyms = [synonym for word in words + background for synonym in word.synonyms]
    text = embed_words(model.text_encoder, synonyms, templates(template_name), progress=report("words"))

    def segment(window: Tensor) -> Tensor:
        return merge_synonyms(model.segment(window, text, pamr=pamr, kp_weight=kp_weight), words + background)

    side = short_side or model.preprocess.size
    images = to_tensor(picture, model.preprocess, side)
    masks = slide(segment, images, window=side, stride=max(side // 2, 1), progress=report("windows"))
    masks = resize(masks, (picture.height, picture.width))
    if threshold is None:
        threshold = THRESHOLD_WITH_PAMR if pamr else THRESHOLD
    labels = label_map(masks[:, : len(words)], threshold, masks[:, len(words) :])
    peaks = masks[0, : len(words)].amax(dim=(1, 2))
    return Prediction(labels[0].to(torch.uint8).numpy(), tuple(word.name for word in words), tuple(peaks.tolist()))


def draw_overlay(picture: Image.Image, prediction: Prediction, opacity: float = 0.55) -> Image.Image:
    """Colour the words over the picture and say in a strip below it which colour is which."""
    colours = palette(len(prediction.names) + 1)
    pixels = np.asarray(picture, dtype=np.float32)
    share = np.where(prediction.labels > 0, opacity, 0.0)[..., None]
    mixed = (1 - share) * pixels + share * colours[prediction.labels]
    overlay = Image.fromarray(mixed.round().astype(np.uint8))
    shares = prediction.coverage()
    entries = [(name, index) for index, name in enumerate(prediction.names, start=1) if shares[index] > 0]
    return _with_legend(overlay, [(name, tuple(int(c) for c in colours[index])) for name, index in entries])


def _with_legend(overlay: Image.Image, entries: list[tuple[str, tuple[int, ...]]]) -> Image.Image:
    size = 16
    font = ImageFont.load_default(size)
    places, left, top = [], 0, 0
    width = max(overlay.width, 160)
    for name, colour in entries:
        length = round(font.getlength(name)) + 2 * size
        if left and left + length > width:
            left, top = 0, top + 2 * size
        places.append((left, top, name, colour))
        left += length + size
    if not places:
        return overlay
    picture = Image.new("RGB", (width, overlay.height + top + 2 * size), "white")
    picture.paste(overlay, (0, 0))
    draw = ImageDraw.Draw(picture)
    for left, top, name, colour in places:
        above = overlay.height + top + size // 2
        draw.rectangle((left + 4, above, left + 4 + size, above + size), fill=colour)
        draw.text((left + size + 10, above - 2), name, fill="black", font=font)
    return picture


def label_picture(prediction: Prediction) -> Image.Image:
    """Make the label map a picture with a palette, whose pixel values are the labels."""
    picture = Image.fromarray(prediction.labels).convert("P")
    picture.putpalette(palette(256).ravel().tolist())
    return picture


def print_coverage(prediction: Prediction) -> None:
    """Print how much of the picture every word covers, and how sure its best pixel is."""
    table = Table("word", "coverage", "peak")
    shares = prediction.coverage()
    for index, (name, peak) in enumerate(zip(prediction.names, prediction.peaks, strict=True), start=1):
        table.add_row(name, f"{shares[index]:.1%}", f"{peak:.2f}")
    table.add_row("(background)", f"{shares[0]:.1%}", "")
    Console(highlight=False).print(table)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    with counting() as bars:
        tasks = {}

        def update(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield update


@app.command(cls=Command, epilog=EPILOG, no_args_is_help=True)
def main(
    model: options.Model,
    image: Annotated[Path, typer.Argument(help="Picture to segment.")],
    classes: Annotated[str, typer.Option(help="Words to find: 'cat, sofa|couch, floor'; | separates synonyms.")],
    pretrained: options.Pretrained = None,
    checkpoint: options.Checkpoint = None,
    head: options.Head = None,
    tokenizer: options.Tokenizer = None,
    template_name: options.Templates = None,
    background: options.Background = None,
    threshold: options.Threshold = None,
    pamr: Annotated[bool, typer.Option("--pamr", help="Align masks with the colours of the picture (slow).")] = False,
    kp_weight: options.KpWeight = 0.0,
    short_side: Annotated[
        int | None, typer.Option(min=16, max=MAX_LONG_SIDE, help="Short side while segmenting, in pixels; default 448.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for overlay.png and labels.png.")] = Path("out"),
    overwrite: Overwrite = False,
) -> None:
    """Segment any words in one picture with PyTorch; for comparison with the exported models."""
    words = parse_words(classes)
    if background and background.strip():
        parse_words(background)
    if len(words) > MAX_LABELS:
        raise ValueError(f"{len(words)} words: labels.png has room for {MAX_LABELS}")
    templates(template_name or "custom")  # a mistake is told before minutes of loading
    overlay_path, labels_path = output / "overlay.png", output / "labels.png"
    refuse_existing(overlay_path, labels_path, overwrite=overwrite)
    choice = ModelChoice(model, pretrained, checkpoint, head, tokenizer)
    picture = open_picture(image)
    with console.status("loading the model"):
        loaded = load_model(choice)
    with _progress() as progress, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: console.print(f"warning: {message}", markup=False)
        prediction = predict(
            loaded.model,
            picture,
            words,
            list(loaded.background_words(background, words)),
            template_name=template_name or loaded.templates,
            threshold=loaded.threshold if threshold is None else threshold,
            pamr=pamr,
            kp_weight=kp_weight,
            short_side=short_side,
            progress=progress,
        )
    save_picture(draw_overlay(picture, prediction), overlay_path)
    save_picture(label_picture(prediction), labels_path)
    print_coverage(prediction)
    console.print(f"wrote {overlay_path} and {labels_path}", markup=False)


if __name__ == "__main__":
    app()
