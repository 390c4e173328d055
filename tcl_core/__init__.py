"""TCL in PyTorch: model, alignment, training and evaluation."""

from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder
from tcl_core.grounder import SimilarityToMask
from tcl_core.model import TCL

__all__ = ["TCL", "DenseEncoder", "Preprocess", "SimilarityToMask", "TextEncoder"]
