"""open_clip models by name, from a file or from a hub, taken apart into our encoders."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder
from tcl_core.errors import WeightsError
from tcl_core.towers.attention import block_from_open_clip, block_from_timm
from tcl_core.towers.clip_text import ClipTextEncoder, ForeignTextEncoder, linear_from
from tcl_core.towers.heads import LAST_BLOCK_RULES, LastBlockRule
from tcl_core.towers.names import HUB_SCHEMES
from tcl_core.towers.resnet import ResNetEncoder
from tcl_core.towers.trunk import TrunkEncoder
from tcl_core.towers.vit import ClassTokenReadout, LatentReadout, MeanReadout, PatchStem, Readout, ViTEncoder
from tcl_core.towers.weights_file import load_strictly, read_weights_file, tensors_of

# Dense prediction wants more cells than classification; 448 is the reference's window.
DENSE_SIZE = 448
# State dicts inside OpenAI's archives say this about themselves; others do not have these names.
OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True, eq=False)
class ClipModel:
    """An open_clip model and what is needed beside its weights.

    Attributes:
        name: for messages.
        model: `open_clip.CLIP` or `CustomTextCLIP`.
        tokenizer: open_clip's.
        mean: of pixel values in [0, 1].
        std: of pixel values in [0, 1].
        quick_gelu: whether its transformers use QuickGELU, as OpenAI's weights need.
    """

    name: str
    model: Any
    tokenizer: Any
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    quick_gelu: bool


def architecture(name: str) -> dict[str, Any]:
    """Look up the configuration of a built-in open_clip model.

    Raises:
        ValueError: no model of that name; the nearest names are told.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=4, cutoff=0.4)
        raise ValueError(
            f"no model {name!r}: expected an open_clip name, a file of weights or hf-hub:OWNER/NAME. "
            f"Nearest names: {', '.join(near) or 'none'}."
        )
    return dict(config)


def random_clip(name: str, tokenizer: Any = None) -> ClipModel:
    """Build a model of open_clip with random weights.

    Args:
        name: open_clip name.
        tokenizer: the model's, where it is not part of open_clip and should not be downloaded.

    Raises:
        ValueError: no model of that name.
    """
    config = architecture(name)
    model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    if tokenizer is None:
        tokenizer = _downloaded(lambda: open_clip.get_tokenizer(name), f"the tokenizer of {name}")
    return _described(name, model, tokenizer, bool(config.get("quick_gelu", False)))


def named_clip(name: str, pretrained: str | None, tokenizer: Any = None) -> ClipModel:
    """Build a model of open_clip and load weights.

    Args:
        name: open_clip name, or `hf-hub:OWNER/NAME` or `local-dir:PATH`, which bring their weights.
        pretrained: tag that open_clip knows for the name, or a file of weights.
        tokenizer: the model's, where it is not part of open_clip and should not be downloaded.

    Raises:
        ValueError: no such name, or no weights were named for it.
        WeightsError: they cannot be had, do not fit, or were trained with another activation than the model has.
    """
    if name.startswith(HUB_SCHEMES):
        return _hub_clip(name)
    config = architecture(name)
    quick_gelu = bool(config.get("quick_gelu", False))
    tags = open_clip.list_pretrained_tags_by_model(name)
    known = ", ".join(tags) or "(open_clip knows none)"
    if pretrained is None:
        raise ValueError(f"which weights for {name}? Name a file (pretrained), or one of: {known}.")
    if pretrained in tags:
        tag = open_clip.get_pretrained_cfg(name, pretrained)
        _check_activation(name, quick_gelu, bool(tag.get("quick_gelu", False)), f"the weights {pretrained!r}")
        path = _downloaded(lambda: open_clip.download_pretrained(tag), f"{name} {pretrained}")
    elif Path(pretrained).is_file():
        tag, path = {}, pretrained
    else:
        raise ValueError(f"no weights {pretrained!r} for {name}: expected a file, or one of: {known}.")
    clip = random_clip(name, tokenizer)
    load_clip_weights(clip, path)
    return ClipModel(
        name,
        clip.model,
        clip.tokenizer,
        mean=tuple(tag.get("mean", clip.mean)),
        std=tuple(tag.get("std", clip.std)),
        quick_gelu=quick_gelu,
    )


def _hub_clip(name: str) -> ClipModel:
    def build() -> Any:
        return open_clip.create_model(name, load_weights=False, pretrained_text=False)

    scheme, identifier = name.split(":", 1)
    model = _downloaded(build, name)
    if scheme == "local-dir":
        found = sorted(Path(identifier).glob("*.safetensors")) + sorted(Path(identifier).glob("*.bin"))
        if not found:
            raise WeightsError(
                f"no .safetensors or .bin in {identifier}: expected the weights beside open_clip_config.json"
            )
        path = str(found[0])
    else:
        path = _downloaded(lambda: open_clip.download_pretrained_from_hf(identifier), name)
    tokenizer = _downloaded(lambda: open_clip.get_tokenizer(name), name)
    activations = {type(module).__name__ for module in model.modules()}
    clip = _described(name, model, tokenizer, "QuickGELU" in activations)
    load_clip_weights(clip, path)
    return clip


def _downloaded(download: Any, what: str) -> Any:
    try:
        return download()
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{what} could not be had ({type(error).__name__}: {error}). Check the name and the network, or "
            "download the file yourself and name it."
        ) from error


def _described(name: str, model: Any, tokenizer: Any, quick_gelu: bool) -> ClipModel:
    settings = model.visual.preprocess_cfg
    return ClipModel(name, model.eval(), tokenizer, tuple(settings["mean"]), tuple(settings["std"]), quick_gelu)


def _check_activation(name: str, has_quick: bool, needs_quick: bool, what: str) -> None:
    if has_quick == needs_quick:
        return
    words = {True: "QuickGELU", False: "GELU"}
    other = name + "-quickgelu" if needs_quick else name.removesuffix("-quickgelu")
    advice = f" Take {other}." if other in open_clip.list_models() else ""
    raise WeightsError(
        f"{what} were trained with {words[needs_quick]} and {name} has {words[has_quick]}: "
        f"its masks would be worse without a sign.{advice}"
    )


def load_clip_weights(clip: ClipModel, path: str | Path) -> None:
    """Load a file of weights into a model of open_clip; every name and shape must fit.

    Raises:
        WeightsError: they do not, or come from OpenAI and need QuickGELU that the model does not have.
    """
    if Path(path).suffix == ".npz":  # big_vision's SigLIP: plain arrays, read without pickle
        open_clip.convert.load_big_vision_weights(clip.model, str(path))
        return
    state = tensors_of(read_weights_file(path), str(path))
    if all(name in state for name in OPENAI_MARKS):
        _check_activation(clip.name, clip.quick_gelu, True, f"OpenAI's weights in {path}")
    load_strictly(clip.model, _translated(state, clip.model), str(path))


def _translated(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Rename what older and other writers name differently, as open_clip itself does when it loads."""
    state = {name: value for name, value in state.items() if name not in OPENAI_MARKS}
    state = open_clip.convert.convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    expected = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in expected and name in state:
            state[name] = state[name].reshape(expected[name].shape)
    if "text.transformer.embeddings.position_ids" not in expected:
        state.pop("text.transformer.embeddings.position_ids", None)
    return state


def openai_layout_clip(state: dict[str, Tensor], name: str) -> ClipModel:
    """Build the model that a state dict in OpenAI's layout describes by its shapes.

    Heads are 64 wide and the activation is QuickGELU, as in all of OpenAI's models; neither leaves a trace in shapes.

    Raises:
        WeightsError: another layout, or names or shapes that contradict each other.
    """
    try:
        config = _openai_config(state)
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"{name} is no CLIP in OpenAI's layout (no {error}); name its open_clip architecture and give "
            "the file as its weights (pretrained)"
        ) from error
    model = open_clip.CLIP(**config, quick_gelu=True)
    load_strictly(model, {key: value for key, value in state.items() if key not in OPENAI_MARKS}, name)
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return ClipModel(name, model.eval(), tokenizer, tuple(mean), tuple(std), quick_gelu=True)


def _openai_config(state: dict[str, Tensor]) -> dict[str, Any]:
    text_width = state["ln_final.weight"].shape[0]
    context_length, vocabulary_size = state["positional_embedding"].shape[0], state["token_embedding.weight"].shape[0]
    text = {
        "context_length": context_length,
        "vocab_size": vocabulary_size,
        "width": text_width,
        "heads": max(text_width // 64, 1),
        "layers": _count(state, "transformer.resblocks."),
    }
    return {"embed_dim": state["text_projection"].shape[1], "vision_cfg": _vision_config(state), "text_cfg": text}


def _vision_config(state: dict[str, Tensor]) -> dict[str, Any]:
    if "visual.proj" in state:
        width, _, patch_size, _ = state["visual.conv1.weight"].shape
        grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
        layers = _count(state, "visual.transformer.resblocks.")
        return {"layers": layers, "width": width, "patch_size": patch_size, "image_size": grid * patch_size}
    grid = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    return {
        "layers": [_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "width": state["visual.layer1.0.conv1.weight"].shape[0],
        "patch_size": None,
        "image_size": grid * 32,
    }


def _count(state: dict[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def image_encoder_from(clip: ClipModel, head: str = "maskclip") -> DenseEncoder:
    """Make a dense encoder of the image tower.

    Args:
        clip: its tower is taken over, not copied.
        head: rule of the last block, see `tcl_core.towers.heads`; only `maskclip` is for towers other than ViT.

    Raises:
        ValueError: a tower that is not supported, or a rule that it cannot follow.
    """
    if head not in LAST_BLOCK_RULES:
        raise ValueError(f"no head {head!r}: expected tcl or one of {', '.join(LAST_BLOCK_RULES)}")
    tower, rule = clip.model.visual, LAST_BLOCK_RULES[head]
    if isinstance(tower, open_clip.transformer.VisionTransformer):
        return _open_clip_vit(tower, rule)
    is_timm = isinstance(tower, open_clip.timm_model.TimmModel)
    if is_timm and type(tower.trunk).__name__ == "VisionTransformer":
        return _timm_vit(tower, rule)
    if rule is not None:
        raise ValueError(f"head {head} is a rule for attention and {clip.name} is no vision transformer: take maskclip")
    if isinstance(tower, open_clip.modified_resnet.ModifiedResNet):
        return ResNetEncoder(tower)
    if is_timm:
        return TrunkEncoder(tower.trunk, tower.head, image_size=int(tower.image_size[0])).eval()
    raise ValueError(
        f"{clip.name} has an image tower {type(tower).__name__}: expected a ViT, CLIP ResNet or timm model"
    )


def _open_clip_vit(tower: Any, rule: LastBlockRule | None) -> ViTEncoder:
    if tower.attn_pool is not None or tower.pool_type not in ("tok", "avg"):
        raise ValueError(f"a ViT that pools by {tower.pool_type!r} or attention (CoCa): expected a class token or mean")
    position = tower.positional_embedding
    grid_position = position[1:].T.reshape(1, -1, *tower.grid_size)
    prefix = (tower.class_embedding + position[0]).reshape(1, 1, -1)
    stem = PatchStem(tower.conv1, grid_position, prefix, tower.ln_pre, tower.patch_size[0])
    projection = linear_from(tower.proj)
    readout: Readout
    if tower.pool_type == "tok":
        readout = ClassTokenReadout(tower.ln_post, projection, tower.output_dim)
    else:
        before, after = (nn.Identity(), tower.ln_post) if tower.final_ln_after_pool else (tower.ln_post, nn.Identity())
        readout = MeanReadout(before, after, projection, tower.output_dim, num_prefix=1)
    blocks = [block_from_open_clip(block) for block in tower.transformer.resblocks]
    return ViTEncoder(stem, blocks, readout, rule)


def _timm_vit(tower: Any, rule: LastBlockRule | None) -> ViTEncoder:
    trunk, patch_embed = tower.trunk, tower.trunk.patch_embed
    norm = getattr(patch_embed, "norm", nn.Identity())
    if trunk.pos_embed is None or trunk.reg_token is not None or not isinstance(norm, nn.Identity):
        raise ValueError("a timm ViT with relative positions, registers or normalised patches is not supported")
    num_prefix, num_positions = trunk.num_prefix_tokens, 0 if trunk.no_embed_class else trunk.num_prefix_tokens
    grid_position = trunk.pos_embed[:, num_positions:].transpose(1, 2).unflatten(2, patch_embed.grid_size)
    prefix = trunk.pos_embed.new_zeros(1, num_prefix, trunk.embed_dim)
    if num_prefix:
        prefix = trunk.cls_token + (trunk.pos_embed[:, :num_positions] if num_positions else 0)
    stride = tower.image_size[0] // patch_embed.grid_size[0]
    patchify = patch_embed.proj
    if hasattr(patch_embed, "backbone"):  # MobileCLIP-B: convolutions first
        patchify = nn.Sequential(patch_embed.backbone, patch_embed.proj)
    stem = PatchStem(patchify, grid_position, prefix, trunk.norm_pre, stride)
    blocks = [block_from_timm(block) for block in trunk.blocks]
    return ViTEncoder(stem, blocks, _timm_readout(tower), rule)


def _timm_readout(tower: Any) -> Readout:
    trunk = tower.trunk
    projection = nn.Sequential(trunk.fc_norm, trunk.head, tower.head)
    with torch.no_grad():
        embed_dim = projection(torch.zeros(1, trunk.embed_dim)).shape[1]
    if trunk.attn_pool is not None:
        return LatentReadout(trunk.norm, trunk.attn_pool, projection, embed_dim)
    if trunk.global_pool == "token":
        return ClassTokenReadout(trunk.norm, projection, embed_dim)
    if trunk.global_pool == "avg":
        linear = nn.Sequential(trunk.head, tower.head)
        return MeanReadout(trunk.norm, trunk.fc_norm, linear, embed_dim, trunk.num_prefix_tokens)
    raise ValueError(f"a timm ViT that pools by {trunk.global_pool!r}: expected map, token or avg")


def text_encoder_from(clip: ClipModel) -> TextEncoder:
    """Make a text encoder of the text tower, which is taken over, not copied."""
    tower = getattr(clip.model, "text", clip.model)
    if hasattr(tower, "token_embedding"):
        return ClipTextEncoder(tower, clip.tokenizer)
    return ForeignTextEncoder(clip.model, clip.tokenizer, int(tower.output_dim))


def preprocess_of(clip: ClipModel, encoder: DenseEncoder) -> Preprocess:
    """Tell how images enter the encoder: its own statistics, at a size for dense prediction."""
    image_size = clip.model.visual.image_size  # a number in ResNets, a pair elsewhere
    native = int(image_size if isinstance(image_size, int) else image_size[0])
    size = max(native, DENSE_SIZE)
    return Preprocess(clip.mean, clip.std, size=-(-size // encoder.stride) * encoder.stride, multiple_of=encoder.stride)
