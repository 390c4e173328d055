"""What training wrote, read: a directory in the layout of the Hugging Face hub, with config.json and model.safetensors.

The frozen encoders are not repeated in it where they can be had elsewhere: config.json names them, with a hash of their
weights. The toy's cannot, so they lie beside the grounder.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tcl_core.errors import CheckpointError, ConfigError
from tcl_core.load.build import ModelConfig, build_model
from tcl_core.load.choice import TRAINED_CONFIG, TRAINED_WEIGHTS
from tcl_core.load.fingerprint import fingerprint
from tcl_core.model import TCL

ENCODERS = ("image_encoder.", "text_encoder.")  # beginnings of names in model.safetensors; the rest is the grounder's
MODEL_TYPE = "tcl-edge"
FORMAT_VERSION = 1


def import_model(directory: Path, *, clip: str | None = None) -> TCL:
    """Build a model from such a directory.

    Args:
        directory: with config.json and model.safetensors.
        clip: where the frozen CLIP is on this machine, if not where it was trained.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ConfigError, ValueError: there is no such directory, or its encoders cannot be had, see `build_model`.
        CheckpointError: a file is missing or damaged, or the encoders are not those it was trained on.
    """
    described = _read_config(directory / TRAINED_CONFIG)
    config = read_model_config(directory)
    weights = _read_weights(directory / TRAINED_WEIGHTS, described.get("weights_sha256"))
    if clip is not None:
        config = TypeAdapter(ModelConfig).validate_python({**asdict(config), "clip": clip})
    model = build_model(config, described["seed"])
    try:
        for prefix in ENCODERS:
            if encoder := tensors_below(weights, prefix):
                model.get_submodule(prefix.rstrip(".")).load_state_dict(encoder)
        model.grounder.load_state_dict({k: v for k, v in weights.items() if not k.startswith(ENCODERS)})
    except RuntimeError as error:
        raise CheckpointError(f"{directory / TRAINED_WEIGHTS} does not fit its {TRAINED_CONFIG}: {error}") from error
    if fingerprint([model.image_encoder, model.text_encoder]) != described["encoders_sha256"]:
        raise CheckpointError(f"{directory} was trained on other encoders than {config.clip or config.encoder} has")
    return model


def tensors_below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors whose names begin with a prefix, which is dropped."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def import_mean(directories: Sequence[Path]) -> TCL:
    """Build the model whose grounder is the mean of several trainings' (model soups, Wortsman et al., 2022).

    Weights can be averaged where trainings began at the same point, so that they are of the same seed.

    Args:
        directories: one or more, as `import_model` takes them.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ConfigError: the trainings are of different models or seeds.
        CheckpointError: what `import_model` raises.
    """
    models = [import_model(directory) for directory in directories]
    first, *others = directories
    for other in others:
        for name in ("model", "seed", "encoders_sha256"):
            one, two = (_read_config(directory / TRAINED_CONFIG).get(name) for directory in (first, other))
            if one != two:
                raise ConfigError(
                    f"{first} and {other} cannot be averaged, their {name} differs ({one} and {two}): expected "
                    "trainings of one model that began with the same random numbers"
                )
    states = [model.grounder.state_dict() for model in models]
    models[0].grounder.load_state_dict({name: sum(state[name] for state in states) / len(states) for name in states[0]})
    return models[0]


def read_model_config(directory: Path) -> ModelConfig:
    """Read what such a directory says about its model.

    Raises:
        ConfigError: there is no such directory.
        CheckpointError: its config.json describes no model.
    """
    try:
        config: ModelConfig = TypeAdapter(ModelConfig).validate_python(
            _read_config(directory / TRAINED_CONFIG)["model"]
        )
    except (KeyError, ValidationError) as error:
        raise CheckpointError(f"{directory / TRAINED_CONFIG} does not describe a model: {error}") from error
    return config


def _read_weights(path: Path, recorded: str | None) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        weights = load(data)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}") from error
    if recorded is not None and hashlib.sha256(data).hexdigest() != recorded:
        raise CheckpointError(
            f"{path} is not the one that {TRAINED_CONFIG} beside it was written with: write both again with "
            f"`python -m tcl_core.hub CHECKPOINT {path.parent}`"
        )
    return weights


def _read_config(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no {path}: expected a directory that training wrote, such as out/toy/model") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read, or is no JSON: {error}") from error
    if not isinstance(described, dict) or described.get("model_type") != MODEL_TYPE:
        raise CheckpointError(f"{path}: expected model_type {MODEL_TYPE}; this directory holds another kind of model")
    if described.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is of format {described.get('format_version')}, this version reads {FORMAT_VERSION}"
        )
    return described


__all__ = ["import_mean", "import_model", "read_model_config", "tensors_below"]
