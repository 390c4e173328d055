"""The segmenter graph as a module: what tracing sees, and nothing else. Exporting never changes the model."""

import torch
from torch import Tensor, nn

from tcl_core import TCL


class SegmenterGraph(nn.Module):
    """image (B,3,H,W) float32 normalised, text (N,C) unit rows -> masks (B,N,h,w) in [0, 1].

    Args:
        model: with its head.
        kp_weight: in [0, 1], share of the frozen encoder's own masks ("known prior"), 0.3 in the paper.
    """

    def __init__(self, model: TCL, kp_weight: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.kp_weight = kp_weight

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Segment."""
        return self.model.masks(image, text, kp_weight=self.kp_weight)


class FoldedGraph(nn.Module):
    """The same with the words inside: image (B,3,H,W) -> masks (B,N,h,w), for targets that need a constant graph.

    Args:
        graph: takes image and text.
        text: unit rows (N,C).
    """

    text: Tensor

    def __init__(self, graph: SegmenterGraph, text: Tensor) -> None:
        super().__init__()
        self.segmenter = graph  # not "graph": torch.fx has a property of that name
        self.register_buffer("text", text)

    def forward(self, image: Tensor) -> Tensor:
        """Segment."""
        masks: Tensor = self.segmenter(image, self.text)
        return masks


def mask_stride(model: TCL) -> int:
    """Input pixels per cell of the soft masks: the encoder's stride, less what the decoder upsamples."""
    step = model.preprocess.multiple_of
    with torch.inference_mode():
        device = next(model.parameters()).device
        dense = model.dense_embeddings(torch.zeros(1, 3, step, step, device=device))
    return int(step // dense.shape[-1])
