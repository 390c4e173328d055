"""A model from published weights: any CLIP, with a training-free head, an untrained grounder, or the official one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch

from tcl_core.errors import ConfigError
from tcl_core.grounder import GatedConvolution
from tcl_core.load.choice import RANDOM, ModelChoice, check_name
from tcl_core.model import TCL
from tcl_core.towers.names import HUB_SCHEMES
from tcl_core.towers.official import ImportReport, load_clip, tcl_from_clip
from tcl_core.towers.open_clip import ClipModel, named_clip, random_clip


def load_published(choice: ModelChoice, *, on_report: Callable[[ImportReport], None] | None = None) -> TCL:
    """Build a model on a CLIP from elsewhere, on the CPU, in evaluation mode, in float32.

    Args:
        choice: of the kind `clip`.
        on_report: called with what became of every tensor of the checkpoint.

    Raises:
        ConfigError, ValueError: no such name or tokenizer, or no weights were named for it.
        WeightsError: weights that cannot be had, are damaged, unsafe, or do not fit.
    """
    model = tcl_from_clip(_clip(choice), choice.checkpoint, choice.chosen_head, on_report=on_report)
    if choice.pretrained == RANDOM:
        _open_gates(model)
    return model


def _clip(choice: ModelChoice) -> ClipModel:
    name = choice.model
    tokenizer = None if choice.tokenizer is None else named_tokenizer(choice.tokenizer, name)
    if Path(name).is_file() and tokenizer is None:
        return load_clip(name, choice.pretrained)
    if not name.startswith(HUB_SCHEMES):
        check_name("model", name, ["tiny", *open_clip.list_models()])
    if choice.pretrained == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return random_clip(name, tokenizer)
    return load_clip(name, choice.pretrained) if tokenizer is None else named_clip(name, choice.pretrained, tokenizer)


def named_tokenizer(path: Path, name: str) -> Any:
    """Open a Hugging Face tokenizer from a directory, with the cleaning that open_clip's model asks for.

    Raises:
        ConfigError: no tokenizer there, or the model has CLIP's own.
    """
    directory = path.parent if path.name == "tokenizer.json" else path
    missing = [file for file in ("tokenizer.json", "tokenizer_config.json") if not (directory / file).is_file()]
    if missing:
        raise ConfigError(
            f"no {' and no '.join(missing)} in {directory}: expected a directory with both, as the model's page on the "
            "Hugging Face hub has them (a sentencepiece .model alone does not say which token pads)"
        )
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    if not text.get("hf_tokenizer_name"):
        raise ConfigError(f"{name} has CLIP's own tokenizer: leave --tokenizer out")
    return open_clip.tokenizer.HFTokenizer(
        str(directory), context_length=text.get("context_length", 77), **text.get("tokenizer_kwargs", {})
    )


def _open_gates(model: TCL) -> None:
    """Let an untrained decoder take part, with random weights: closed gates would hide what it computes."""
    for module in model.modules():
        if isinstance(module, GatedConvolution):
            torch.nn.init.constant_(module.gate, 0.5)


__all__ = ["load_published", "named_tokenizer"]
