"""A toy model with random weights: everything that export needs, in milliseconds."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from export.stages import Stages, default_folder
from export.subject import Subject
from runtime.bundle import BackgroundSpec, TextSpec
from tcl_core import TCL, DenseEncoder, Grounder, Preprocess, TextEncoder

WORDS = ["person", "bicycle", "road", "sky", "red", "wall"]


class ToyImageEncoder(DenseEncoder):
    stride, dim, embed_dim = 8, 24, 16

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 12, 4, stride=4), nn.GELU(), nn.Conv2d(12, self.dim, 2, stride=2), nn.GELU()
        )
        self.head = nn.Conv2d(self.dim, self.embed_dim, 1)

    def features(self, images: Tensor) -> Tensor:
        return self.trunk(images)

    def project(self, features: Tensor) -> Tensor:
        return self.head(features)

    def embed(self, images: Tensor) -> Tensor:
        return self.project(self.features(images)).mean((2, 3))


class ToyTextEncoder(TextEncoder):
    embed_dim, context_length = 16, 8

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.table = nn.Embedding(tokenizer.get_vocab_size(), self.embed_dim)

    def tokenize(self, texts: list[str]) -> Tensor:
        self.tokenizer.enable_padding(pad_id=0)
        return torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(texts)])

    def forward(self, tokens: Tensor) -> Tensor:
        present = (tokens != 0)[..., None]
        return (self.table(tokens) * present).sum(1) / present.sum(1)


@pytest.fixture(scope="session", autouse=True)
def _read_once(operators_read_once: None) -> None:
    """Most tests here trace."""


@pytest.fixture(scope="session")
def stages(cache_home: Path) -> Stages:
    """Traces are kept from test to test: tracing is most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        return Stages(default_folder())


@pytest.fixture
def subject() -> Subject:
    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    preprocess = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=64, multiple_of=8)
    model = TCL(ToyImageEncoder(), ToyTextEncoder(tokenizer), Grounder(), preprocess)
    return Subject(
        name="toy",
        model=model.eval(),
        checkpoint_sha256="0" * 64,
        licence="Apache-2.0",
        model_card=b"# Toy\n",
        tokenizer=json.dumps(json.loads(tokenizer.to_str())).encode(),
        text=TextSpec(tokenizer="tokenizer.json", pad_id=0, unknown_id=1, context_length=8),
        background=BackgroundSpec(words=("wall",)),
        classes=("person", "bicycle", "road"),
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of pictures, for calibration."""
    folder = tmp_path / "photos"
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(8):
        small = chance.integers(0, 256, (9, 12, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (96, 64), interpolation=cv2.INTER_CUBIC))
    return folder
