"""TCL in PyTorch: model, alignment, training and evaluation."""

from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder
from tcl_core.grounder import Grounder, SimilarityToMask
from tcl_core.model import TCL, Grounding

__all__ = ["TCL", "DenseEncoder", "Grounder", "Grounding", "Preprocess", "SimilarityToMask", "TextEncoder"]
