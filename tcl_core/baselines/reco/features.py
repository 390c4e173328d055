"""ReCo's own encoder, DeiT-S/16 trained on stylised ImageNet, and how pictures of the archive enter."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tcl_core.errors import WeightsError
from tcl_core.towers.attention import block_from_timm
from tcl_core.towers.vit import PatchStem, map_of
from tcl_core.towers.weights_file import load_strictly, read_weights_file, tensors_of

HEAD_WIDTH = 64
"""Of every DeiT; leaves no trace in the shapes of weights."""
BLOCK = re.compile(r"blocks\.(\d+)\.")


class PatchFeatures(nn.Module):
    """A plain vision transformer whose patches are kept, after the final norm.

    Args:
        trunk: timm's, with absolute positions; its modules are taken over.

    Attributes:
        stride: pixels a cell.
        dim: D.
    """

    def __init__(self, trunk: VisionTransformer) -> None:
        super().__init__()
        count = trunk.num_prefix_tokens
        position = trunk.pos_embed
        assert isinstance(position, Tensor)
        tokens = [trunk.cls_token, *([trunk.dist_token] if isinstance(trunk, VisionTransformerDistilled) else [])]
        prefix = torch.cat([token for token in tokens if token is not None], dim=1) + position[:, :count]
        patches = trunk.patch_embed
        grid = position[:, count:].transpose(1, 2).reshape(1, trunk.embed_dim, *patches.grid_size)
        self.stride: int = patches.patch_size[0]
        self.dim: int = trunk.embed_dim
        self.stem = PatchStem(patches.proj, grid, prefix, trunk.norm_pre, self.stride)
        self.blocks = nn.ModuleList(block_from_timm(block) for block in trunk.blocks)
        self.norm = trunk.norm

    def forward(self, images: Tensor) -> Tensor:
        """Encode: (B,3,H,W), sides multiples of the stride -> (B,D,h,w)."""
        tokens, grid = self.stem(images)
        for block in self.blocks:
            tokens = block(tokens)
        return map_of(self.norm(tokens), self.stem.num_prefix, grid)


def load_deit(path: str | Path) -> PatchFeatures:
    """Load a DeiT or ViT in timm's names, of any size, with or without a distillation token.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: damaged, unsafe, or another network.
    """
    state = tensors_of(read_weights_file(path), str(path))
    trunk = _trunk_of(state, str(path))
    load_strictly(trunk, state, str(path))
    return PatchFeatures(trunk).eval()


def _trunk_of(state: Mapping[str, Tensor], path: str) -> VisionTransformer:
    names = ("patch_embed.proj.weight", "pos_embed", "cls_token", "norm.weight", "blocks.0.attn.qkv.weight")
    missing = [name for name in names if name not in state]
    if missing:
        raise WeightsError(
            f"{path} is no DeiT (no {missing[0]}): expected the encoder of ReCo, DeiT-S/16 trained on stylised "
            "ImageNet, with timm's names"
        )
    dim, _, patch, _ = state["patch_embed.proj.weight"].shape
    is_distilled = "dist_token" in state
    positions = state["pos_embed"].shape[1] - 1 - is_distilled
    kind = VisionTransformerDistilled if is_distilled else VisionTransformer
    return kind(
        img_size=round(positions**0.5) * patch,
        patch_size=patch,
        embed_dim=dim,
        depth=len({match[1] for name in state if (match := BLOCK.match(name))}),
        num_heads=max(dim // HEAD_WIDTH, 1),
        num_classes=len(state["head.weight"]) if "head.weight" in state else 0,
    )


def centre_crop(picture: Image.Image, side: int, resample: Image.Resampling = Image.Resampling.BILINEAR) -> Image.Image:
    """Resize so that the short side has a length, and cut a square out of the middle."""
    width, height = picture.size
    scale = side / min(width, height)
    size = (max(int(width * scale), side), max(int(height * scale), side))
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return picture.resize(size, resample).crop((left, top, left + side, top + side))


def to_pixels(picture: Image.Image, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """Normalise a picture: RGB -> float (3,H,W)."""
    pixels = torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32)).permute(2, 0, 1) / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


__all__ = ["PatchFeatures", "centre_crop", "load_deit", "to_pixels"]
