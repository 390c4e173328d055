"""Every error that this package raises on purpose.

    TclEdgeError
    ├── UsageError                  what was asked for cannot be (also a ValueError): commands end with 2, else with 1
    │   └── VocabularyError         words that cannot be segmented
    ├── BundleError
    │   ├── BundleNotFoundError     no such bundle (also a UsageError)
    │   ├── BundlePathError         no place to write a bundle to (also a UsageError)
    │   ├── BundleCorruptError      missing, changed or malformed file
    │   └── BundleVersionError      written for another version of this package
    ├── WordFileError               a word file that is damaged
    ├── FrameError                  an array that is not a picture (also a ValueError)
    ├── LiveError                   a stream that is served elsewhere cannot be reached
    ├── EngineError                 the inference engine is missing, refused the graph or failed
    │   └── EngineOptionError       it cannot be opened in that way by anyone (also a UsageError)
    ├── SourceError                 nothing, or no longer anything, to read frames from
    │   └── SourceNotFoundError     no such source (also a UsageError)
    └── SinkError                   a result could not be written
        ├── SinkNameError           no such kind of sink, or not there (also a UsageError)
        └── WriteError              the system refused a file: disk full, no permission

Each message says what was given, what was expected and what to do.
"""

from pathlib import Path


class TclEdgeError(Exception):
    """Base of all errors of this package."""


class UsageError(TclEdgeError, ValueError):
    """What was asked for cannot be: a name, a word, a size, or several that contradict each other."""


class BundleError(TclEdgeError):
    """A bundle cannot be used."""


class BundleNotFoundError(BundleError, UsageError):
    """There is no bundle of that name or at that path."""


class BundlePathError(BundleError, UsageError):
    """A bundle may not be written there: another ending, or something is there."""


class BundleCorruptError(BundleError):
    """A file of the bundle is missing, differs from its recorded hash, or cannot be understood."""


class BundleVersionError(BundleError):
    """The bundle's schema is newer than this package, or no longer supported."""


class VocabularyError(UsageError):
    """The words are empty, ambiguous, too long, or mean nothing to the model.

    Args:
        message: what was given, what was expected and what to do.
        word: the one that is at fault, as typed or a part of it; None where it is not one alone.
    """

    def __init__(self, message: str, *, word: str | None = None) -> None:
        super().__init__(message)
        self.word = word


class WordFileError(TclEdgeError):
    """A word file cannot be read, or is not what was written."""


class FrameError(TclEdgeError, ValueError):
    """The array given as a frame has a shape or dtype that is not a picture."""


class LiveError(TclEdgeError):
    """A stream that is served elsewhere does not answer, or not as one does."""


class EngineError(TclEdgeError):
    """The engine is not installed, did not accept the graph, or failed while running."""


class EngineOptionError(EngineError, UsageError):
    """A provider, size, refinement or smoothing that does not exist, or not for this bundle."""


class SourceError(TclEdgeError):
    """A source cannot be opened, or ended before its announced end."""


class SourceNotFoundError(SourceError, UsageError):
    """There is no such source, or no such kind of source."""


class SinkError(TclEdgeError):
    """A sink cannot be opened or written."""


class SinkNameError(SinkError, UsageError):
    """There is no such kind of sink, or what it names must not be written."""


class WriteError(SinkError):
    """A file cannot be written; what was there is intact.

    Args:
        path: of the file.
        reason: in the words of the system.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        """Tell what to do, too."""
        return f"{self.path} cannot be written ({self.reason}): make room there, or choose another place"
