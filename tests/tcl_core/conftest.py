"""Recorded numbers of the reference implementation, and the model that must meet them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tcl_core import TCL

GOLDEN = Path(__file__).parents[1] / "golden" / "tcl_small"


def _arrays(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / name) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind in "fi"}


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the recorded weights and arrays."""
    return GOLDEN


@pytest.fixture(scope="session")
def golden() -> Mapping[str, Tensor]:
    """Inputs and outputs of kakaobrain/tcl."""
    return _arrays("io.npz")


@pytest.fixture(scope="session")
def golden_heads() -> Mapping[str, Tensor]:
    """Inputs and outputs of the training-free heads."""
    return _arrays("heads.npz")


@pytest.fixture(scope="session")
def golden_model() -> TCL:
    """The recorded TCL on the recorded CLIP; no test changes it."""
    from tcl_core.towers.official import load_tcl

    return load_tcl(GOLDEN / "clip_small_openai_layout.pth", GOLDEN / "tcl_official_small.pth")


@pytest.fixture(scope="session")
def golden_maskclip() -> TCL:
    """MaskCLIP on the recorded CLIP; no test changes it."""
    from tcl_core.towers.official import load_tcl

    return load_tcl(GOLDEN / "clip_small_openai_layout.pth", head="maskclip")
