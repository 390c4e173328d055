"""TCL in PyTorch: model, alignment, training and evaluation."""

from typing import TYPE_CHECKING, Any

from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder
from tcl_core.grounder import Grounder, SimilarityToMask
from tcl_core.model import TCL, Grounding

if TYPE_CHECKING:
    from tcl_core.towers.official import load_tcl

__all__ = [
    "TCL",
    "DenseEncoder",
    "Grounder",
    "Grounding",
    "Preprocess",
    "SimilarityToMask",
    "TextEncoder",
    "load_tcl",
]


def __getattr__(name: str) -> Any:
    # Only when asked for: it imports open_clip, which takes seconds and which the shipped model does not need.
    if name == "load_tcl":
        from tcl_core.towers.official import load_tcl

        return load_tcl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
