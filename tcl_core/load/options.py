"""The options by which every command names a model and says how to segment with it."""

from pathlib import Path
from typing import Annotated

import typer

from tcl_core.towers.names import HEADS

MODEL_HELP = "tiny, a directory that training wrote, an open_clip name, a file of CLIP weights, or hf-hub:OWNER/NAME."

Model = Annotated[str, typer.Argument(help=MODEL_HELP)]
Pretrained = Annotated[
    str | None,
    typer.Option(
        help="Weights of an open_clip name: a tag, a file, or 'random' to measure speed without weights; for a trained "
        "directory, where its CLIP is now."
    ),
]
Checkpoint = Annotated[Path | None, typer.Option(help="Official TCL checkpoint.")]
Head = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(HEADS[:-1])} or {HEADS[-1]}; default tcl with a checkpoint, else maskclip."),
]
Tokenizer = Annotated[
    Path | None,
    typer.Option(
        help="Directory with tokenizer.json and tokenizer_config.json, for models whose tokenizer is not part of "
        "open_clip (SigLIP)."
    ),
]
Templates = Annotated[
    str | None,
    typer.Option(
        "--templates",
        help="Prompts that words are put into: simple, custom, full, maskclip or none; default the model's own, else "
        "custom.",
    ),
]
Background = Annotated[
    str | None, typer.Option(help="Words that count as background; '' for none; default the model's own.")
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Soft mask below which a pixel is background; default the model's, else 0.5, with --pamr 0.4.",
    ),
]
KpWeight = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the frozen encoder's own masks, 0.3 in the paper.")
]
