"""A trained grounder as a directory in the layout of the Hugging Face hub: config.json and model.safetensors.

    python -m tcl_core.hub CHECKPOINT DIRECTORY

The directory can be uploaded as it is (`hf upload OWNER/NAME DIRECTORY`). The frozen encoders are not repeated in it:
config.json names them, with a hash of their weights.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tcl_core.errors import CheckpointError
from tcl_core.model import TCL
from tcl_core.train.checkpoint import fingerprint, read_checkpoint
from tcl_core.train.recipe import ModelConfig, build_model

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MODEL_TYPE = "tcl-edge"
FORMAT_VERSION = 1


def export_model(checkpoint: Path, directory: Path) -> None:
    """Write the grounder of a training checkpoint, its averaged weights if there are any.

    Raises:
        CheckpointError: no such checkpoint.
    """
    read = read_checkpoint(checkpoint)
    averaged = _below(read.tensors, "average.module.")
    config = read.state["config"]
    described: dict[str, Any] = {
        "model_type": MODEL_TYPE,
        "format_version": FORMAT_VERSION,
        # The start is in the weights already.
        "model": {**config["model"], "start": None},
        "seed": config["seed"],
        "encoders_sha256": read.state["encoders_sha256"],
        "training": {"step": read.state["step"], "miou": read.state["best_iou"], "losses": config["losses"]},
    }
    directory.mkdir(parents=True, exist_ok=True)
    grounder = {name: value.contiguous() for name, value in (averaged or _below(read.tensors, "grounder.")).items()}
    save_file(grounder, directory / WEIGHTS, metadata={"format": "pt"})
    (directory / CONFIG).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


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


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    console = Console(stderr=True)
    if len(arguments) != 2 or arguments[0].startswith("-"):
        console.print(__doc__, markup=False)
        return 2
    try:
        export_model(Path(arguments[0]), Path(arguments[1]))
    except CheckpointError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


__all__ = ["export_model", "import_mean", "import_model", "read_model_config"]
