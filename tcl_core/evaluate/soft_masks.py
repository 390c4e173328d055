"""What is measured: a PyTorch model or an exported bundle, from a picture to the soft masks of given words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from tcl_core.errors import ConfigError
from tcl_core.evaluate.class_scores import class_probabilities, just_below, without_small_classes
from tcl_core.evaluate.protocol import Protocol, Refinement
from tcl_core.evaluate.sliding import prepared, slide
from tcl_core.grounder import similarity
from tcl_core.pamr import refine
from tcl_core.pictures import resized_tensor
from tcl_core.prompts import Word, embed_words, merge_synonyms, templates
from tcl_core.segment import THRESHOLD, THRESHOLD_WITH_PAMR, pad_to_multiple, resize
from tcl_core.segment import crop as cropped

if TYPE_CHECKING:
    from tcl_core.model import TCL

SizeRule = Callable[[tuple[int, int], int, int], tuple[int, int]]
"""(height, width) of a picture, side of a square with as many pixels, multiple -> (height, width) of the input."""


@dataclass(frozen=True, eq=False)
class SoftMasks:
    """What a model says of a picture.

    Attributes:
        words: (K,h,w) in the order of the benchmark; in [0, 1] if they are `probabilities`.
        background: (h,w) on the same scale, what a word's mask has to exceed.
        probabilities: whether a score says how sure the model is; otherwise there is nothing to calibrate.
    """

    words: Tensor
    background: Tensor
    probabilities: bool = True


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


def resolved(protocol: Protocol, *, size: int, own_templates: str, own_threshold: float | None, pamr: bool) -> Protocol:
    """Fill in what a protocol leaves to the model, so that the result says every setting.

    Args:
        protocol: whose None mean the model's own.
        size: side in pixels of the square that the model sees as many pixels as.
        own_templates: of the model.
        own_threshold: of the model; None for the paper's.
        pamr: whether the model's masks are refined unless the user says otherwise.
    """
    own: Refinement = "off" if not pamr else "runtime" if protocol.sizing == "area" else "window"
    refinement = own if protocol.pamr is None else protocol.pamr
    threshold = protocol.threshold
    if threshold is None:
        paper = THRESHOLD if refinement == "off" else THRESHOLD_WITH_PAMR
        threshold = paper if own_threshold is None else own_threshold
    return replace(
        protocol,
        short_side=protocol.short_side or size,
        templates=protocol.templates or own_templates,
        pamr=refinement,
        threshold=threshold,
    )


def model_segment(
    model: "TCL",
    words: Sequence[Word],
    background: Sequence[Word],
    protocol: Protocol,
    *,
    network_size: SizeRule,
    batch: int = 1,
) -> Described:
    """Make a PyTorch model ready to be measured.

    Args:
        model: in evaluation mode.
        words: of the benchmark.
        background: words that count as background; where scores are a softmax over all names, a class of its own.
        protocol: resolved, see `resolved`.
        network_size: how large the runtime makes a whole picture, see `tcl_core.evaluate.bundle.network_size`.
        batch: windows at once; only speed and memory depend on it.

    Raises:
        ConfigError: settings that do not go together.
    """
    if protocol.short_side is None or protocol.templates is None or protocol.pamr is None or protocol.threshold is None:
        raise ConfigError("the protocol leaves settings to the model: expected it resolved")
    every = [*words, *background]
    text = embed_words(
        model.text_encoder, [synonym for word in every for synonym in word.synonyms], templates(protocol.templates)
    )
    if protocol.softmax_scale is not None:
        segment = _by_softmax(model, text, words, background, protocol, batch)
    elif protocol.sizing == "area":
        segment = _as_the_runtime(model, text, every, len(words), protocol, network_size)
    else:
        segment = _by_windows(model, text, every, len(words), protocol, batch)
    side = protocol.short_side
    pictures = f"whole pictures of {side} x {side} pixels' area"
    if protocol.sizing == "short side":
        pictures = f"windows of {protocol.window} pixels" if protocol.window else f"whole pictures, short side {side}"
    return described(
        segment,
        pictures=pictures,
        refined=protocol.pamr != "off",
        threshold=protocol.threshold,
        num_background=sum(len(word.synonyms) for word in background),
    )


def _by_windows(
    model: "TCL", text: Tensor, every: list[Word], num_words: int, protocol: Protocol, batch: int
) -> Segment:
    """The paper's own way: masks of windows, each for itself, against a threshold."""
    _refuse(protocol, "off", "window", "picture")
    assert protocol.threshold is not None
    floor = protocol.threshold

    def masks_of(windows: Tensor) -> Tensor:
        padded, padding = pad_to_multiple(windows, model.preprocess.multiple_of)
        refined = partial(_refined, padded, protocol=protocol) if protocol.pamr == "window" else None
        masks = model.masks(padded, text, kp_weight=protocol.kp_weight, refine=refined)
        return cropped(resize(masks, padded.shape[-2:]), padding)

    def segment(image: Image.Image) -> SoftMasks:
        scores = slide(image, masks_of, protocol, preprocess=model.preprocess, batch=batch)
        if protocol.pamr == "picture":
            scores = _refined_as_picture(image, scores, protocol, model)
        return _against(merge_synonyms(scores[None], every)[0], num_words, floor)

    return segment


def _by_softmax(
    model: "TCL",
    text: Tensor,
    words: Sequence[Word],
    background: Sequence[Word],
    protocol: Protocol,
    batch: int,
) -> Segment:
    """SCLIP's way: cosines averaged over windows, then classes compete by a softmax over all their names."""
    _refuse(protocol, "off", "picture")
    multiple = model.preprocess.multiple_of

    def cosines_of(windows: Tensor) -> Tensor:
        height, width = (max(side - side % multiple, multiple) for side in windows.shape[-2:])
        return similarity(model.dense_embeddings(windows[..., :height, :width]), text)

    def segment(image: Image.Image) -> SoftMasks:
        scores = slide(image, cosines_of, protocol, preprocess=model.preprocess, batch=batch)
        if protocol.pamr == "picture":
            scores = _refined_as_picture(image, scores, protocol, model)
        return softmax_scores(scores, words, background, protocol)

    return segment


def softmax_scores(scores: Tensor, words: Sequence[Word], background: Sequence[Word], protocol: Protocol) -> SoftMasks:
    """Turn cosines of names into scores of words and of what is none.

    Args:
        scores: (M,H,W), one a name: those of the words, then those of the background.
        words: N of them.
        background: classes that count as background; may be none.
        protocol: with a `softmax_scale` and a `threshold`, below which a pixel is background.
    """
    assert protocol.softmax_scale is not None
    assert protocol.threshold is not None
    classes = class_probabilities(scores, [*words, *background], protocol.softmax_scale)
    # The background stands first, as in the papers: it wins its ties, and the rule of areas leaves it alone.
    zero = classes[len(words) :].amax(dim=0, keepdim=True) if background else torch.full_like(classes[:1], -1.0)
    ordered = torch.cat([zero, classes[: len(words)]])
    if protocol.area_share is not None:
        ordered = without_small_classes(ordered, protocol.area_share)
    return SoftMasks(ordered[1:], ordered[0].clamp(min=just_below(protocol.threshold)))


def _as_the_runtime(
    model: "TCL", text: Tensor, every: list[Word], num_words: int, protocol: Protocol, network_size: SizeRule
) -> Segment:
    _refuse(protocol, "off", "runtime")
    side, floor = protocol.short_side, protocol.threshold
    assert side is not None
    assert floor is not None
    if (protocol.interpolation, protocol.statistics) != ("model", "model"):
        raise ConfigError("sizing=area: expected interpolation=model and statistics=model, as the runtime does")

    def segment(image: Image.Image) -> SoftMasks:
        whole_size = network_size((image.height, image.width), side, model.preprocess.multiple_of)
        whole = resized_tensor(image, model.preprocess, whole_size)
        merged = merge_synonyms(model.masks(whole, text, kp_weight=protocol.kp_weight), every)
        if len(every) > num_words:  # one mask with the threshold in it, before anything is refined, as in the runtime
            one = merged[:, num_words:].amax(dim=1, keepdim=True).clamp(min=floor)
            merged = torch.cat([merged[:, :num_words], one], dim=1)
        if protocol.pamr == "runtime":
            quarter = (max(whole.shape[2] // 4, merged.shape[2]), max(whole.shape[3] // 4, merged.shape[3]))
            merged = _refined(whole, resize(merged, quarter), protocol=protocol)
        return _against(merged[0], num_words, floor)

    return segment


def _against(masks: Tensor, num_words: int, threshold: float) -> SoftMasks:
    """Words (N,h,w) first, then those that count as background, which is never below the threshold."""
    floor = torch.full(masks.shape[1:], threshold)
    others = masks[num_words:]
    return SoftMasks(masks[:num_words], torch.maximum(floor, others.amax(dim=0)) if len(others) else floor)


def _refined(images: Tensor, masks: Tensor, *, protocol: Protocol) -> Tensor:
    return refine(images, masks, protocol.pamr_dilations, protocol.pamr_iterations)


def _refined_as_picture(image: Image.Image, scores: Tensor, protocol: Protocol, model: "TCL") -> Tensor:
    """Refine scores (K,H,W) at the size of the picture, guided by what the network saw of it."""
    guide = resize(prepared(image, protocol, model.preprocess), scores.shape[-2:])
    return _refined(guide, scores[None], protocol=protocol)[0]


def _refuse(protocol: Protocol, *possible: str) -> None:
    if protocol.pamr not in possible:
        raise ConfigError(f"pamr={protocol.pamr} with this protocol: expected one of {', '.join(possible)}")


__all__ = ["Described", "Segment", "SizeRule", "SoftMasks", "described", "model_segment", "resolved", "softmax_scores"]
