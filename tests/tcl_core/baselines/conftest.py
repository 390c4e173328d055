"""Recorded arrays of the systems that are compared with, and where they lie."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[2] / "golden"
EVAL = Path(os.environ.get("TCL_GOLDEN_EVAL", GOLDEN / "eval"))


@pytest.fixture(scope="session")
def eval_dir() -> Path:
    """Folder of recorded evaluations: `TCL_GOLDEN_EVAL`, or the copy here."""
    return EVAL


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], dict[str, Tensor]]:
    """All arrays of a file, by name."""

    def read(name: str) -> dict[str, Tensor]:
        with np.load(EVAL / name) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    return read


@pytest.fixture(scope="session")
def small_clip_file() -> Path:
    """The CLIP that MaskCLIP was recorded on: beside the recordings, or the copy here."""
    beside = EVAL.parent / "tcl_small" / "clip_small_openai_layout.pth"
    return beside if beside.is_file() else GOLDEN / "tcl_small" / beside.name


@pytest.fixture(scope="session")
def wordy_clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP with random weights that knows all words, in OpenAI's layout."""
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(
            embed_dim=16,
            vision_cfg={"layers": 2, "width": 64, "patch_size": 16, "image_size": 32},
            text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
            quick_gelu=True,
        )
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def wordy_resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a ResNet."""
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = open_clip.CLIP(
            embed_dim=16,
            vision_cfg={"layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "image_size": 64},
            text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
            quick_gelu=True,
        )
    path = tmp_path_factory.mktemp("clip") / "resnet.pt"
    torch.save(model.state_dict(), path)
    return path
