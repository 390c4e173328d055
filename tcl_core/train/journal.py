"""Reports of a run: a progress bar, `metrics.jsonl`, TensorBoard."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn
from torch import Tensor

from tcl_core.commands import counting
from tcl_core.errors import ConfigError
from tcl_core.train.recipe import TrainConfig
from tcl_core.train.trainer import StepResult, Trainer
from tcl_core.train.validation import mask_pictures


@dataclass
class Journal:
    """Reports a run in a progress bar, `metrics.jsonl` and TensorBoard. Only the first process has one."""

    config: TrainConfig
    trainer: Trainer
    progress: Progress
    task: Any
    writer: Any

    def step(self, result: StepResult) -> None:
        """Report a step."""
        total = sum(result.weighted.values())
        self.progress.update(self.task, completed=result.step, loss=f"loss {total:.3f}")
        if result.step % self.config.log_every and result.step != self.config.steps:
            return
        values = {"loss": total, **result.weighted, "learning_rate": result.learning_rate}
        self._write(result.step, values | {"gradient_norm": result.gradient_norm})
        if self.writer:
            images = result.part.images
            assert isinstance(images, Tensor)  # stored features are refused with TensorBoard
            pictures = mask_pictures(
                self.trainer.evaluated, images[:4].to(self.trainer.device), result.part.captions[:4]
            )
            self.writer.add_images("masks of captions", pictures, result.step)

    def validation(self, step: int, iou: float) -> None:
        """Report a validation."""
        self.progress.console.print(f"step {step}: mIoU {iou:.1%}", markup=False)
        self._write(step, {"miou": iou})

    def _write(self, step: int, values: dict[str, float]) -> None:
        with (Path(self.config.output) / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)


@contextlib.contextmanager
def journal(config: TrainConfig, trainer: Trainer, console: Console) -> Iterator[Journal | None]:
    """Open the journal of the first process; the others have none."""
    if trainer.gather.rank:
        yield None
        return
    writer = _tensorboard(Path(config.output) / "tensorboard", trainer.step) if config.tensorboard else None
    with counting(TextColumn("{task.fields[loss]}"), shown_on=console, transient=False) as progress:
        task = progress.add_task("train", total=config.steps, completed=trainer.step, loss="")
        yield Journal(config, trainer, progress, task, writer)
    if writer:
        writer.close()


def _tensorboard(directory: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "TensorBoard is not installed: pip install -e '.[train]' in the checkout, or set tensorboard=false"
        ) from error
    # Hides what a killed run wrote after the checkpoint.
    return SummaryWriter(str(directory), purge_step=step)
