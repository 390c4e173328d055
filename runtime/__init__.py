"""A bundle becomes segmented video. Runs without PyTorch."""

from runtime.bundle import Bundle, Manifest
from runtime.segmentation import Segmentation
from runtime.segmenter import Segmenter
from runtime.upsample import upsample_argmax, upsample_overlay
from runtime.version import __version__
from runtime.vocabulary import Vocabulary, WordClass, parse_classes

__all__ = [
    "Bundle",
    "Manifest",
    "Segmentation",
    "Segmenter",
    "Vocabulary",
    "WordClass",
    "__version__",
    "parse_classes",
    "upsample_argmax",
    "upsample_overlay",
]
