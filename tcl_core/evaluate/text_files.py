"""Lists that people and other programs wrote: one item a line, with whatever mark or line ends their system adds."""

from pathlib import Path

from tcl_core.errors import DataConfigError, DataError


def read_lines(path: Path, expected: str) -> list[str]:
    """Read UTF-8 lines, without the mark that some editors begin a file with, blanks and line ends of any system.

    Args:
        path: of the file.
        expected: what it should hold, for messages.

    Returns:
        Every line stripped, those too that are empty, but for empty ones at the end.

    Raises:
        DataConfigError: no such file.
        DataError: it cannot be read, or is no UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataConfigError(f"no {path}: expected {expected}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 ({error}): expected {expected}") from None
    if "\0" in text:
        raise DataError(f"{path} is no UTF-8 text: expected {expected}")
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


__all__ = ["read_lines"]
