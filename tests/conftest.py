"""Fixtures for every test: the shipped bundle, and pictures made of nothing."""

import os
import resource
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.segmenter import Segmenter


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where the real parts were installed beforehand, a test that still finds one missing has failed."""
    report = yield
    if report.skipped and "TCL_EDGE_REAL_PARTS" in os.environ and "needs apt-get install" in str(report.longrepr):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session")
def tiny() -> Bundle:
    return Bundle.open("tiny")


@pytest.fixture(scope="session")
def segmenter(tiny: Bundle):
    """A segmenter whose words no test changes, and whose masks are the network's own."""
    with Segmenter(tiny, classes="car, road|ground|asphalt", refine="none") as opened:
        yield opened


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache for the tests of all processes: what one exports, the others need not trace again."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"


@pytest.fixture(scope="session")
def operators_read_once() -> Iterator[None]:
    """PyTorch's exporter parses its 500 operators before every graph, which takes as long as tracing a small one."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture
def files_no_longer_than() -> Callable[[int], AbstractContextManager[None]]:
    """No file of this process grows beyond so many bytes, which fails as a full disk does: in the middle of a write."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


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
    """One that never optimises, which is most of a build, nor writes for debuggers.

    The kernels of all other tests are optimised.
    """
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\nexec {os.environ.get("CXX", "c++")} "$@" -O0 -g0\n')
    script.chmod(0o755)
    return script
