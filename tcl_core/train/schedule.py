"""What is trained when, and how fast: learning rate by step, the two phases, which parameters decay."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from tcl_core.grounder import Grounder


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up, then a cosine down to a floor (paper, section 4.1).

    The two rates are meant for batches of `reference_batch` images and are multiplied by batch / reference_batch.
    `batch` is that of the whole run, so the number of processes plays no part.

    Attributes:
        peak: at the end of the warm-up, for the reference batch.
        floor: at the last step, for the reference batch.
        reference_batch: images; 0 takes the rates as they are.
        warmup_steps: steps from warmup_factor * peak to peak.
        warmup_factor: see `warmup_steps`.
        restart: step from which the rate falls from the peak once more, over the steps that are left (a warm restart,
            Loshchilov and Hutter, ICLR 2017); until then nothing changes. A step within the warm-up restarts nothing.
    """

    peak: float = 3e-4
    floor: float = 4e-5
    reference_batch: int = 4096
    warmup_steps: int = 15_000
    warmup_factor: float = 1e-4
    restart: int = 0

    def at(self, step: int, steps: int, batch: int) -> float:
        """Compute the learning rate of a step.

        Args:
            step: from 0.
            steps: of the whole training.
            batch: images a step, all processes together.
        """
        scale = batch / self.reference_batch if self.reference_batch else 1.0
        if step < self.warmup_steps:
            share = step / self.warmup_steps
            return scale * self.peak * (self.warmup_factor + (1 - self.warmup_factor) * share)
        first = self.restart if self.warmup_steps < self.restart <= step else self.warmup_steps
        share = (step - first) / max(steps - first, 1)
        return scale * (self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * min(share, 1.0))) / 2)


def set_phase(grounder: Grounder, blocks_train: bool) -> None:
    """Freeze or free the copied blocks; the paper trains the decoder alone first (30,000 of 50,000 steps)."""
    for parameter in grounder.blocks.parameters():
        parameter.requires_grad_(blocks_train)


def optimizer_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float, *, decay_scalars: bool = False
) -> list[dict[str, object]]:
    """Sort parameters into those that decay and those that do not.

    Matrices and kernels decay; biases, norms and scalars (gates, mask scale and bias, temperatures) do not.

    Args:
        parameters: named.
        weight_decay: of the first group.
        decay_scalars: decay 0-d parameters too. The published training did, which pulls gates shut and the scale of
            the masks to 0; its weights need it to be reproduced.
    """
    decaying: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in parameters:
        decays = parameter.ndim >= 2 or (decay_scalars and parameter.ndim == 0)
        (decaying if decays and not name.endswith(".bias") else exempt).append(parameter)
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]


__all__ = ["LearningRate", "optimizer_groups", "set_phase"]
