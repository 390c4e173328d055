"""GroupViT's segmentation of one window, as its authors evaluate it: groups are found first, then named.

Every pixel belongs to exactly one of G groups, and gets the class scores of its group. What Hugging Face's port calls
`segmentation_logits` is something else: no pixel belongs to a group there, and no class is ruled out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tcl_core.baselines.groupvit import PREPROCESS, Embedded, GroupVit
from tcl_core.encoder import normalize
from tcl_core.errors import ConfigError
from tcl_core.segment import resize

MAX_CLASSES = 5
"""Classes that a window may have: those that its embedding as a whole resembles most."""


def group_maps(assignments: Sequence[Tensor], grid: tuple[int, int], size: Sequence[int]) -> Tensor:
    """Follow the soft assignments from patches to the last groups, and stretch the maps over the window.

    Args:
        assignments: of the stages in order, (B,G1,L), (B,G2,G1), ...
        grid: (h, w) of the patches, L = h * w.
        size: (H, W) of the window in pixels.

    Returns:
        (B,G,H,W) in [0, 1], bilinear; pixels beyond the last whole patch share in it.
    """
    product = assignments[0]
    for assignment in assignments[1:]:
        product = assignment @ product
    return resize(product.reshape(*product.shape[:2], *grid), size)


def class_scores(segments: Tensor, images: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Score classes for groups: how likely among all, times how likely among those that the window may have.

    Args:
        segments: (B,G,C).
        images: (B,C), of the windows as wholes.
        text: unit rows (N,C).
        scale: of the cosines.

    Returns:
        (B,G,N) in [0, 1], 0 for classes that the window has not; rows do not sum to 1.
    """
    logits = scale * normalize(segments, dim=-1) @ text.T
    best = (normalize(images, dim=-1) @ text.T).topk(min(MAX_CLASSES, len(text)), dim=-1).indices
    possible = torch.zeros(len(images), len(text), dtype=torch.bool, device=text.device).scatter_(1, best, True)
    among_possible = logits.masked_fill(~possible[:, None], -torch.inf).softmax(dim=-1)
    return logits.softmax(dim=-1) * among_possible


def pixel_scores(scores: Tensor, maps: Tensor) -> Tensor:
    """Give every pixel the scores of the group that it belongs to most: (B,G,K), (B,G,H,W) -> (B,K,H,W)."""
    groups = maps.argmax(dim=1).flatten(1)[:, None].expand(-1, scores.shape[2], -1)  # (B,K,H*W)
    return scores.transpose(1, 2).gather(2, groups).reshape(*scores.shape[::2], *maps.shape[2:])


def with_background(scores: Tensor, threshold: float) -> Tensor:
    """Put the background before the classes: 1 for groups of which no class reaches the threshold, else 0.

    The threshold is lowered to the largest score of all groups, those included that no pixel belongs to: then a whole
    window can be background.

    Args:
        scores: of the groups, (B,G,N).
        threshold: in [0, 1].

    Returns:
        (B,G,1+N).
    """
    lowered = scores.amax(dim=(1, 2), keepdim=True).clamp(max=threshold)
    return torch.cat([(scores.amax(dim=2, keepdim=True) < lowered).to(scores.dtype), scores], dim=2)


class GroupVitWindows(nn.Module):
    """GroupViT that looks for given classes, window by window; for `tcl_core.segment.slide`, which averages them.

    Averaged, the background is the share of windows that voted for it, and competes with averaged scores.

    Args:
        model: see there.
        text: unit rows (N,C).
        threshold: see `with_background`; None where there is no background.

    Attributes:
        preprocess: how a picture enters: ImageNet's statistics, windows of 448 pixels.

    Raises:
        ValueError: texts that do not fit the model.
        ConfigError: a threshold outside [0, 1].
    """

    text: Tensor

    def __init__(self, model: GroupVit, text: Tensor, threshold: float | None) -> None:
        super().__init__()
        if text.ndim != 2 or not len(text) or text.shape[1] != model.shape.embed_dim:
            raise ValueError(
                f"texts of shape {tuple(text.shape)}: expected (N,{model.shape.embed_dim}), one row a class or more"
            )
        if threshold is not None and not 0 <= threshold <= 1:
            raise ConfigError(f"a background threshold of {threshold}: expected 0 to 1, or None for no background")
        self.model = model
        self.register_buffer("text", text)
        self.threshold = threshold
        self.preprocess = PREPROCESS
        self.eval()

    @torch.inference_mode()
    def forward(self, windows: Tensor) -> Tensor:
        """Segment windows, each by itself.

        Args:
            windows: float (B,3,H,W), normalised.

        Returns:
            (B,K,H,W) in [0, 1]; K = N, or 1 + N with the background first.
        """
        embedded: Embedded = self.model(windows)
        scores = class_scores(embedded.segments, embedded.images, self.text, self.model.scale)
        if self.threshold is not None:
            scores = with_background(scores, self.threshold)
        maps = group_maps(embedded.grouped.assignments, embedded.grouped.grid, windows.shape[2:])
        return pixel_scores(scores, maps)
