"""PAMR: pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020) as TCL uses it.

Every pixel becomes an average of its neighbours, weighted by how alike they are in colour. Classes do not mix,
so refining some of them gives exactly what refining all would.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

DILATIONS = (1, 2, 4, 8, 12, 24)
NUM_ITERATIONS = 10
# Colour differences are measured in units of this share of the local standard deviation.
DEVIATION_SHARE = 0.1


def neighbours(maps: Tensor, dilations: tuple[int, ...] = DILATIONS) -> Iterator[Tensor]:
    """Yield maps (B,C,H,W) shifted to each of the eight neighbours at every dilation, borders replicated."""
    height, width = maps.shape[-2:]
    reach = max(dilations)
    padded = F.pad(maps, (reach, reach, reach, reach), mode="replicate")
    for dilation in dilations:
        for down in (-dilation, 0, dilation):
            for right in (-dilation, 0, dilation):
                if down or right:
                    top, left = reach + down, reach + right
                    yield padded[..., top : top + height, left : left + width]


def affinity(images: Tensor, dilations: tuple[int, ...] = DILATIONS) -> Tensor:
    """Weigh every neighbour by its likeness: (B,C,H,W) -> (B,K,H,W), K = 8 per dilation, summing to 1."""
    samples = torch.stack(list(neighbours(images, dilations)), dim=2)  # (B,C,K,H,W)
    # The reference counts the centre pixel once a dilation.
    centre = images.unsqueeze(2)
    deviation = torch.cat([samples, centre.expand(-1, -1, len(dilations), -1, -1)], dim=2).std(dim=2, keepdim=True)
    difference = (samples - centre).abs() / (1e-8 + DEVIATION_SHARE * deviation)
    return torch.softmax(-difference.mean(dim=1), dim=1)


def refine(
    images: Tensor,
    masks: Tensor,
    dilations: tuple[int, ...] = DILATIONS,
    num_iterations: int = NUM_ITERATIONS,
) -> Tensor:
    """Align soft masks (B,N,h,w) with the edges of images (B,3,H,W), at the resolution of the masks.

    Resizing is bilinear with aligned corners, unlike everywhere else: so the reference does.
    """
    images = F.interpolate(images, size=masks.shape[-2:], mode="bilinear", align_corners=True)
    weights = affinity(images, dilations)
    for _ in range(num_iterations):
        refined = torch.zeros_like(masks)
        # One neighbour at a time: all of them at once would need K copies of the masks.
        for index, shifted in enumerate(neighbours(masks, dilations)):
            refined += weights[:, index : index + 1] * shifted
        masks = refined
    return masks
