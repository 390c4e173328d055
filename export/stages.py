"""Results of an export's stages, kept so that a later or repeated export need not do them again."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from platformdirs import user_cache_path
from torch import nn

from runtime.atomic_file import write_atomically
from runtime.errors import WriteError

LARGEST = 8_000_000_000
"""Bytes kept; what was used longest ago goes first."""

PACKAGES = ("torch", "onnx", "onnxscript", "onnxslim", "onnxconverter-common", "onnxruntime")


Item = TypeVar("Item")


class Stages:
    """A folder of results, each under the hash of everything it depends on, and checked before it is used.

    Args:
        folder: where; None keeps nothing.
        tell: called with (stage, what became of it) for each.
        count: called with (done, in all) where a long stage can say so.
    """

    def __init__(
        self,
        folder: Path | None = None,
        tell: Callable[[str, str], None] = lambda stage, fate: None,
        count: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._folder = folder
        self.tell = tell
        self._count = count

    def counted(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the items one by one, and tell how many are done."""
        for done, item in enumerate(items):
            self._count(done, len(items))
            yield item
        self._count(len(items), len(items))

    def result(self, stage: str, depends_on: Any, make: Callable[[], bytes]) -> bytes:
        """Return what `make` gives, or gave when it was run with the same dependencies.

        Args:
            stage: for people, such as "tracing the segmenter".
            depends_on: plain values; the code of this package and the versions of what it uses are added.
            make: the work.
        """
        self.tell(stage, "begins")
        if self._folder is None:
            return make()
        key = hashlib.sha256(json.dumps([stage, depends_on, _surroundings()], default=str).encode()).hexdigest()
        path = self._folder / f"{key}.stage"
        kept, fate = _read(path)
        if kept is not None:
            self.tell(stage, "reused: nothing it depends on has changed")
            return kept
        if fate:
            self.tell(stage, fate)
        data = make()
        with suppress(WriteError, OSError):  # no room or no permission: the next export does it again
            write_atomically(path, hashlib.sha256(data).digest() + data)
            _prune(self._folder, spare=path)
        return data


def weights_key(module: nn.Module) -> str:
    """Hash the weights of a module and how it is built."""
    from tcl_core.load.fingerprint import fingerprint

    return hashlib.sha256((fingerprint([module]) + repr(module)).encode()).hexdigest()


def default_folder() -> Path:
    """Where results are kept if the user does not say: the user's cache."""
    return user_cache_path("tcl-edge") / "export"


def code_digest(folders: Iterable[Path]) -> str:
    """Hash every Python file below folders, with its place there."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@cache
def _surroundings() -> list[str]:
    import export
    import tcl_core

    code = code_digest(Path(package.__path__[0]) for package in (export, tcl_core))
    return [code, *(f"{package} {version(package)}" for package in PACKAGES)]


def _read(path: Path) -> tuple[bytes | None, str]:
    try:
        content = path.read_bytes()
    except OSError:
        return None, ""
    recorded, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != recorded:
        return None, "done again: what was kept of it is damaged"
    path.touch()
    return data, ""


def _prune(folder: Path, spare: Path) -> None:
    """Delete what was used longest ago until the rest is small enough; `spare` stays whatever the clocks say."""
    files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.stage"))
    excess = sum(size for _, size, _ in files) - LARGEST
    for _, size, path in files:
        if excess <= 0:
            return
        if path != spare:
            path.unlink(missing_ok=True)
            excess -= size
