"""Every error that this package raises on purpose.

    TclEdgeError
    ├── BundleError
    │   ├── BundleNotFoundError     no such bundle
    │   ├── BundleCorruptError      missing, changed or malformed file
    │   └── BundleVersionError      written for another version of this package
    ├── VocabularyError             words that cannot be segmented (also a ValueError)
    ├── FrameError                  an array that is not a picture (also a ValueError)
    ├── EngineError                 the inference engine is missing, refused the graph or failed
    ├── SourceError                 nothing, or no longer anything, to read frames from
    └── SinkError                   a result could not be written

Each message says what was given, what was expected and what to do.
"""


class TclEdgeError(Exception):
    """Base of all errors of this package."""


class BundleError(TclEdgeError):
    """A bundle cannot be used."""


class BundleNotFoundError(BundleError):
    """There is no bundle of that name or at that path."""


class BundleCorruptError(BundleError):
    """A file of the bundle is missing, differs from its recorded hash, or cannot be understood."""


class BundleVersionError(BundleError):
    """The bundle's schema is newer than this package, or no longer supported."""


class VocabularyError(TclEdgeError, ValueError):
    """The words are empty, ambiguous, too long, or mean nothing to the model."""


class FrameError(TclEdgeError, ValueError):
    """The array given as a frame has a shape or dtype that is not a picture."""


class EngineError(TclEdgeError):
    """The engine is not installed, did not accept the graph, or failed while running."""


class SourceError(TclEdgeError):
    """A source cannot be opened, or ended before its announced end."""


class SinkError(TclEdgeError):
    """A sink cannot be opened or written."""
