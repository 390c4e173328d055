"""MaskCLIP (Zhou, Loy, Dai: Extract Free Dense Labels from CLIP, ECCV 2022): CLIP's own values, read cell by cell.

MaskCLIP† is the plain cosine of every cell with every class; MaskCLIP adds two refinements, in this order: prompt
denoising, then key smoothing (section 3.3 of the paper). The rows of TCL's table come from MaskCLIP's released code, so
what that code does otherwise than the paper says is the default here, and named.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn import functional as F

from tcl_core.encoder import IMAGENET_MEAN, IMAGENET_STD, DenseEncoder, Preprocess
from tcl_core.errors import ConfigError
from tcl_core.prompts import embed_words, templates
from tcl_core.segment import resize
from tcl_core.towers.attention import cellwise
from tcl_core.towers.official import load_clip
from tcl_core.towers.open_clip import ClipModel, image_encoder_from, text_encoder_from
from tcl_core.towers.resnet import ResNetEncoder
from tcl_core.towers.vit import ViTEncoder

LOGIT_SCALE = 100.0
"""CLIP's temperature, as it ended: probabilities of classes are softmax(100 cosine)."""
DENOISED = -100.0
"""What the released code gives a class that it denoises, everywhere; no cosine is as low."""
WINDOW_SIZE = 448
RELEASED_NORM_EPS = 1e-6

KeyAxis = Literal["positions", "channels"]
Activation = Literal["released", "trained"]


@dataclass(frozen=True)
class Refinement:
    """What is done to the cosines.

    Attributes:
        denoise_below: classes whose best probability anywhere is lower are dropped (`pd_thresh`); 0 drops none.
        smooth_below: cells whose best probability is lower are smoothed (`ks_thresh`); 0 smooths none and leaves
            cosines, 1 smooths all but those that are certain to the last bit.
        key_axis: along which keys have unit length. "positions", every channel over all cells, is what the released
            code does; "channels", every cell over all channels, is the cosine that the paper's text describes.
    """

    denoise_below: float = 0.0
    smooth_below: float = 0.0
    key_axis: KeyAxis = "positions"

    def __post_init__(self) -> None:
        for name in ("denoise_below", "smooth_below"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected a probability in [0, 1]")
        if self.key_axis not in ("positions", "channels"):
            raise ConfigError(f"no axis {self.key_axis!r} of keys: expected positions (released) or channels (paper)")


PLAIN = Refinement()
"""The row MaskCLIP†."""
REFINED = Refinement(denoise_below=0.5, smooth_below=1.0)
"""The row MaskCLIP."""


def probabilities(scores: Tensor) -> Tensor:
    """softmax(100 scores) over the classes: (B,N,h,w) -> (B,N,h,w) in [0, 1]."""
    return torch.softmax(LOGIT_SCALE * scores, dim=1)


def denoise(cosines: Tensor, threshold: float) -> Tensor:
    """Drop classes that are nowhere likely (prompt denoising, section 3.3).

    A class n of a picture b is set to -100 everywhere when max over cells of softmax(100 cosines)[b, n] < threshold.
    If all are dropped they are equal, and the first of them wins.

    Args:
        cosines: (B,N,h,w).
        threshold: in [0, 1].

    Returns:
        (B,N,h,w): cosines, or -100.
    """
    best = probabilities(cosines).amax(dim=(2, 3), keepdim=True)
    return cosines.masked_fill(best < threshold, DENOISED)


def smooth(scores: Tensor, keys: Tensor, threshold: float, key_axis: KeyAxis = "positions") -> Tensor:
    """Let cells that are unsure take the opinion of cells with like keys (key smoothing, section 3.3).

    With p = softmax(100 scores) and unit keys k, a cell i with max_n p[n, i] < threshold becomes
    sum_j (k_i · k_j) p[:, j]; the weights may be negative and are not normalised. All others become p.

    Args:
        scores: cosines, or -100 where a class was dropped, (B,N,h,w).
        keys: of the last block, (B,h*w,D), cells in rows.
        threshold: in [0, 1].
        key_axis: see `Refinement`.

    Returns:
        (B,N,h,w): sums of probabilities, no longer cosines.
    """
    chances = probabilities(scores)
    unit = F.normalize(keys, dim=1 if key_axis == "positions" else 2)
    cells = chances.flatten(2).transpose(1, 2)  # (B,h*w,N)
    # K (K^T p) is (K K^T) p without the matrix of all pairs of cells.
    gathered = (unit @ (unit.transpose(1, 2) @ cells)).transpose(1, 2).reshape(scores.shape)
    return torch.where(chances.amax(dim=1, keepdim=True) < threshold, gathered, chances)


def refine(cosines: Tensor, keys: Tensor | None, refinement: Refinement) -> Tensor:
    """Denoise, then smooth: (B,N,h,w), keys (B,h*w,D) -> (B,N,h,w). Without smoothing keys may be None."""
    scores = denoise(cosines, refinement.denoise_below) if refinement.denoise_below else cosines
    if not refinement.smooth_below:
        return scores
    if keys is None:
        raise ValueError("smoothing without keys: expected those of the last block, (B,h*w,D)")
    return smooth(scores, keys, refinement.smooth_below, refinement.key_axis)


def keys_of(encoder: DenseEncoder, features: Tensor) -> Tensor:
    """Compute the keys that smoothing compares.

    Of a vision transformer, those of the last block, which the released code sends through its output layer too, as it
    does the values: out(K(norm(x))). Of a ResNet, those of its attention pool.

    Args:
        encoder: of CLIP.
        features: of `encoder.features`, (B,D,h,w).

    Returns:
        (B,h*w,D), cells in rows.

    Raises:
        ConfigError: a tower without keys.
    """
    if isinstance(encoder, ViTEncoder) and encoder.last_block is None and encoder.num_late == 1:
        block = encoder.final_block
        attention = block.attention
        dim = attention.qkv.in_features
        rows = slice(dim, 2 * dim)
        bias = None if attention.qkv.bias is None else attention.qkv.bias[rows]

        def compute(cells: Tensor) -> Tensor:
            read: Tensor = attention.out(F.linear(block.norm1(cells), attention.qkv.weight[rows], bias))
            return read

    elif isinstance(encoder, ResNetEncoder):
        compute = encoder.tower.attnpool.k_proj
    else:
        raise ConfigError(
            f"{type(encoder).__name__} has no keys to smooth by: take a ViT or ResNet of CLIP, or smooth_below=0"
        )
    return cellwise(compute, features).flatten(2).transpose(1, 2)


def with_released_layers(encoder: DenseEncoder) -> DenseEncoder:
    """Copy an encoder as MaskCLIP's configuration builds it: GELU for QuickGELU, epsilon 1e-6 in every LayerNorm.

    CLIP was trained with QuickGELU and 1e-5; embeddings differ in the second decimal. A ResNet has neither.
    """
    copied = deepcopy(encoder)
    for module in list(copied.modules()):
        if isinstance(module, nn.LayerNorm):
            module.eps = RELEASED_NORM_EPS
        for name, child in module.named_children():
            if isinstance(child, QuickGELU):
                setattr(module, name, nn.GELU())
    return copied


class MaskClip(nn.Module):
    """Windows -> scores of classes. In evaluation mode, as it comes from `maskclip`.

    Args:
        encoder: CLIP's image tower, a ViT (whose last block runs its value path) or a ResNet.
        text: unit embeddings of the classes (K,C).
        refinement: see there.
        made_of: what encoder and text depend on, for `settings`.

    Attributes:
        preprocess: how a picture enters: ImageNet's statistics, as in the released configuration, not CLIP's.
        settings: all that the scores depend on beside pictures, names and windows; plain values, for a report.
    """

    text: Tensor

    def __init__(
        self,
        encoder: DenseEncoder,
        text: Tensor,
        refinement: Refinement = REFINED,
        made_of: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        if text.ndim != 2 or text.shape[1] != encoder.embed_dim:
            raise ValueError(f"text of shape {tuple(text.shape)}: expected (K,{encoder.embed_dim})")
        self.encoder = encoder
        self.refinement = refinement
        self.settings: dict[str, str | float] = {**(made_of or {}), **asdict(refinement)}
        self.register_buffer("text", text)
        self.preprocess = Preprocess(IMAGENET_MEAN, IMAGENET_STD, WINDOW_SIZE, multiple_of=encoder.stride)

    def cells(self, images: Tensor) -> Tensor:
        """Score cells: (B,3,H,W) -> (B,K,h,w); a side that is no multiple of the stride ends in zeros."""
        height, width = images.shape[-2:]
        stride = self.encoder.stride
        features = self.encoder.features(F.pad(images, (0, -width % stride, 0, -height % stride)))
        embeddings = F.normalize(self.encoder.project(features), dim=1)
        cosines = torch.einsum("bchw,kc->bkhw", embeddings, self.text)
        keys = keys_of(self.encoder, features) if self.refinement.smooth_below else None
        return refine(cosines, keys, self.refinement)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Score the pixels of windows.

        Args:
            images: float (B,3,H,W), normalised.

        Returns:
            (B,K,H,W): cosines; with denoising -100 for a class that was dropped; with smoothing sums of probabilities.
            The map of the padded window is stretched over the window, as in the released code.
        """
        return resize(self.cells(images), images.shape[-2:])


def maskclip(
    clip: str | Path | ClipModel,
    classes: Sequence[str],
    *,
    pretrained: str | None = None,
    refinement: Refinement = REFINED,
    activation: Activation = "released",
    template_name: str = "maskclip",
) -> MaskClip:
    """Build the row MaskCLIP, or with `refinement=PLAIN` MaskCLIP†.

    Args:
        clip: file of OpenAI's CLIP, open_clip name, or a model that is loaded already; ViT-B/16 in the table.
        classes: what is prompted, one text a class.
        pretrained: weights for a name.
        refinement: see there.
        activation: "released" for GELU and epsilon 1e-6, as MaskCLIP was evaluated; "trained" for the CLIP's own.
        template_name: prompts; MaskCLIP's 85, each normalised before they are averaged.

    Raises:
        ConfigError: a tower that has no keys, and smoothing.
        ValueError: no such CLIP, or no classes.
        WeightsError: weights that are damaged, unsafe, or do not fit.
    """
    source = clip if isinstance(clip, ClipModel) else load_clip(clip, pretrained)
    text = embed_words(text_encoder_from(source), list(classes), templates(template_name))
    encoder = image_encoder_from(source)
    if not isinstance(encoder, ViTEncoder | ResNetEncoder):
        raise ConfigError(f"{source.name} is neither a ViT nor a ResNet of CLIP: MaskCLIP is defined for those")
    if activation not in ("released", "trained"):
        raise ConfigError(f"no activation {activation!r}: expected released (GELU) or trained (the CLIP's own)")
    built = encoder if activation == "trained" else with_released_layers(encoder)
    made_of = {"clip": source.name, "activation": activation, "templates": template_name}
    return MaskClip(built, text, refinement, made_of).eval()


__all__ = [
    "PLAIN",
    "REFINED",
    "MaskClip",
    "Refinement",
    "denoise",
    "keys_of",
    "maskclip",
    "refine",
    "smooth",
    "with_released_layers",
]
