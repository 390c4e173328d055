"""The settings of a training run, and the model they describe."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field

from tcl_core.data.augment import Augmentation
from tcl_core.data.pairs import STRICT, SourceConfig
from tcl_core.encoder import Preprocess
from tcl_core.errors import ConfigError
from tcl_core.grounder import GatedDecoder, Grounder, grounder_for
from tcl_core.model import TCL
from tcl_core.tiny.skip_decoder import SkipDecoder
from tcl_core.tiny.towers import TinyImageEncoder, load_tiny
from tcl_core.train.losses import AreaPrior, LossWeights
from tcl_core.train.schedule import LearningRate

# TCL trained with these although its CLIP was trained with others.
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class ModelConfig:
    """What is trained on what.

    Attributes:
        encoder: "clip" (see `load_clip`), "tiny" (the shipped model), or "toy" (made on the spot for synthetic scenes).
        clip: file, open_clip name or hf-hub:OWNER/NAME.
        pretrained: weights for a name.
        start: official TCL checkpoint to go on from; none begins with an untrained grounder.
        num_blocks: of a vision transformer that the grounder copies, from its end; 1 in the paper.
        decoder: give the grounder its decoder.
        num_stages: of the decoder; each doubles the resolution of the masks. `tiny` has its own decoder.
        width: of tiny's decoder.
        tiny: file of the aligned model to start from; none is the packaged one.
        normalisation: "encoder" normalises images as the encoder was trained, "imagenet" as the published TCL was.
        toy_steps: of the toy's pretraining.
    """

    encoder: Literal["clip", "tiny", "toy"] = "clip"
    clip: str = ""
    pretrained: str | None = None
    start: str | None = None
    num_blocks: int = 1
    decoder: bool = True
    num_stages: int = 2
    width: int = 160
    tiny: str | None = None
    normalisation: Literal["encoder", "imagenet"] = "encoder"
    toy_steps: int = 400


@dataclass(frozen=True)
class DataConfig:
    """What is read, and how it is shared out.

    Attributes:
        sources: read one after the other as one data set, shuffled together.
        image_size: side in pixels.
        batch_size: images a step, all processes together.
        part_size: images that run through the model at once. If a process's share of the batch is larger, gradients
            are accumulated over parts, with all negatives of the batch.
        augmentation: see `build_augmentation`.
        num_workers: processes that read ahead, for each training process.
        most_bad: share of bad samples that is borne.
        window: samples shuffled among each other, see `Order`.
        phrases: cut captions into noun phrases, each a text of its own.
        near: phrases whose texts have a higher cosine are no negatives of each other.
        features: directory for the frozen encoder's features of every sample, computed once by the first process
            where all others find it too; the augmentation is then drawn once as well. "" computes them for every step.
        reencode_size: side in pixels of the pictures that are kept beside `features`, for TCL_v, which encodes them
            anew with a mask; 0 keeps none. Without `features`, masked images are encoded in `image_size`.
        rephrase: share of the phrases that are called by another name, see `tcl_core.data.thesaurus`.
        wordnet: directory of WordNet 3.0, for other names.
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
    reencode_size: int = Field(0, ge=0)
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
    """Pictures with masks: `images/`, `masks/` and `classes.txt`, see `tcl_core.evaluate.benchmarks.open_folder`."""

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
        chunk: texts whose masks exist at the same time; none for all.
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


def build_model(config: ModelConfig, seed: int) -> TCL:
    """Build what is to be trained, on the CPU, in evaluation mode.

    The encoders stay in evaluation mode while training too: their normalisation statistics are frozen like they are.

    Raises:
        ConfigError: settings that contradict each other.
        ValueError: unknown names, or weights that do not fit.
    """
    if config.encoder == "toy":
        from tcl_core.load.toy import build_toy

        model = build_toy(steps=config.toy_steps, seed=seed)
    elif config.encoder == "tiny":
        model = load_tiny(config.tiny)
    else:
        from tcl_core.towers.official import load_tcl

        if config.start and config.num_blocks != 1:
            raise ConfigError(
                "model.num_blocks with model.start: the checkpoint says how many blocks its grounder owns"
            )
        if not config.clip:
            raise ConfigError("model.clip is empty: expected a file with CLIP's weights, or a name such as ViT-B-16")
        model = load_tcl(config.clip, config.start, pretrained=config.pretrained)
        if config.num_blocks != 1:
            model = _with_late_blocks(config, model)
    grounder = model.grounder if config.start else _untrained_grounder(config, model, seed)
    preprocess = model.preprocess
    if config.normalisation == "imagenet":
        mean, std = IMAGENET_STATISTICS
        preprocess = Preprocess(mean, std, preprocess.size, preprocess.multiple_of)
    return TCL(model.image_encoder, model.text_encoder, grounder, preprocess).eval()


def _with_late_blocks(config: ModelConfig, model: TCL) -> TCL:
    from tcl_core.towers.vit import ViTEncoder

    if not isinstance(model.image_encoder, ViTEncoder):
        raise ConfigError(
            f"model.num_blocks is {config.num_blocks} and {config.clip} is no vision transformer: leave 1"
        )
    encoder = model.image_encoder.with_late_blocks(config.num_blocks)
    return TCL(encoder, model.text_encoder, model.grounder, model.preprocess)


def _untrained_grounder(config: ModelConfig, model: TCL, seed: int) -> Grounder:
    encoder = model.image_encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(encoder, TinyImageEncoder) and config.decoder:
            skips = SkipDecoder(encoder.stages, config.width)
            return Grounder(decoder=skips, similarity_to_mask=model.grounder.similarity_to_mask)
        made = grounder_for(encoder, 0)
        decoder = GatedDecoder(encoder.dim, config.num_stages) if config.decoder else None
    # The shipped model's scale and bias are calibrated; the others' are the paper's initial ones.
    return Grounder(made.blocks, decoder, made.projection, model.grounder.similarity_to_mask)


__all__ = ["DataConfig", "ModelConfig", "OptimizerConfig", "TrainConfig", "build_model"]
