"""What can go wrong in an export; each message says what was given, what was expected and what to do."""


class ExportError(Exception):
    """Base of all errors of this package. Nothing is written when one is raised."""


class SubjectError(ExportError):
    """There is no such model to export, or it cannot be exported."""


class OptionError(ExportError):
    """Options that contradict each other or the model."""


class PrecisionError(ExportError):
    """The model cannot be computed in the precision that was asked for."""


class ParityError(ExportError):
    """The exported graph does not do what PyTorch does."""
