"""A CLIP in miniature for synthetic scenes: made in seconds, for trying out training and for tests."""

import re
from copy import deepcopy

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional as F

from tcl_core.data.scenes import PHRASES
from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder, check_multiple
from tcl_core.grounder import Grounder
from tcl_core.model import TCL
from tcl_core.towers.attention import Cellwise

DIM = 32
EMBED_DIM = 32
IMAGE_SIZE = 48
STRIDE = 8
PAD_ID = 0
WORDS = tuple(dict.fromkeys(word for phrase in PHRASES for word in phrase.split()))
PREPROCESS = Preprocess((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), IMAGE_SIZE, multiple_of=STRIDE)


class _ResidualBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, dim)
        self.conv = nn.Conv2d(dim, dim, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = x + self.conv(F.gelu(self.norm(x)))
        return refined


class _CellBlock(nn.Module):
    """The last block: a residual MLP over (...,D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, cells: Tensor) -> Tensor:
        refined: Tensor = cells + self.mlp(self.norm(cells))
        return refined


class ToyImageEncoder(DenseEncoder):
    """Convolutions to an eighth of the resolution, a block of cells, a mean, a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stride, self.dim, self.embed_dim = STRIDE, DIM, EMBED_DIM
        self.stem = nn.Sequential(
            nn.Conv2d(3, DIM, kernel_size=6, stride=4, padding=1),
            nn.GELU(),
            nn.Conv2d(DIM, DIM, kernel_size=3, stride=2, padding=1),
            _ResidualBlock(DIM),
            _ResidualBlock(DIM),
        )
        self.last_block = _CellBlock(DIM)
        self.readout = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, EMBED_DIM, bias=False))

    def features(self, images: Tensor) -> Tensor:
        """Compute the map before the last block: (B,3,H,W), sides multiples of 8 -> (B,D,H/8,W/8)."""
        check_multiple(images, self.stride)
        features: Tensor = self.stem(images)
        return features

    def project(self, features: Tensor) -> Tensor:
        """Map features into the joint space, cell by cell: (B,D,h,w) -> (B,C,h,w), not normalised."""
        cells = self.last_block(features.permute(0, 2, 3, 1))
        embeddings: Tensor = self.readout(cells)
        return embeddings.permute(0, 3, 1, 2)

    def embed(self, images: Tensor) -> Tensor:
        """Embed whole images: the mean of the last block's cells, read out; (B,3,H,W) -> (B,C)."""
        cells = self.last_block(self.features(images).permute(0, 2, 3, 1))
        embeddings: Tensor = self.readout(cells.mean(dim=(1, 2)))
        return embeddings

    def last_layers(self) -> tuple[nn.Module, nn.Module | None]:
        """Copy the last block and the readout."""
        return Cellwise(deepcopy(self.last_block)), Cellwise(deepcopy(self.readout))


def toy_tokenizer() -> Tokenizer:
    """Cut texts into names such as "red circle", a token each from 1 on; all other words are passed over."""
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": PAD_ID, **{phrase: 1 + k for k, phrase in enumerate(PHRASES)}}))
    tokenizer.normalizer = normalizers.Lowercase()
    name = Regex(rf"\b(?:{'|'.join(map(re.escape, PHRASES))})\b")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(name, behavior="removed", invert=True)
    return tokenizer


class ToyTextEncoder(TextEncoder):
    """Names of coloured shapes, up to four a text; all other words are passed over. Token 0 is padding."""

    colours: Tensor
    shapes: Tensor
    context_length = 4

    def __init__(self) -> None:
        super().__init__()
        self.embed_dim = EMBED_DIM
        self.tokenizer = toy_tokenizer()
        self.words = nn.Embedding(len(WORDS) + 1, DIM, padding_idx=0)
        self.pair = nn.Sequential(nn.Linear(2 * DIM, 2 * DIM), nn.GELU(), nn.Linear(2 * DIM, EMBED_DIM))
        for part, which in (("colours", 0), ("shapes", 1)):  # rows of `words`; row 0 is padding
            rows = [0, *(1 + WORDS.index(phrase.split()[which]) for phrase in PHRASES)]
            self.register_buffer(part, torch.tensor(rows), persistent=False)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Turn N texts into int64 tokens (N,4).

        Raises:
            ValueError: a text names no colour with its shape.
        """
        length = self.context_length
        rows = [encoding.ids[:length] for encoding in self.tokenizer.encode_batch(texts)]
        bad = [text for text, row in zip(texts, rows, strict=True) if not row]
        if bad:
            raise ValueError(f"texts without a colour and a shape: {', '.join(map(repr, bad))}; try 'a red circle'")
        return torch.tensor([row + [PAD_ID] * (length - len(row)) for row in rows], dtype=torch.int64)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed int64 tokens (N,4) as float (N,C): the mean over the names."""
        pairs = torch.cat([self.words(self.colours[tokens]), self.words(self.shapes[tokens])], dim=2)  # (N,4,2*D)
        named = (tokens != PAD_ID)[..., None]
        embeddings: Tensor = (self.pair(pairs) * named).sum(dim=1) / named.sum(dim=1)
        return embeddings


def untrained_toy(seed: int = 0) -> TCL:
    """Make both towers with random weights, in evaluation mode, and a grounder that adds nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TCL(ToyImageEncoder(), ToyTextEncoder(), Grounder(), PREPROCESS).eval()


__all__ = ["ToyImageEncoder", "ToyTextEncoder", "toy_tokenizer", "untrained_toy"]
