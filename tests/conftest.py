"""Fixtures for every test: the shipped bundle, and pictures made of nothing."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.segmenter import Segmenter


@pytest.fixture(scope="session")
def tiny() -> Bundle:
    return Bundle.open("tiny")


@pytest.fixture(scope="session")
def segmenter(tiny: Bundle):
    """A segmenter whose words no test changes, and whose masks are the network's own."""
    with Segmenter(tiny, classes="car, road|ground|asphalt", refine="none") as opened:
        yield opened


@pytest.fixture
def bundle_copy(tiny: Bundle, tmp_path: Path) -> Path:
    """A copy of the shipped bundle to be damaged."""
    return Path(shutil.copytree(tiny.path, tmp_path / "copy.tclb"))


@pytest.fixture
def picture() -> np.ndarray:
    """BGR (90,120,3) uint8: left half dark, right half bright."""
    image = np.full((90, 120, 3), 30, np.uint8)
    image[:, 60:] = (200, 220, 240)
    return image


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """One that never optimises, which is most of a build; the kernels of all other tests are optimised."""
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\nexec {os.environ.get("CXX", "c++")} "$@" -O0\n')
    script.chmod(0o755)
    return script
