"""The settings of a training run, and the model they describe."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field

from tcl_core.config import STRICT
from tcl_core.data.augment import Augmentation
from tcl_core.data.sources import SourceConfig
from tcl_core.load.build import ModelConfig
from tcl_core.train.losses import AreaPrior, LossWeights
from tcl_core.train.schedule import LearningRate


@dataclass(frozen=True)
class DataConfig:
    """What is read, and how it is shared out.

    Attributes:
        sources: read one after the other as one data set, shuffled together.
        image_size: side in pixels.
        batch_size: images a step, all processes together.
        part_size: images that run through the model at once, at most. If a process's share of the batch is larger,
            gradients are accumulated over parts, with all negatives of the batch.
        augmentation: see `build_augmentation`.
        num_workers: processes that read ahead, for each training process.
        most_bad: largest share of bad samples that is tolerated.
        window: how many samples are shuffled together, see `Order`.
        phrases: cut captions into noun phrases, each a text of its own.
        near: phrases whose texts have a higher cosine are no negatives of each other.
        features: directory for the frozen encoder's features of every sample, which the first process computes once
            and every process can read; the augmentation is then drawn once as well. "" computes them for every step.
        reencode_size: side in pixels of the pictures that are kept beside `features` for TCL_v, which masks and
            encodes them again; 0 keeps none. Without `features`, masked images are encoded at `image_size`.
        rephrase: share of the phrases that are replaced by another name, see `tcl_core.data.thesaurus`.
        wordnet: directory of WordNet 3.0, for `rephrase`.
    """

    sources: list[SourceConfig] = field(default_factory=list)
    image_size: int = 224
    batch_size: int = 1024
    part_size: int = 64
    augmentation: Augmentation = "recipe"
    num_workers: int = 6
    most_bad: float = 0.01
    window: int = 100_000
    phrases: bool = False
    near: float = 0.75
    features: str = ""
    reencode_size: Annotated[int, Field(ge=0)] = 0
    rephrase: float = 0.0
    wordnet: str = "/usr/share/wordnet"


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW.

    Attributes:
        weight_decay: of matrices and kernels.
        decay_scalars: also of gates, mask scale and bias, and temperatures, as the published training did.
        clip_norm: longest gradient, all parameters together.
        ema: decay of a running mean of the weights, which is then evaluated and exported; 0 keeps none.
    """

    learning_rate: LearningRate = field(default_factory=LearningRate)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-6
    weight_decay: float = 0.05
    decay_scalars: bool = False
    clip_norm: float = 5.0
    ema: float = 0.0


@dataclass(frozen=True)
class FolderValidation:
    """Pictures with masks: `images/`, `masks/` and `classes.txt`, see `tcl_core.evaluate.folder.open_folder`."""

    __pydantic_config__ = STRICT
    kind: Literal["folder"]
    path: str
    split: str | None = None
    without: list[str] = field(default_factory=list)
    count: int | None = None
    words: Literal["all", "present"] = "all"
    background_threshold: float = 0.5


@dataclass(frozen=True)
class ScenesValidation:
    """Synthetic scenes."""

    __pydantic_config__ = STRICT
    kind: Literal["scenes"]
    count: int = 64
    first: int = 900_000
    words: Literal["all", "present"] = "present"
    background_threshold: float = 0.5


ValidationConfig = Annotated[FolderValidation | ScenesValidation, Field(discriminator="kind")]


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run.

    Attributes:
        output: directory of checkpoints, logs and the exported model.
        seed: of initial weights, order, augmentation and mask noise.
        steps: of the whole training.
        blocks_from_step: from here on the grounder's copied blocks train too; before, decoder and projection alone.
        chunk: texts whose masks exist at the same time; null for all.
        recompute: compute activations again for the gradient instead of keeping them.
        precision: of the model; losses are always computed in float32.
        device: "auto" takes a GPU if there is one.
        tensorboard: write scalars and pictures of masks.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    output: str
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    area_prior: AreaPrior = field(default_factory=AreaPrior)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig | None = None
    seed: int = 0
    steps: int = 50_000
    blocks_from_step: int = 30_000
    chunk: int | None = None
    recompute: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: int = 50
    validate_every: int = 5000
    save_every: int = 1000
    tensorboard: bool = True

    @property
    def autocast(self) -> torch.dtype | None:
        """Precision for torch.autocast."""
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


__all__ = ["DataConfig", "OptimizerConfig", "TrainConfig"]
