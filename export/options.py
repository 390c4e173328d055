"""How to export: what a user may choose, checked before anything long begins."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from export.errors import OptionError
from export.pictures import picture_paths
from export.rewrite import PARTS, Rewrite
from export.subject import Subject
from export.to_onnx import OPSET
from tcl_core.towers.vit import ViTEncoder

Precision = Literal["fp32", "fp16", "int8"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Options:
    """How to export.

    Attributes:
        precision: of the segmenter's arithmetic.
        weights: how weights are stored; fp16 halves the file and costs no time.
        size: fixed (height, width) of the input in pixels; None for the model's own choice, see `input_size`.
        dynamic: leave height and width free; None for the model's own choice.
        kp_weight: in [0, 1], share of the frozen encoder's own masks.
        opset: of the ONNX standard.
        atol: largest error of a soft mask; None for what the precision allows.
        device: of the comparison.
        text_encoder: put the text encoder into the bundle, so that words can change on the device.
        fold_text: put the words into the graph, for targets that need a constant one.
        calibration: folder of pictures that int8 is calibrated and compared on.
        force: write a bundle in int8 although its labels differ too often.
        rewrite: see `export.rewrite.PARTS`; None for what suits the precision.
    """

    precision: Precision = "fp32"
    weights: Literal["fp32", "fp16"] = "fp32"
    size: Size | None = None
    dynamic: bool | None = None
    kp_weight: float = 0.0
    opset: int = OPSET
    atol: float | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    text_encoder: bool = True
    fold_text: bool = False
    calibration: Path | None = None
    force: bool = False
    rewrite: Rewrite | None = None

    @property
    def rewriting(self) -> Rewrite:
        """The rewriting to use: minimal filtering only in float32, where its larger numbers do no harm."""
        if self.rewrite is not None:
            return self.rewrite
        return "winograd" if self.precision == "fp32" else "exact"

    @property
    def keeps_text_encoder(self) -> bool:
        """Whether the bundle has a text encoder: words that are folded in cannot change."""
        return self.text_encoder and not self.fold_text

    @property
    def tolerance(self) -> str:
        """Which of `export.parity.TOLERANCES` applies."""
        return "fp16 weights" if (self.precision, self.weights) == ("fp32", "fp16") else self.precision


def check(options: Options, subject: Subject) -> None:
    """Refuse options that contradict each other, the model or the machine.

    Raises:
        OptionError: they do.
    """
    step = subject.model.preprocess.multiple_of
    if options.size is not None and any(side < step or side % step for side in options.size):
        nearest = ",".join(str(max(round(side / step), 1) * step) for side in options.size)
        given = f"--imgsz {options.size[0]},{options.size[1]}"
        raise OptionError(f"{given} given, {subject.name} takes multiples of {step}: {nearest} is near")
    if options.dynamic and options.fold_text:
        raise OptionError("--fold-text makes a constant graph and --dynamic a flexible one: leave out one of them")
    if options.precision == "int8" and options.calibration is None:
        raise OptionError("--int8 needs --calib FOLDER with some dozens of pictures like those the camera will see")
    if options.calibration is not None:
        picture_paths(options.calibration)
    if options.precision != "int8" and (options.calibration or options.force):
        raise OptionError("--calib and --force belong to --int8: add it, or leave them out")
    if options.precision != "fp32" and options.weights == "fp16":
        raise OptionError(f"--fp16-weights is for arithmetic in float32: leave it out with {options.precision}")
    if options.precision == "fp16" and options.rewrite == "winograd":
        raise OptionError("--rewrite winograd needs float32: its intermediate numbers are too large for float16")
    if not 0 <= options.kp_weight <= 1:
        raise OptionError(f"--kp-weight {options.kp_weight} given, expected a share between 0 and 1")
    if options.atol is not None and not options.atol > 0:
        raise OptionError(f"--atol {options.atol} given, expected the largest error of a soft mask, such as 1e-4")
    if options.rewrite is not None and options.rewrite not in PARTS:
        raise OptionError(f"--rewrite {options.rewrite} given, expected one of {', '.join(PARTS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise OptionError(
            "--device cuda was asked for and PyTorch finds no GPU: check `nvidia-smi`, install a CUDA build of torch, "
            "or use --device cpu"
        )


def input_size(options: Options, subject: Subject) -> Size | None:
    """Decide on the graph's (height, width); None if they are free.

    A graph with a fixed size has no arithmetic on shapes, and its positions are baked. A convolutional model gains
    nothing from it, so its graph is flexible unless a size is named.
    """
    native: int = subject.model.preprocess.size
    if options.dynamic:
        return None
    if options.size is not None:
        return options.size
    if options.dynamic is False or options.fold_text or isinstance(subject.model.image_encoder, ViTEncoder):
        return native, native
    return None


def default_side(options: Options, subject: Subject) -> int:
    """Side of a square with as many pixels as a flexible graph sees by default."""
    native: int = subject.model.preprocess.size
    step: int = subject.model.preprocess.multiple_of
    if options.size is None:
        return native
    return max(round(math.sqrt(options.size[0] * options.size[1]) / step), 1) * step


__all__ = ["Options", "Precision", "Size", "check", "default_side", "input_size"]
