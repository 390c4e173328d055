"""TCL in PyTorch: model, alignment, training and evaluation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder
    from tcl_core.grounder import Grounder, SimilarityToMask
    from tcl_core.model import TCL, Grounding
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

_HOMES = {
    "tcl_core.encoder": ("DenseEncoder", "Preprocess", "TextEncoder"),
    "tcl_core.grounder": ("Grounder", "SimilarityToMask"),
    "tcl_core.model": ("TCL", "Grounding"),
    "tcl_core.towers.official": ("load_tcl",),
}


def __getattr__(name: str) -> Any:
    # Only when asked for: PyTorch and open_clip take seconds to import, and commands refuse mistakes before that.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
