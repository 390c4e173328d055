"""A model from its settings: towers by name, and a grounder."""

from dataclasses import dataclass
from typing import Literal

import torch

from tcl_core.encoder import Preprocess
from tcl_core.errors import ConfigError
from tcl_core.grounder import GatedDecoder, Grounder, grounder_for
from tcl_core.model import TCL
from tcl_core.tiny.file import load_tiny
from tcl_core.tiny.skip_decoder import SkipDecoder
from tcl_core.tiny.towers import TinyImageEncoder

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


def build_model(config: ModelConfig, seed: int) -> TCL:
    """Build what is to be trained, on the CPU, in evaluation mode.

    The encoders stay in evaluation mode while training too: their normalisation statistics are frozen like they are.

    Raises:
        ConfigError: settings that contradict each other.
        ValueError: unknown names, or weights that do not fit.
    """
    if config.encoder == "toy":
        from tcl_core.train.toy import build_toy

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


__all__ = ["ModelConfig", "build_model"]
