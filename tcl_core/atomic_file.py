"""Files that are complete under their name, or not there: the one place of this package that writes.

What is unfinished lies beside it under a hidden name, `.NAME.*.partial`, which nothing reads. A process that is killed
while it writes leaves that behind, and no more.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from tcl_core.errors import WriteError

LONGEST_NAME = 50
"""Characters of its name that an unfinished file repeats; file systems take names of 255 bytes, up to 4 a character."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file in one step, replacing what is there, as open as the user's umask makes new files.

    Args:
        path: of the file; its folder is made if need be.
        data: all of its content.

    Raises:
        WriteError: it cannot be written (disk full, no permission); what was there is intact.
    """
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: none takes its name before all are complete on the disk.

    A process that is killed between two of the renames leaves new files beside old ones, so what must never be mixed
    has to say what it belongs to.

    Args:
        files: content by path, in the order in which they take their names.

    Raises:
        WriteError: one cannot be written (disk full, no permission); all that was there is intact.
    """
    unfinished: dict[Path, Path] = {}
    path = next(iter(files))
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name[:LONGEST_NAME]}.{secrets.token_hex(4)}.partial")
            unfinished[path] = partial
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, partial in unfinished.items():
            partial.replace(path)
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from error
    finally:
        for partial in unfinished.values():
            partial.unlink(missing_ok=True)
