"""Kernels beside Python's other threads. Oracle: whether another thread gets its turn while one kernel is called.

Python is told to take the interpreter from nobody: another thread runs only if the kernel gives it away.
"""

import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from runtime import _native

MASKS = np.random.default_rng(0).random((8, 40, 40), np.float32)
FRAME = np.zeros((1500, 1500, 3), np.uint8)
BLENDED = np.zeros_like(FRAME)
LABELS = np.zeros((1500, 1500), np.uint8)
COLOURS = np.zeros((8, 3), np.uint8)
PLANES = np.zeros((3, 1200, 1200), np.float32)
PICTURE = np.zeros((3, 40, 40), np.float32)

KERNELS = {
    "upsample": lambda: _native.upsample(masks=MASKS, labels=LABELS, path="reference"),
    "blend": lambda: _native.blend(FRAME, LABELS, COLOURS, BLENDED, alpha_256=128, skip=None),
    "pamr": lambda: _native.pamr(MASKS, PICTURE, dilations=[1, 2, 4], iterations=40, threads=1),
    "resize_normalize": lambda: _native.resize_normalize(
        FRAME, PLANES, bicubic=True, reverse_channels=True, scale=[1, 1, 1], shift=[0, 0, 0], threads=1
    ),
}


@pytest.fixture(autouse=True)
def nobody_is_interrupted() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def others_get_a_turn(work: Callable[[], object]) -> bool:
    go, ran = threading.Lock(), []
    go.acquire()

    def other() -> None:
        go.acquire()
        ran.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    go.release()  # which lets it wake, and wait for the interpreter
    work()
    turn = bool(ran)
    thread.join()
    return turn


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_others_go_on_while_a_kernel_works(kernel: Callable[[], object]) -> None:
    assert any(others_get_a_turn(kernel) for _ in range(50))  # the system, too, has to give it a turn


def test_what_keeps_the_interpreter_is_seen() -> None:
    """The oracle itself: a long computation of Python's own gives no turn."""
    assert not any(others_get_a_turn(lambda: sum(range(1_000_000))) for _ in range(5))
