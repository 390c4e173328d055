"""A trained grounder as a directory in the layout of the Hugging Face hub: config.json and model.safetensors.

    python -m tcl_core.hub CHECKPOINT DIRECTORY

The directory can be uploaded as it is (`hf upload OWNER/NAME DIRECTORY`); `tcl_core.load.hub` reads it.
"""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import save_file

from tcl_core.errors import CheckpointError
from tcl_core.load.choice import TRAINED_CONFIG, TRAINED_WEIGHTS
from tcl_core.load.hub import ENCODERS, FORMAT_VERSION, MODEL_TYPE, tensors_below
from tcl_core.train.checkpoint import read_checkpoint


def export_model(checkpoint: Path, directory: Path) -> None:
    """Write the grounder of a training checkpoint, its averaged weights if there are any.

    Raises:
        CheckpointError: no such checkpoint.
    """
    read = read_checkpoint(checkpoint)
    averaged = tensors_below(read.tensors, "average.module.")
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
    grounder = averaged or tensors_below(read.tensors, "grounder.")
    encoders = {name: value for name, value in read.tensors.items() if name.startswith(ENCODERS)}
    weights = {name: value.contiguous() for name, value in (grounder | encoders).items()}
    save_file(weights, directory / TRAINED_WEIGHTS, metadata={"format": "pt"})
    (directory / TRAINED_CONFIG).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


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


__all__ = ["export_model"]
