"""The training loop: steps, phases, averages, validation, checkpoints; resumed exactly where it stopped."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tcl_core.data.batches import Part, Share
from tcl_core.data.phrases import noun_phrases
from tcl_core.data.samples import DataReport
from tcl_core.errors import ConfigError, TrainingError
from tcl_core.load.fingerprint import fingerprint
from tcl_core.load.hub import ENCODERS, tensors_below
from tcl_core.model import TCL
from tcl_core.train.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from tcl_core.train.gather import Gather
from tcl_core.train.losses import Temperatures
from tcl_core.train.objective import GumbelMasks, Objective, Summarizer, Term, backward
from tcl_core.train.pairing import Pairing, near_texts, pair
from tcl_core.train.recipe import TrainConfig
from tcl_core.train.schedule import optimizer_groups, set_phase
from tcl_core.train.validation import Validator

LAST, BEST = "last.safetensors", "best.safetensors"
# Settings that may change between a run and its continuation: they change speed or output, not the training.
FREE = {"output", "device", "tensorboard", "validation", "chunk", "recompute"}
FREE |= {"log_every", "validate_every", "save_every"}
FREE_DATA = {"num_workers", "part_size", "most_bad"}


@dataclass
class Clock:
    """Seconds spent in each stage of the loop."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class StepResult:
    """What a step reports.

    Attributes:
        step: finished steps.
        weighted: terms of the loss, weighted, by name.
        learning_rate: of this step.
        gradient_norm: before clipping.
        part: the last part of the batch.
    """

    step: int
    weighted: dict[str, float]
    learning_rate: float
    gradient_norm: float
    part: Part


def share_of(config: TrainConfig, gather: Gather) -> Share:
    """Share out the batch, before anything is loaded.

    Raises:
        ConfigError: it cannot be shared out evenly, or other settings do not go together.
    """
    data, losses = config.data, config.losses
    if losses.region and not data.phrases:
        raise ConfigError("losses.region is on and data.phrases is off: set data.phrases=true, or losses.region=0")
    if data.features and config.tensorboard:
        raise ConfigError(
            "data.features keeps no images that TensorBoard could show: set tensorboard=false, or data.features=''"
        )
    if data.features and losses.tcl_v and not data.reencode_size:
        raise ConfigError(
            "losses.tcl_v masks and encodes images again, and data.features keeps none: set data.reencode_size to "
            "their side in pixels, such as 224; or losses.tcl_v=0, or data.features=''"
        )
    return Share(data.batch_size, data.part_size, gather.rank, gather.world_size)


class Trainer:
    """A run: everything that training changes, and the steps that change it.

    Args:
        config: settings.
        model: moved to `device`; its grounder is trained.
        gather: the other processes.
        device: of the model.
    """

    def __init__(self, config: TrainConfig, model: TCL, gather: Gather, device: torch.device) -> None:
        self.config = config
        self.gather = gather
        self.device = device
        self.share = share_of(config, gather)
        self.model = model.to(device)
        self.temperatures = Temperatures(config.losses).to(device)
        self.summarizer = Summarizer(
            self.model,
            config.losses,
            chunk=config.chunk,
            recompute=config.recompute,
            autocast=config.autocast,
        )
        self.objective = Objective(config.losses, self.temperatures, config.area_prior, gather)
        self.learned = nn.ModuleDict({"grounder": self.model.grounder, "temperatures": self.temperatures})
        self.parameters = {name: p for name, p in self.learned.named_parameters() if p.requires_grad}
        settings = config.optimizer
        self.optimizer = torch.optim.AdamW(
            optimizer_groups(self.parameters.items(), settings.weight_decay, decay_scalars=settings.decay_scalars),
            betas=settings.betas,
            eps=settings.epsilon,
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.average = self._new_average()
        if self.average is not None:
            self.learned["average"] = self.average
        self.report = DataReport(config.data.most_bad)
        self.clock = Clock()
        self.step = 0
        self.best_iou = -1.0
        self._summarize: nn.Module | None = None  # as wrapped for the current phase
        self._blocks_train: bool | None = None
        self.encoders_sha256 = fingerprint([self.model.image_encoder, self.model.text_encoder])

    def _new_average(self) -> AveragedModel | None:
        decay = self.config.optimizer.ema
        if not decay:
            return None
        running_mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        return AveragedModel(self.model.grounder, multi_avg_fn=running_mean)

    @property
    def evaluated(self) -> TCL:
        """The model to evaluate: with averaged weights, if they are kept."""
        if self.average is None:
            return self.model
        model = self.model
        grounder: Any = self.average.module
        return TCL(model.image_encoder, model.text_encoder, grounder, model.preprocess).eval()

    def enter_phase(self, step: int) -> nn.Module:
        """Freeze or free the blocks for a step, and return what summarises images in that phase.

        DistributedDataParallel notes at its construction which parameters are trained, so a new phase is wrapped anew;
        otherwise the blocks' gradients would not be averaged over processes.
        """
        blocks_train = step >= self.config.blocks_from_step
        if self._summarize is None or blocks_train != self._blocks_train:
            set_phase(self.model.grounder, blocks_train)
            self._blocks_train = blocks_train
            self._summarize = None  # the old wrapper takes its hooks off when it goes
            alone = self.gather.world_size == 1 or not any(p.requires_grad for p in self.summarizer.parameters())
            self._summarize = (
                self.summarizer if alone else DistributedDataParallel(self.summarizer, broadcast_buffers=False)
            )
        return self._summarize

    def train_step(self, parts: list[Part]) -> StepResult:
        """Train on this process's share of a batch.

        Raises:
            TrainingError: a loss is not finite; the weights are as before the step.
        """
        config = self.config
        summarize = self.enter_phase(self.step)
        rate = config.optimizer.learning_rate.at(self.step, config.steps, config.data.batch_size)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.clock.measure("forward and backward"):
            weighted = {term.name: float(term.weighted) for term in self._backward(summarize, parts)}
        self._check_finite(weighted)
        with self.clock.measure("update"):
            self.scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.optimizer.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.average is not None:
                self.average.update_parameters(self.model.grounder)
        self.step += 1
        return StepResult(self.step, weighted, rate, float(norm), parts[-1])

    def _backward(self, summarize: nn.Module, parts: list[Part]) -> list[Term]:
        self.optimizer.zero_grad()
        captions = [caption for part in parts for caption in part.captions]
        texts, pairing = self._texts(captions)
        images = [part.images.to(self.device, non_blocking=True) for part in parts]
        sample = GumbelMasks(self.config.seed, self.step)
        return backward(summarize, self.objective, images, texts, sample, scale=self.scaler.scale, pairing=pairing)

    def _texts(self, captions: list[str]) -> tuple[Tensor, Pairing | None]:
        """Embed the captions of the run, or their phrases: (N,C), and who owns which phrase."""
        if not self.config.data.phrases:
            return self.gather.all(self._embed(captions)), None
        phrases, own, chosen = pair([noun_phrases(caption) for caption in self.gather.strings(captions)], self.step)
        texts = self._embed(phrases)
        near = near_texts(texts, self.config.data.near)
        return texts, Pairing(own.to(self.device), chosen.to(self.device), near)

    @torch.no_grad()
    def _embed(self, texts: list[str]) -> Tensor:
        tokens = self.model.text_encoder.tokenize(texts).to(self.device)
        return self.model.encode_text(tokens).float()

    def _check_finite(self, weighted: dict[str, float]) -> None:
        bad = [name for name, value in weighted.items() if not abs(value) < float("inf")]
        if bad:
            others = ", ".join(f"{name} {value:.4g}" for name, value in weighted.items() if name not in bad)
            raise TrainingError(
                f"step {self.step}: {', '.join(f'{name} is {weighted[name]}' for name in bad)} (others: "
                f"{others or 'none'}). The last checkpoint is intact. Lower optimizer.learning_rate.peak, or try "
                "precision=fp32."
            )

    def checkpoint(self) -> Checkpoint:
        """Gather what a continuation needs.

        Frozen encoders are not repeated, their hash is kept; except the toy's, which can be had nowhere else.
        """
        names = {parameter: name for name, parameter in self.parameters.items()}
        tensors = dict(self.learned.state_dict())
        tensors |= {f"optimizer.{k}": value for k, value in optimizer_tensors(self.optimizer, names).items()}
        if self.config.model.encoder == "toy":
            tensors |= {name: v for name, v in self.model.state_dict().items() if name.startswith(ENCODERS)}
        state = {
            "step": self.step,
            "best_iou": self.best_iou,
            "config": plain_config(self.config),
            "encoders_sha256": self.encoders_sha256,
            "scaler": self.scaler.state_dict(),
            "data": {
                "num_read": self.report.num_read,
                "counts": dict(self.report.counts),
                "first": self.report.first,
            },
        }
        return Checkpoint(tensors, state)

    def save(self, *names: str) -> None:
        """Write checkpoints of these names; only the first process writes.

        Raises:
            CheckpointError: it cannot be written.
        """
        if self.gather.rank == 0:
            checkpoint = self.checkpoint()
            for name in names:
                write_checkpoint(Path(self.config.output) / name, checkpoint)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ConfigError: there is none, or it belongs to another run.
            CheckpointError: it is damaged, or none.
        """
        checkpoint = read_checkpoint(path)
        state = checkpoint.state
        if state["encoders_sha256"] != self.encoders_sha256:
            raise ConfigError(f"{path} was trained on other encoders than model.* names: give those")
        refuse_other_settings(path, state, self.config)
        for name, module in self.learned.items():
            module.load_state_dict(tensors_below(checkpoint.tensors, f"{name}."))
        restore_optimizer(self.optimizer, self.parameters, tensors_below(checkpoint.tensors, "optimizer."))
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.best_iou = state["step"], state["best_iou"]
        self.report.num_read = state["data"]["num_read"]
        self.report.counts.update(state["data"]["counts"])
        self.report.first.update(state["data"]["first"])

    def run(
        self,
        parts: Iterator[Part],
        validator: Validator | None,
        on_step: Callable[[StepResult], None] = lambda result: None,
        on_validation: Callable[[int, float], None] = lambda step, iou: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the last step, or until asked to stop; in both cases the state is saved.

        Args:
            parts: this process's parts, from the current step on.
            validator: measures the masks from time to time, on the first process.
            on_step: called after every step.
            on_validation: called with the step and mIoU.
            stop: asked after every step.

        Raises:
            TrainingError: a loss is not finite.
            DataError: too many samples are bad.
            CheckpointError: a checkpoint cannot be written.
        """
        config = self.config
        while self.step < config.steps:
            with self.clock.measure("data"):
                batch = [next(parts) for _ in range(self.share.num_parts)]
            self.report.add(self.share.own, [problem for part in batch for problem in part.problems])
            on_step(self.train_step(batch))
            last = self.step == config.steps
            if validator and (last or self.step % config.validate_every == 0):
                self._validate(validator, on_validation)
            stopping = self.gather.any(stop())
            if last or stopping or self.step % config.save_every == 0:
                with self.clock.measure("checkpoints"):
                    self.save(LAST)
            if stopping:
                return

    def _validate(self, validator: Validator, on_validation: Callable[[int, float], None]) -> None:
        if self.gather.rank:
            return
        with self.clock.measure("validation"):
            iou = validator.mean_iou(self.evaluated)
        on_validation(self.step, iou)
        if iou > self.best_iou:
            self.best_iou = iou
            self.save(BEST)


def refuse_other_settings(path: Path, state: dict[str, Any], config: TrainConfig) -> None:
    """Compare settings with those of a checkpoint, but for those that do not change the training.

    Raises:
        ConfigError: some differ.
    """
    changed = _differences(_fixed(state["config"]), _fixed(plain_config(config)))
    if changed:
        raise ConfigError(
            f"{path} was trained with other settings: {'; '.join(changed)}. Set them back, or start in another output."
        )


def plain_config(config: TrainConfig) -> dict[str, Any]:
    """Turn settings into plain values, as they are stored."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


def _fixed(config: dict[str, Any]) -> dict[str, Any]:
    fixed = {name: value for name, value in config.items() if name not in FREE}
    fixed["data"] = {name: value for name, value in config["data"].items() if name not in FREE_DATA}
    return fixed


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name} was {old!r} and is {new!r}")
    return found


__all__ = ["BEST", "LAST", "StepResult", "Trainer", "plain_config", "refuse_other_settings", "share_of"]
