"""What is measured: a PyTorch model or an exported bundle, from a picture to the soft masks of given words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from PIL import Image
from torch import Tensor

from tcl_core.pamr import refine
from tcl_core.pictures import resized_tensor, to_tensor
from tcl_core.prompts import Word, embed_words, merge_synonyms, templates
from tcl_core.segment import resize, slide

if TYPE_CHECKING:
    from tcl_core.model import TCL

Protocol = Literal["tcl", "runtime"]
SizeRule = Callable[[tuple[int, int], int, int], tuple[int, int]]
"""(height, width) of a picture, side of a square with as many pixels, multiple -> (height, width) of the input."""


@dataclass(frozen=True, eq=False)
class SoftMasks:
    """What a model says of a picture.

    Attributes:
        words: (K,h,w) in [0, 1], in the order of the benchmark.
        background: (h,w) in [0, 1], what a word's mask has to exceed.
    """

    words: Tensor
    background: Tensor


Segment = Callable[[Image.Image], SoftMasks]


@dataclass(frozen=True, eq=False)
class Described:
    """A `Segment` that says in what way it segments.

    Attributes:
        segment: the way.
        how: for people, in one line.
    """

    segment: Segment
    how: str

    def __call__(self, image: Image.Image) -> SoftMasks:
        """Segment a picture."""
        return self.segment(image)


def described(
    segment: Segment, *, pictures: str, refined: bool, threshold: float | None, num_background: int
) -> Described:
    """Say what figures depend on beside the model, with the options that change it."""
    parts = [
        pictures,
        "masks refined by PAMR (--no-pamr: as they are)" if refined else "masks as they are (--pamr: refined)",
        "no threshold" if threshold is None else f"threshold {threshold:g}",
        f"{num_background} background words",
    ]
    return Described(segment, ", ".join(parts))


def model_segment(
    model: "TCL",
    words: tuple[Word, ...],
    background: tuple[Word, ...],
    *,
    template_name: str,
    threshold: float,
    protocol: Protocol,
    size: int | None = None,
    pamr: bool = False,
    kp_weight: float = 0.0,
    network_size: SizeRule,
) -> Described:
    """Make a PyTorch model ready to be measured.

    Args:
        model: in evaluation mode.
        words: of the benchmark.
        background: words that count as background.
        template_name: prompts, see `tcl_core.prompts.templates`.
        threshold: soft mask that a word has to exceed.
        protocol: "tcl", short side `size` and square windows along the picture (paper); or "runtime", the whole picture
            at once, of its own shape and with as many pixels as a square of `size`.
        size: in pixels; None for the model's own.
        pamr: see `TCL.segment`.
        kp_weight: see `TCL.segment`.
        network_size: how large the runtime makes a whole picture, see `tcl_core.evaluate.bundle.network_size`.
    """
    every = [*words, *background]
    text = embed_words(
        model.text_encoder, [synonym for word in every for synonym in word.synonyms], templates(template_name)
    )
    side = size or model.preprocess.size

    def masks_of(images: Tensor) -> Tensor:
        return model.segment(images, text, pamr=pamr, kp_weight=kp_weight)

    def segment(image: Image.Image) -> SoftMasks:
        if protocol == "tcl":
            pixels = to_tensor(image, model.preprocess, side)
            masks = slide(masks_of, pixels, window=side, stride=max(side // 2, 1))
            merged = merge_synonyms(masks, every)[0]
        else:
            whole_size = network_size((image.height, image.width), side, model.preprocess.multiple_of)
            whole = resized_tensor(image, model.preprocess, whole_size)
            merged = merge_synonyms(model.masks(whole, text, kp_weight=kp_weight), every)
            if background:  # one mask with the threshold in it, before anything is refined, as in the runtime
                one = merged[:, len(words) :].amax(dim=1, keepdim=True).clamp(min=threshold)
                merged = torch.cat([merged[:, : len(words)], one], dim=1)
            merged = (_refined_as_in_the_runtime(whole, merged) if pamr else merged)[0]
        floor = torch.full(merged.shape[1:], threshold)
        others = merged[len(words) :]
        return SoftMasks(merged[: len(words)], torch.maximum(floor, others.amax(dim=0)) if len(others) else floor)

    pictures = (
        f"whole pictures of {side} x {side} pixels' area" if protocol == "runtime" else f"windows of {side} pixels"
    )
    return described(segment, pictures=pictures, refined=pamr, threshold=threshold, num_background=len(background))


def _refined_as_in_the_runtime(image: Tensor, masks: Tensor) -> Tensor:
    """Refine masks (1,N,h,w), the prior in them, at a quarter of the input (1,3,H,W)."""
    quarter = (max(image.shape[2] // 4, masks.shape[2]), max(image.shape[3] // 4, masks.shape[3]))
    return refine(image, resize(masks, quarter))


__all__ = ["Described", "Protocol", "Segment", "SizeRule", "SoftMasks", "described", "model_segment"]
