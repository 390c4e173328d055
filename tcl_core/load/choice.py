"""Which model a command takes: one typed choice for train, evaluate, predict and export.

Everything that can be refused without reading weights is refused here, before PyTorch is imported.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcl_core.errors import ConfigError
from tcl_core.towers.names import HEADS, HUB_SCHEMES

RANDOM = "random"
"""In place of weights: drawn at random, to measure speed and memory of a model whose weights are elsewhere."""

TRAINED_CONFIG, TRAINED_WEIGHTS = "config.json", "model.safetensors"
"""What training writes beside each other; see `tcl_core.load.hub`."""


@dataclass(frozen=True)
class ModelChoice:
    """Which model.

    Attributes:
        model: `tiny`; a directory that training wrote; a file of CLIP weights in OpenAI's layout; an open_clip name; or
            `hf-hub:OWNER/NAME`, `local-dir:PATH`.
        pretrained: weights of an open_clip name: a tag, a file, or `random`; for a directory, where its CLIP is now.
        checkpoint: official TCL checkpoint.
        head: `tcl`, or a training-free one; None for `tcl` with a checkpoint and `maskclip` without.
        tokenizer: directory with `tokenizer.json` and `tokenizer_config.json`, for models whose tokenizer is not part
            of open_clip (SigLIP); None to let open_clip find it.

    Raises:
        ConfigError: parts that contradict each other, or a head or file that is not there.
    """

    model: str = "tiny"
    pretrained: str | None = None
    checkpoint: Path | None = None
    head: str | None = None
    tokenizer: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.head is not None:
            check_name("head", self.head, HEADS)
        if self.kind == "clip":
            self._check_clip()
        elif self.checkpoint or self.tokenizer or self.head not in (None, "tcl") or (self.pretrained and self.is_tiny):
            what = "tiny" if self.is_tiny else self.model
            leave = "--checkpoint, --head and --tokenizer" if not self.is_tiny else "the options for them"
            raise ConfigError(f"{what} brings its own weights, head and tokenizer: leave out {leave}")

    def _check_clip(self) -> None:
        if self.checkpoint and self.head not in (None, "tcl"):
            raise ConfigError(f"head {self.head} is training-free and takes no checkpoint: leave out one of them")
        if self.checkpoint and not self.checkpoint.is_file():
            raise ConfigError(f"no checkpoint {self.checkpoint}: expected a file such as tcl.pth")
        path = Path(self.model)
        if path.is_dir():
            raise ConfigError(
                f"{self.model} is a directory without {TRAINED_CONFIG}: expected one that training wrote, such as "
                f"out/toy/model, or {HUB_SCHEMES[1]}{self.model} for a snapshot of a hub"
            )
        names_a_file = ("/" in self.model or path.suffix in (".pt", ".pth", ".bin", ".safetensors", ".npz")) and (
            not self.model.startswith(HUB_SCHEMES)
        )
        if names_a_file and not path.is_file():
            raise ConfigError(
                f"no file {self.model}: expected weights of CLIP, an open_clip name, a directory that training wrote, "
                "or hf-hub:OWNER/NAME"
            )
        if path.is_file() and self.pretrained is not None:
            raise ConfigError(
                f"{self.model} is a file and {self.pretrained!r} names other weights: give one, or an open_clip name "
                "first"
            )

    @property
    def is_tiny(self) -> bool:
        """Whether it is the model inside the package."""
        return self.model == "tiny"

    @property
    def kind(self) -> Literal["tiny", "trained", "clip"]:
        """What `model` names: the shipped model, a directory that training wrote, or a CLIP from elsewhere."""
        if self.is_tiny:
            return "tiny"
        return "trained" if (Path(self.model) / TRAINED_CONFIG).is_file() else "clip"

    @property
    def chosen_head(self) -> str:
        """The head that is meant where none was named."""
        if self.head is not None:
            return self.head
        return "tcl" if self.kind != "clip" or self.checkpoint else "maskclip"

    @property
    def name(self) -> str:
        """The model's name without the way to it."""
        if self.kind == "trained":
            return Path(self.model).resolve().name
        return Path(self.model).name if Path(self.model).is_file() else self.model


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known, and say which is near.

    Raises:
        ConfigError: it is not known.
    """
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    few = len(names) <= 10
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    expected = "expected " + (
        f"one of {', '.join(names)}" if few else "tiny, an open_clip name, a file, a trained directory or hf-hub:NAME"
    )
    raise ConfigError(f"no {what} {name!r}: {hint or expected}")


__all__ = ["RANDOM", "TRAINED_CONFIG", "TRAINED_WEIGHTS", "ModelChoice", "check_name"]
