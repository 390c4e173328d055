"""The segmenter graph as a module: what tracing sees, and nothing else. Exporting never changes the model."""

from torch import Tensor, nn

from tcl_core import TCL


class SegmenterGraph(nn.Module):
    """image (B,3,H,W) float32 normalised, text (N,C) unit rows -> masks (B,N,h,w) in [0, 1]."""

    def __init__(self, model: TCL) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Segment."""
        return self.model.masks(image, text)
