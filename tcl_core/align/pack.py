"""Put a trained grounder into `tiny`.

    python -m tcl_core.pack out/tiny/model [OTHER/model ...] [FILE.safetensors] [background_threshold=0.2]

Reads the directory that a training writes, and writes FILE.safetensors with the encoders in it, FILE.json and
FILE.tokenizer.json: tcl_core/tiny/weights/tiny.* if none is named. Of several trainings the mean of their weights is
taken.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tcl_core.errors import CheckpointError, ModelFileError
from tcl_core.load.hub import import_mean, read_model_config
from tcl_core.tiny.file import DEFAULT_PATH, read_tiny_config, save_tiny


def pack(directories: Sequence[Path], path: Path, background_threshold: float | None = None) -> None:
    """Write a trained `tiny` in one file.

    Args:
        directories: `OUTPUT/model` of a training of `encoder: tiny`, or of several, whose weights are averaged.
        path: of the weights to write.
        background_threshold: below it a cell is background; None keeps that of the model trained on.

    Raises:
        CheckpointError: a directory holds no such training, or its encoders are not where they were, or trainings are
            too unlike to be averaged.
        ModelFileError: the aligned model it was trained on is missing or damaged.
    """
    for directory in directories:
        described = read_model_config(directory)
        if described.encoder != "tiny":
            raise CheckpointError(f"{directory} holds a grounder for {described.encoder!r}: expected one for 'tiny'")
        if not described.decoder:
            raise CheckpointError(f"{directory} was trained without a decoder: there is nothing of it that tiny keeps")
    config = replace(read_tiny_config(described.tiny), decoder_width=described.width)
    if background_threshold is not None:
        config = replace(config, background_threshold=background_threshold)
    save_tiny(import_mean(directories), config, path)


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    console = Console(stderr=True)
    settings = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    paths = [Path(argument) for argument in arguments if "=" not in argument]
    path = paths.pop() if paths and paths[-1].suffix == ".safetensors" else DEFAULT_PATH
    if not paths or arguments[0].startswith("-") or settings.keys() - {"background_threshold"}:
        console.print(__doc__, markup=False)
        return 2
    threshold = settings.get("background_threshold")
    try:
        pack(paths, path, float(threshold) if threshold else None)
    except (CheckpointError, ModelFileError, ValueError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


__all__ = ["pack"]
