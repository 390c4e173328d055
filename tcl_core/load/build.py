"""A model from its settings: towers by name, and a grounder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from tcl_core.encoder import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from tcl_core.errors import ConfigError
from tcl_core.grounder import GatedDecoder, Grounder, grounder_for
from tcl_core.load.choice import ModelChoice
from tcl_core.load.toy import untrained_toy
from tcl_core.model import TCL
from tcl_core.tiny.file import load_tiny
from tcl_core.tiny.skip_decoder import SkipDecoder
from tcl_core.tiny.towers import TinyImageEncoder


@dataclass(frozen=True)
class ModelConfig:
    """What is trained on what.

    Attributes:
        encoder: "clip" (see `ModelChoice`), "tiny" (the shipped model), or "toy" (made on the spot for synthetic
            scenes).
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
        tokenizer: directory of the tokenizer, for CLIPs whose tokenizer is not part of open_clip (SigLIP).
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
    tokenizer: str | None = None

    @property
    def choice(self) -> ModelChoice:
        """The CLIP that is meant, as every command chooses one: with `tcl`, which is what is trained.

        Raises:
            ConfigError: parts that contradict each other.
        """
        start, tokenizer = (None if path is None else Path(path) for path in (self.start, self.tokenizer))
        return ModelChoice(self.clip, self.pretrained, start, "tcl", tokenizer)


def build_model(config: ModelConfig, seed: int) -> TCL:
    """Build towers with the grounder that training starts from, on the CPU, in evaluation mode.

    The toy's towers are random here: their weights come from the directory that training wrote, or from
    `tcl_core.train.toy`.

    Args:
        config: settings.
        seed: of what is drawn at random.

    Raises:
        ConfigError: settings that contradict each other.
        ValueError: unknown names, or weights that do not fit.
    """
    return with_grounder(config, load_towers(config, seed), seed)


def load_towers(config: ModelConfig, seed: int) -> TCL:
    """Load both towers, with whatever grounder comes with them.

    Raises:
        ConfigError, ValueError: as `build_model`.
    """
    if config.encoder == "toy":
        return untrained_toy(seed)
    if config.encoder == "tiny":
        return load_tiny(config.tiny)
    from tcl_core.load.published import load_published  # open_clip takes seconds to import

    if config.start and config.num_blocks != 1:
        raise ConfigError("model.num_blocks with model.start: the checkpoint says how many blocks its grounder owns")
    if not config.clip:
        raise ConfigError("model.clip is empty: expected a file with CLIP's weights, or a name such as ViT-B-16")
    model = load_published(config.choice)
    return model if config.num_blocks == 1 else _with_late_blocks(config, model)


def with_grounder(config: ModelConfig, model: TCL, seed: int) -> TCL:
    """Put the grounder of the settings onto towers: the one of `start`, or an untrained one.

    Encoders stay in evaluation mode while training too: their normalisation statistics are frozen like they are.
    """
    grounder = model.grounder if config.start else _untrained_grounder(config, model, seed)
    preprocess = model.preprocess
    if config.normalisation == "imagenet":
        preprocess = Preprocess(IMAGENET_MEAN, IMAGENET_STD, preprocess.size, preprocess.multiple_of)
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


__all__ = ["ModelConfig", "build_model", "load_towers", "with_grounder"]
