"""Files and directories that are complete under their name, or not there: the one place of this package that writes.

What is unfinished lies beside it under a hidden name, `.NAME.*.partial`, which nothing reads. A process that is killed
while it writes leaves that behind, and no more. A file that grows for as long as a stream runs is of use even where it
ends too early, so that one lies beside its name in full view: `GrowingFile`.
"""

import errno
import itertools
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO

from runtime.errors import WriteError

LONGEST_NAME = 50
"""Characters of its name that an unfinished file repeats; file systems take names of 255 bytes, up to 4 a character."""


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file in one step, replacing what is there. Its folder is made if need be.

    Args:
        path: of the file.
        data: all of its content.
        private: for its owner alone; otherwise the file is as open as the user's umask makes new ones.

    Raises:
        WriteError: it cannot be written (disk full, no permission); what was there is intact.
    """
    with _told(path):
        _refuse_special(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _unfinished(path)
        try:
            _write_durably(partial, data, mode=0o600 if private else 0o666)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_directories(directories: Mapping[Path, Mapping[str, bytes]], *, staging: Path) -> None:
    """Write directories, each in one step and none before all are complete, replacing what is there.

    Args:
        directories: at least one; the content of every file by its path in the directory.
        staging: folder for what is unfinished, on the same disk; made if need be.

    Raises:
        WriteError: they cannot be written (disk full, no permission); what was there is intact.
    """
    first = next(iter(directories))
    with _told(first):
        unfinished = _unfinished(staging / first.name)
        try:
            for number, files in enumerate(directories.values()):
                for name, data in files.items():
                    file = unfinished / str(number) / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    _write_durably(file, data)
            for number, path in enumerate(directories):
                _replace_directory(unfinished / str(number), path, old=unfinished / f"{number}.old")
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


class GrowingFile:
    """A file that grows as `NAME.partial.EXT` and takes its name when it is complete.

    Its folder is made if need be. What an earlier run left as partial stays: then it is `NAME.partial-2.EXT`.

    Args:
        path: of the file when it is complete; what is there is replaced then.
        sync_s: about so often what is written is brought onto the disk, by a thread of its own, so that a power cut
            takes no more than that; None to leave it to the system, which may take half a minute.

    Attributes:
        partial: where it grows.

    Raises:
        WriteError: it cannot be made there.
    """

    def __init__(self, path: Path, *, sync_s: float | None = None) -> None:
        self.path = path
        self._replaces = os.path.lexists(path)
        with _told(path):
            _refuse_special(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.partial, self._file = _first_free(path)
        self._syncing = None if sync_s is None else _Syncing(self._file.fileno(), sync_s)

    @property
    def file(self) -> BinaryIO:
        """What to write into, at any position: for a writer that takes a file object. Its errors are OSErrors."""
        return self._file

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            WriteError: the system refused: disk full.
        """
        with _told(self.partial):
            self._file.write(data)
            self._file.flush()

    def close(self, *, complete: bool) -> Path | None:
        """Finish, and give the file its name if it is `complete`; closing again does nothing.

        Returns:
            The incomplete file that is left, if it is incomplete.

        Raises:
            WriteError: the system refused; what was written stays under the partial name.
        """
        if self._file.closed:
            return None
        if self._syncing is not None:
            self._syncing.end()
        with _told(self.partial):
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
            if not complete:
                return self.partial
            if os.path.lexists(self.path) and not self._replaces:
                raise FileExistsError(errno.EEXIST, f"{self.path} was not there when this began, and is now")
            self.partial.replace(self.path)
            return None

    def discard(self) -> None:
        """Leave nothing."""
        if self._syncing is not None:
            self._syncing.end()
        self._file.close()
        self.partial.unlink(missing_ok=True)


class _Syncing:
    """Brings what an open file holds onto the disk, again and again; a slow disk holds nobody else up."""

    def __init__(self, descriptor: int, every_s: float) -> None:
        self._over = Event()
        self._thread = Thread(target=self._run, args=(descriptor, every_s), name="sync", daemon=True)
        self._thread.start()

    def _run(self, descriptor: int, every_s: float) -> None:
        sync = getattr(os, "fdatasync", os.fsync)
        while not self._over.wait(every_s):
            with suppress(OSError):  # whoever writes or closes is told
                sync(descriptor)

    def end(self) -> None:
        """Stop, so that the file may be closed; again does nothing."""
        self._over.set()
        self._thread.join()


def free_partial(path: Path) -> Path:
    """Find the name under which another library may write what is to be `path`: `NAME.partial.EXT`, or with a number.

    The folder that it lies in is made if need be.

    Raises:
        WriteError: it cannot be made.
    """
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return next(name for name in _partial_names(path) if not os.path.lexists(name))


def take_name(written: Path, path: Path, *, replace: bool) -> None:
    """Give a file or folder that another library wrote its name.

    Args:
        written: complete; on the same disk.
        path: its name.
        replace: the file that is there.

    Raises:
        WriteError: the system refused, or something is there; what was written stays where it is.
    """
    with _told(written):
        for file in [written, *written.rglob("*")]:
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        if os.path.lexists(path) and not replace:
            raise FileExistsError(errno.EEXIST, f"{path} was not there when this began, and is now")
        written.replace(path)


def _refuse_special(path: Path) -> None:
    """Refuse what a file must not take the place of: a device, a pipe."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is no file")


def _first_free(path: Path) -> tuple[Path, BinaryIO]:
    for candidate in _partial_names(path):
        try:
            return candidate, candidate.open("x+b")
        except FileExistsError:
            continue
    raise AssertionError("there is no last number")


def _partial_names(path: Path) -> Iterator[Path]:
    for number in itertools.count(1):
        counted = "" if number == 1 else f"-{number}"
        yield path.with_name(f"{path.stem}.partial{counted}{path.suffix}")


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name[:LONGEST_NAME]}.{secrets.token_hex(4)}.partial")


def _write_durably(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:  # the system takes the umask off the mode
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace_directory(new: Path, path: Path, *, old: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.exists():
            path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from error
