"""A trained grounder as a directory in the layout of the Hugging Face hub: config.json and model.safetensors.

    python -m tcl_core.hub CHECKPOINT DIRECTORY

The directory can be uploaded as it is (`hf upload OWNER/NAME DIRECTORY`); `tcl_core.load.hub` reads it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import save

from tcl_core.atomic_file import write_together
from tcl_core.errors import CheckpointError
from tcl_core.load.choice import TRAINED_CONFIG, TRAINED_WEIGHTS
from tcl_core.load.hub import ENCODERS, FORMAT_VERSION, MODEL_TYPE, tensors_below
from tcl_core.train.checkpoint import read_checkpoint


def export_model(checkpoint: Path, directory: Path) -> None:
    """Write the grounder of a training checkpoint, its averaged weights if there are any.

    Raises:
        ConfigError: there is no such checkpoint.
        CheckpointError: it is damaged, or none.
        WriteError: the directory cannot be written.
    """
    read = read_checkpoint(checkpoint)
    averaged = tensors_below(read.tensors, "average.module.")
    config = read.state["config"]
    grounder = averaged or tensors_below(read.tensors, "grounder.")
    encoders = {name: value for name, value in read.tensors.items() if name.startswith(ENCODERS)}
    tensors = {name: value.contiguous() for name, value in (grounder | encoders).items()}
    weights = save(tensors, metadata={"format": "pt"})
    described: dict[str, Any] = {
        "model_type": MODEL_TYPE,
        "format_version": FORMAT_VERSION,
        # The start is in the weights already.
        "model": {**config["model"], "start": None},
        "seed": config["seed"],
        "encoders_sha256": read.state["encoders_sha256"],
        "training": {"step": read.state["step"], "miou": read.state["best_iou"], "losses": config["losses"]},
        # A process that is killed between the two files' renames leaves them apart: `import_model` notices.
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    text = json.dumps(described, indent=1) + "\n"
    write_together({directory / TRAINED_WEIGHTS: weights, directory / TRAINED_CONFIG: text.encode()})


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
