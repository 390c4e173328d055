"""Recorded evaluations of the reference implementations, and the data that they were made on."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tcl_core import TCL

GOLDEN = Path(__file__).parents[2] / "golden"
EVAL = Path(os.environ.get("TCL_GOLDEN_EVAL", GOLDEN / "eval"))
"""Arrays of the evaluation; another set of the same names may take their place."""
HEADS = Path(os.environ.get("TCL_GOLDEN_HEADS", GOLDEN / "heads"))


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(EVAL / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def cases(recorded: dict[str, np.ndarray], name: str) -> list[str]:
    """Prefixes of the cases that have an array of that name, `case0` and so on."""
    return sorted(key.removesuffix(f"_{name}") for key in recorded if key.endswith(f"_{name}"))


@pytest.fixture(scope="session")
def eval_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All archives unpacked into one folder of data, which no test changes."""
    data = tmp_path_factory.mktemp("data")
    for archive in sorted((EVAL / "datasets").glob("*.tar")):
        with tarfile.open(archive) as tar:
            tar.extractall(data, filter="data")
    return data


@pytest.fixture(scope="session")
def recorded_model() -> TCL:
    """The small TCL that the arrays were recorded with, which lies beside them; no test changes it."""
    from tcl_core.towers.official import load_tcl

    beside = EVAL.parent / "tcl_small"
    folder = beside if beside.is_dir() else GOLDEN / "tcl_small"
    return load_tcl(folder / "clip_small_openai_layout.pth", folder / "tcl_official_small.pth")
