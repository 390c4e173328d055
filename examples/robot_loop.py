"""A robot's loop: mask -> free space ahead -> velocity.

    python examples/robot_loop.py                                     the shipped clip, a line for every fifth frame
    python examples/robot_loop.py 0 --free "floor|carpet" --other "chair, table, person, wall"

Was run on the shipped clip and on test pictures, **on no robot**. What is missing for one: the geometry of its camera
(here "near" means low in the picture), and whatever stops it when this program does not. The velocity is printed; put
your robot's call into `drive`.
"""

import argparse
from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from runtime import Segmenter
from runtime.sources.open import open_source

PATIENCE_S = 0.3
"""Without a new picture for so long the robot stands still: what it saw is no longer what is there."""


@dataclass(frozen=True)
class Velocity:
    """What a base drives by, as ROS counts: x forward, turning left positive.

    Attributes:
        forward_mps: metres per second.
        turn_radps: radians per second.
        ahead: how far the way straight ahead is free, as a share of the picture's height.
    """

    forward_mps: float
    turn_radps: float
    ahead: float = 0.0


STANDSTILL = Velocity(0.0, 0.0)


def clearance(mask: npt.NDArray[np.integer], free: Collection[int]) -> npt.NDArray[np.float32]:
    """Tell of every column how far it is free from the bottom up, without a gap: shares of the height, (W,) float32.

    Args:
        mask: class index of every pixel (H,W).
        free: indices that can be driven on.
    """
    blocked = ~np.isin(mask[::-1], list(free))
    rows = np.where(blocked.any(axis=0), blocked.argmax(axis=0), len(mask))
    return (rows / len(mask)).astype(np.float32)


def velocity(
    mask: npt.NDArray[np.integer],
    free: Collection[int],
    *,
    width: float = 0.3,
    stop: float = 0.1,
    fastest_mps: float = 0.5,
    turn_radps: float = 0.8,
) -> Velocity:
    """Drive where a way as wide as the robot is free farthest, the slower the nearer something is.

    Args:
        mask: class index of every pixel (H,W), the camera looking ahead.
        free: indices that can be driven on.
        width: of the robot, as a share of the picture's width.
        stop: with less than this free ahead it does not move forward, only turns.
        fastest_mps: where everything ahead is free.
        turn_radps: where the way is at the picture's edge.
    """
    columns = clearance(mask, free)
    window = max(round(width * len(columns)), 1)
    # The least within the robot's width; beyond the picture's edges nothing is known, so nothing is free.
    padded = np.pad(columns, window, constant_values=0)
    ways = cv2.erode(padded[None], np.ones((1, window), np.uint8))[0, window:-window]
    ahead = float(ways[len(ways) // 2])
    if ways.max() < stop:
        return Velocity(0.0, 0.0, ahead)
    side = np.linspace(-1, 1, len(ways))
    best = side[np.argmax(ways - 0.1 * np.abs(side))]  # straight on, unless it is worth a turn
    forward = fastest_mps * (ahead - stop) / (1 - stop) if ahead >= stop else 0.0
    return Velocity(float(forward), float(-turn_radps * best), ahead)


def drive(time_s: float, command: Velocity) -> None:
    """Print a velocity; a robot takes it here."""
    bar = "#" * round(30 * command.ahead)
    print(f"{time_s:6.2f} s  {command.forward_mps:5.2f} m/s  {command.turn_radps:+5.2f} rad/s  |{bar:<30}|")


def main() -> None:
    """Drive by what a source shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="test://cars")
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--free", default="road|ground|asphalt", help="one class: what can be driven on")
    parser.add_argument("--other", default="car", help="classes that are in the way")
    parser.add_argument("--size", type=int, help="of the network, in pixels")
    parser.add_argument("--every", type=int, default=5, help="frames between two lines")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many; 0: at the end")
    options = parser.parse_args()
    words = [options.free, *options.other.split(",")]
    with (
        # Without a background every pixel is one of the words: whatever may be in the way has to be named.
        Segmenter(
            options.bundle, words, background=None, size=options.size, refine="edge", provider="auto"
        ) as segmenter,
        open_source(options.source) as source,
    ):
        free = [segmenter.names.index(options.free.split("|")[0].split(":")[0].strip())]
        time_s, result = 0.0, None
        for number, frame in enumerate(source.frames(PATIENCE_S)):
            if frame is None:  # the camera sends nothing
                drive(time_s, STANDSTILL)
                continue
            result = segmenter(frame.image, reuse=result)
            time_s = frame.time_s
            command = velocity(result.mask, free)
            if number % options.every == 0:  # a robot takes every one
                drive(time_s, command)
            if number + 1 == options.frames:
                break
    drive(time_s, STANDSTILL)


if __name__ == "__main__":
    main()
