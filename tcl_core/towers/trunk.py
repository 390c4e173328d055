"""Convolutional timm trunks as dense encoders: EfficientNet-Lite, ConvNeXt, FastViT (MobileCLIP) and their like."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from tcl_core.encoder import DenseEncoder, check_multiple


class TrunkHead(nn.Module):
    """The trunk's own pooling, norm and classifier, then open_clip's projection: (B,D,h,w) -> (B,C)."""

    trunk_head: Any

    def __init__(self, trunk: Any, projection: nn.Module) -> None:
        super().__init__()
        self.trunk_head = _head_of(trunk)
        self.projection = projection

    def forward(self, features: Tensor) -> Tensor:
        """Read whole maps."""
        read: Tensor = self.projection(self.trunk_head(features))
        return read


class CellHead(nn.Module):
    """The head on every cell, as if it were a map of its own: (B,D,h,w) -> (B,C,h,w).

    For a head that averages and then is linear, the mean of the cells is what the head says of the map.
    """

    def __init__(self, head: TrunkHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """Read every cell."""
        batch, dim, height, width = features.shape
        cells = features.permute(0, 2, 3, 1).reshape(-1, dim, 1, 1)
        read: Tensor = self.head(cells)
        return read.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def _head_of(trunk: Any) -> nn.Module:
    if hasattr(trunk, "classifier"):  # EfficientNet; MobileNetV3 convolves once more after pooling
        names = ("global_pool", "conv_head", "norm_head", "act2", "flatten", "classifier")
        late = hasattr(trunk, "norm_head")
        return nn.Sequential(*(getattr(trunk, name) for name in (names if late else ("global_pool", "classifier"))))
    head: nn.Module = getattr(trunk, "head", nn.Identity())
    return head


class TrunkEncoder(DenseEncoder):
    """A convolutional timm trunk and the projection that open_clip puts on it.

    Args:
        trunk: timm model with `forward_features`: (B,3,H,W) -> (B,D,h,w).
        projection: what follows the trunk's own head: (B,E) -> (B,C).
        image_size: side in pixels of a test image, from which D, C and the stride are read.

    Raises:
        ValueError: the trunk gives no map, or pools it in a way that is not known here.
    """

    trunk: Any

    def __init__(self, trunk: Any, projection: nn.Module, image_size: int = 224) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = TrunkHead(trunk, projection)
        self.cells = CellHead(self.head)
        self.dim, self.embed_dim, self.stride = self._measure(image_size)

    def features(self, images: Tensor) -> Tensor:
        """Compute the trunk's last map: (B,3,H,W), sides multiples of the stride -> (B,D,h,w)."""
        check_multiple(images, self.stride)
        features: Tensor = self.trunk.forward_features(images)
        return features

    def project(self, features: Tensor) -> Tensor:
        """Map features into the joint space, cell by cell: (B,D,h,w) -> (B,C,h,w), not normalised."""
        embeddings: Tensor = self.cells(features)
        return embeddings

    def embed(self, images: Tensor) -> Tensor:
        """Embed whole images by the trunk's pooling: (B,3,H,W) -> (B,C), not normalised."""
        embeddings: Tensor = self.head(self.features(images))
        return embeddings

    def last_layers(self) -> tuple[nn.Module, nn.Module | None]:
        """Copy the projection; a convolutional trunk has no last block that could be trained apart."""
        return nn.Identity(), deepcopy(self.cells)

    def _measure(self, image_size: int) -> tuple[int, int, int]:
        was_training = self.training
        self.eval()  # batch statistics of a test image must not enter the weights
        with torch.inference_mode():
            features = self.trunk.forward_features(torch.zeros(1, 3, image_size, image_size))
            if features.ndim != 4 or getattr(self.trunk, "output_fmt", "NCHW") != "NCHW":
                raise ValueError(
                    f"timm trunk {type(self.trunk).__name__} gives features of shape {tuple(features.shape)}: "
                    "expected a map (B,D,h,w)"
                )
            embeddings = self.head(features)
            expected = self.head.projection(self.trunk.forward_head(features))
        if embeddings.shape != expected.shape or not torch.allclose(embeddings, expected):
            raise ValueError(
                f"timm trunk {type(self.trunk).__name__}: its pooling was not found; expected a convolutional trunk "
                "such as EfficientNet, MobileNetV3, ConvNeXt or FastViT"
            )
        self.train(was_training)
        return features.shape[1], embeddings.shape[1], image_size // features.shape[-1]
