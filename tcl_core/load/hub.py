"""A trained grounder as a directory in the layout of the Hugging Face hub: config.json and model.safetensors.

    python -m tcl_core.hub CHECKPOINT DIRECTORY

The directory can be uploaded as it is (`hf upload OWNER/NAME DIRECTORY`). The frozen encoders are not repeated in it:
config.json names them, with a hash of their weights.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from tcl_core.errors import CheckpointError
from tcl_core.load.build import ModelConfig, build_model
from tcl_core.load.fingerprint import fingerprint
from tcl_core.model import TCL
from tcl_core.train.hub import main

CONFIG, WEIGHTS = "config.json", "model.safetensors"
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
        CheckpointError: a file is missing or damaged, or the encoders are not those it was trained on.
    """
    described = _read_config(directory / CONFIG)
    config = read_model_config(directory)
    try:
        weights = load_file(directory / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory / WEIGHTS} is missing or damaged: {error}") from error
    if clip is not None:
        config = TypeAdapter(ModelConfig).validate_python({**asdict(config), "clip": clip})
    model = build_model(config, described["seed"])
    if fingerprint([model.image_encoder, model.text_encoder]) != described["encoders_sha256"]:
        raise CheckpointError(f"{directory} was trained on other encoders than {config.clip or config.encoder} has")
    try:
        model.grounder.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{directory / WEIGHTS} does not fit its {CONFIG}: {error}") from error
    return model


def import_mean(directories: Sequence[Path]) -> TCL:
    """Build the model whose grounder is the mean of several trainings' (model soups, Wortsman et al., 2022).

    Weights can be averaged where trainings began at the same point, so that they are of the same seed.

    Args:
        directories: one or more, as `import_model` takes them.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        CheckpointError: what `import_model` raises, or the trainings are of different models or seeds.
    """
    models = [import_model(directory) for directory in directories]
    first, *others = directories
    for other in others:
        for name in ("model", "seed", "encoders_sha256"):
            one, two = (_read_config(directory / CONFIG).get(name) for directory in (first, other))
            if one != two:
                raise CheckpointError(
                    f"{first} and {other} cannot be averaged, their {name} differs ({one} and {two}): expected "
                    "trainings of one model that began with the same random numbers"
                )
    states = [model.grounder.state_dict() for model in models]
    models[0].grounder.load_state_dict({name: sum(state[name] for state in states) / len(states) for name in states[0]})
    return models[0]


def read_model_config(directory: Path) -> ModelConfig:
    """Read what such a directory says about its model.

    Raises:
        CheckpointError: there is no config.json, or it describes none.
    """
    try:
        config: ModelConfig = TypeAdapter(ModelConfig).validate_python(_read_config(directory / CONFIG)["model"])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(f"{directory / CONFIG} does not describe a model: {error}") from error
    return config


def _read_config(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or no JSON: {error}") from error
    if not isinstance(described, dict) or described.get("model_type") != MODEL_TYPE:
        raise CheckpointError(f"{path}: expected model_type {MODEL_TYPE}; this directory holds another kind of model")
    if described.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is of format {described.get('format_version')}, this version reads {FORMAT_VERSION}"
        )
    return described


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


__all__ = ["import_mean", "import_model", "read_model_config"]
