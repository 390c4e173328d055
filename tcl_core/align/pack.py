"""Put a trained grounder into `tiny`: `python -m tcl_core.pack DIRECTORY`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tcl_core.commands import Command, Overwrite, console, new_app, refuse_existing
from tcl_core.errors import ConfigError
from tcl_core.load.hub import import_mean, read_model_config
from tcl_core.tiny.file import DEFAULT_PATH, read_tiny_config, save_tiny

app = new_app()

EPILOG = """
[bold]Examples[/bold]

python -m tcl_core.pack out/tiny/model out/tiny_short/model --overwrite   (their mean, as the shipped model)

python -m tcl_core.pack out/tiny/model mine.safetensors background_threshold=0.2
"""


def pack(
    directories: Sequence[Path], path: Path, background_threshold: float | None = None, *, overwrite: bool = False
) -> None:
    """Write a trained `tiny` in one file.

    Args:
        directories: `OUTPUT/model` of a training of `encoder: tiny`, or of several, whose weights are averaged.
        path: of the weights to write.
        background_threshold: below it a cell is background; None keeps that of the model trained on.
        overwrite: replace weights that are there.

    Raises:
        ConfigError: weights are there, a directory is not or holds no such training, or trainings are too unlike.
        CheckpointError: what is in it is damaged, or its encoders are not where they were.
        ModelFileError: the aligned model it was trained on is missing or damaged.
        WriteError: the files cannot be written.
    """
    for directory in directories:
        described = read_model_config(directory)
        if described.encoder != "tiny":
            raise ConfigError(f"{directory} holds a grounder for {described.encoder!r}: expected one for 'tiny'")
        if not described.decoder:
            raise ConfigError(f"{directory} was trained without a decoder: there is nothing of it that tiny keeps")
    config = replace(read_tiny_config(described.tiny), decoder_width=described.width)
    if background_threshold is not None:
        config = replace(config, background_threshold=background_threshold)
    refuse_existing(path, overwrite=overwrite)
    save_tiny(import_mean(directories), config, path)


@app.command(cls=Command, epilog=EPILOG, no_args_is_help=True)
def main(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="DIRECTORY|FILE|KEY=VALUE",
            help="OUTPUT/model of one training or more, then FILE.safetensors if not the model inside the package; "
            "background_threshold=SHARE.",
            show_default=False,
        ),
    ],
    overwrite: Overwrite = False,
) -> None:
    """Write FILE.safetensors, FILE.json and FILE.tokenizer.json: tiny's towers with the mean of trained grounders."""
    settings = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    paths = [Path(argument) for argument in arguments if "=" not in argument]
    path = paths.pop() if paths and paths[-1].suffix == ".safetensors" else DEFAULT_PATH
    if not paths:
        raise ConfigError("no directory: expected OUTPUT/model of a training, such as out/tiny/model")
    pack(paths, path, _background_threshold(settings), overwrite=overwrite)
    console.print(f"wrote {path}", markup=False, soft_wrap=True)


def _background_threshold(settings: dict[str, str]) -> float | None:
    text = settings.pop("background_threshold", None)
    if settings:
        raise ConfigError(f"there is no setting {min(settings)!r}: expected background_threshold=SHARE, or none")
    try:
        threshold = None if text is None else float(text)
    except ValueError:
        threshold = -1.0
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"background_threshold={text} given, expected a soft mask between 0 and 1")
    return threshold


if __name__ == "__main__":
    app()


__all__ = ["app", "pack"]
