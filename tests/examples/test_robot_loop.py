"""The robot's loop. Oracles: scenes drawn by hand, and a mirror; the whole of it on the shipped clip."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("robot_loop", ROOT / "examples/robot_loop.py")
assert _SPEC is not None
assert _SPEC.loader is not None
robot_loop = importlib.util.module_from_spec(_SPEC)
sys.modules["robot_loop"] = robot_loop
_SPEC.loader.exec_module(robot_loop)

FREE, WALL = 1, 2
EMPTY = np.full((60, 100), FREE, np.uint8)


def scene(*walls: tuple[int, int, int, int]) -> np.ndarray:
    """Free ground with walls: rows from, to, columns from, to."""
    mask = EMPTY.copy()
    for top, bottom, left, right in walls:
        mask[top:bottom, left:right] = WALL
    return mask


def test_clearance_is_counted_from_the_bottom() -> None:
    """Oracle: a loop over the pixels."""
    mask = np.random.default_rng(0).choice([FREE, FREE, FREE, WALL, 0], (20, 30))
    expected = []
    for column in mask.T:
        free = 0
        while free < 20 and column[19 - free] == FREE:
            free += 1
        expected.append(free / 20)
    assert robot_loop.clearance(mask, [FREE]) == pytest.approx(expected)
    assert (robot_loop.clearance(EMPTY, [FREE]) == 1).all()
    assert (robot_loop.clearance(EMPTY, [0, WALL]) == 0).all()


def test_it_drives_straight_on_where_all_is_free() -> None:
    command = robot_loop.velocity(EMPTY, [FREE], fastest_mps=0.5)
    assert command.forward_mps == pytest.approx(0.5)
    assert abs(command.turn_radps) < 0.02
    assert command.ahead == 1


def test_it_is_slower_the_nearer_something_is() -> None:
    speeds = [
        robot_loop.velocity(scene((0, bottom, 0, 100)), [FREE]).forward_mps for bottom in (10, 25, 40, 53, 55, 60)
    ]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[0] > 0.3
    assert speeds[-2:] == [0, 0]


@pytest.mark.parametrize(
    ("walls", "turn"),
    [
        ([(0, 50, 0, 60)], "right"),
        ([(0, 50, 40, 100)], "left"),
        ([(0, 58, 30, 70)], "none"),  # gaps on both sides, too narrow for it
        ([(0, 60, 0, 100)], "none"),
    ],
)
def test_it_turns_to_where_it_is_free(walls: list[tuple[int, int, int, int]], turn: str) -> None:
    command = robot_loop.velocity(scene(*walls), [FREE], width=0.4)
    mirrored = robot_loop.velocity(np.ascontiguousarray(scene(*walls)[:, ::-1]), [FREE], width=0.4)
    assert command.turn_radps == pytest.approx(-mirrored.turn_radps, abs=0.03)
    sign = {"right": -1, "left": 1, "none": 0}[turn]
    assert np.sign(command.turn_radps) == sign
    assert command.forward_mps == 0 or turn != "none"


def test_the_shipped_clip_is_driven() -> None:
    """The real model; what it sees is not judged here."""
    done = subprocess.run(
        [sys.executable, "examples/robot_loop.py", "--size", "64", "--frames", "11"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line.split(" s ")[0].strip() for line in lines] == ["0.00", "0.40", "0.80", "0.80"]
    assert "0.00 m/s" in lines[-1], "at its end it stands still"
