"""A trained grounder in the layout of the Hugging Face hub: `python -m tcl_core.hub CHECKPOINT DIRECTORY`.

The directory can be uploaded as it is (`hf upload OWNER/NAME DIRECTORY`); `tcl_core.load.hub` reads it.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from safetensors.torch import save

from tcl_core.atomic_file import write_together
from tcl_core.commands import Command, Overwrite, console, new_app, refuse_existing
from tcl_core.load.choice import TRAINED_CONFIG, TRAINED_WEIGHTS
from tcl_core.load.hub import ENCODERS, FORMAT_VERSION, MODEL_TYPE, tensors_below
from tcl_core.train.checkpoint import read_checkpoint

app = new_app()

EPILOG = """
[bold]Examples[/bold]

python -m tcl_core.hub out/toy/last.safetensors out/toy/last   (training itself writes out/toy/model at its end)
"""


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


@app.command(cls=Command, epilog=EPILOG, no_args_is_help=True)
def main(
    checkpoint: Annotated[
        Path, typer.Argument(help="What training wrote: OUTPUT/last.safetensors or best.safetensors.")
    ],
    directory: Annotated[Path, typer.Argument(help="To write config.json and model.safetensors to.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a trained grounder in the layout of the Hugging Face hub, which every command takes as a model."""
    refuse_existing(directory / "config.json", directory / "model.safetensors", overwrite=overwrite)
    export_model(checkpoint, directory)
    console.print(f"wrote {directory}", markup=False, soft_wrap=True)


__all__ = ["app", "export_model"]
