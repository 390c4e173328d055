"""Where the time of a frame goes: stages in milliseconds, percentiles, frames per second."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np

STAGES = ("decode", "pre", "infer", "post", "overlay", "write", "end to end")
PERCENTILES = (50, 90, 99)

WARM_UP = 3
"""Frames left out of the figures: they pay for memory that later ones reuse."""


@dataclass
class Latency:
    """Collect the stage times of every frame.

    Args:
        log: receives one JSON line a frame, if given.
    """

    log: TextIO | None = None
    frames: list[dict[str, float]] = field(default_factory=list)

    def add(self, stages_ms: Mapping[str, float]) -> None:
        """Record one frame: milliseconds a stage. Memory grows by some 100 bytes a frame."""
        frame = {stage: stages_ms.get(stage, 0.0) for stage in STAGES}
        if self.log is not None:
            rounded = {stage: round(value, 3) for stage, value in frame.items()}
            self.log.write(json.dumps({"frame": len(self.frames), **rounded}) + "\n")
        self.frames.append(frame)

    @property
    def measured(self) -> list[dict[str, float]]:
        """The frames after the warm-up, or all of them if there are no more."""
        return self.frames[WARM_UP:] or self.frames

    def percentiles(self) -> dict[str, tuple[float, ...]]:
        """Percentiles 50, 90 and 99 of each stage in milliseconds.

        Raises:
            ValueError: no frame was recorded.
        """
        if not self.frames:
            raise ValueError("no frame was recorded")
        return {
            stage: tuple(map(float, np.percentile([frame[stage] for frame in self.measured], PERCENTILES)))
            for stage in STAGES
        }

    @property
    def fps(self) -> float:
        """Frames per second while busy: frames divided by the sum of their end-to-end times."""
        return 1000 / float(np.mean([frame["end to end"] for frame in self.measured]))
