"""A bundle becomes segmented video. Runs without PyTorch."""

try:
    from runtime import _native  # noqa: F401 - only to say in time what is missing
except ImportError as error:
    raise ImportError(
        f"the C++ extension of {__path__[0]} is not built for this Python ({error}): in a checkout, run "
        "`pip install --editable .`, or use the installed package from another directory"
    ) from error

from runtime.bundle import Bundle, Manifest
from runtime.engines import Engine, FakeEngine, open_engine
from runtime.kernels.labels import LabelMap, LabelRule, Paint
from runtime.kernels.upsample import upsample_argmax, upsample_overlay
from runtime.segmentation import Segmentation
from runtime.segmenter import KEPT, Segmenter
from runtime.version import __version__
from runtime.words.text_encoder import SpelledWordWarning
from runtime.words.vocabulary import Vocabulary, parse_classes
from runtime.words.word_class import WordClass

__all__ = [
    "KEPT",
    "Bundle",
    "Engine",
    "FakeEngine",
    "LabelMap",
    "LabelRule",
    "Manifest",
    "Paint",
    "Segmentation",
    "Segmenter",
    "SpelledWordWarning",
    "Vocabulary",
    "WordClass",
    "__version__",
    "open_engine",
    "parse_classes",
    "upsample_argmax",
    "upsample_overlay",
]
