"""Kernels beside Python's other threads. Oracle: what another thread does while one kernel is called once."""

import threading
from collections.abc import Callable
from time import perf_counter, sleep

import numpy as np
import pytest

from runtime.kernels.antialias import resize_antialiased
from runtime.kernels.pamr import pamr
from runtime.kernels.upsample import upsample_argmax

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kernel", [], ids=[])
def test_others_go_on_while_a_kernel_works(kernel: Callable[[], object]) -> None:
    """A single call of a tenth of a second and more, in which they would not get a turn if it kept the interpreter."""
