"""Every error that this package raises on purpose.

    TclEdgeError                        of runtime/errors.py
    └── ExportError
        ├── SubjectError                no such model, or one that cannot be exported (also a UsageError)
        │   └── TokenizerError          its words cannot be read without Python packages
        ├── OptionError                 options that contradict each other or the model (also a UsageError)
        ├── DamagedSubjectError         the model's weights are damaged, unsafe, or cannot be had
        ├── PrecisionError              not in the precision that was asked for
        └── ParityError                 the exported graph does something else

What `export` reads and writes through `runtime` raises errors of `runtime/errors.py`. Each message says what was given,
what was expected and what to do.
"""

from runtime.errors import TclEdgeError, UsageError


class ExportError(TclEdgeError):
    """Base of all errors of this package. Nothing is written when one is raised."""


class SubjectError(ExportError, UsageError):
    """There is no such model to export, or it cannot be exported."""


class TokenizerError(SubjectError):
    """The tokenizer cannot be written as a file that the runtime reads."""


class DamagedSubjectError(ExportError):
    """The weights of the model are damaged, unsafe, or cannot be had."""


class OptionError(ExportError, UsageError):
    """Options that contradict each other or the model."""


class PrecisionError(ExportError):
    """The model cannot be computed in the precision that was asked for."""


class ParityError(ExportError):
    """The exported graph does not do what PyTorch does."""
