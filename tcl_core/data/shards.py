"""Tar shards of image-text pairs, as img2dataset and WebDataset write them: found, indexed once, read at random.

A shard is never unpacked. Its headers are scanned once for where each image and caption lies, and the scan is kept, so
that training can begin anywhere without reading what comes before.
"""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tcl_core.atomic_file import write_atomically
from tcl_core.data.samples import Sample, decode_image, read_caption
from tcl_core.errors import BadSampleError, DataConfigError, DataError, Problem

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
CAPTION_SUFFIXES = ("txt", "text", "json")  # img2dataset's JSON repeats the caption
BLOCK = 512  # bytes, of tar
MISSING = "shard missing"
MOST_OPEN = 64  # files, in each process
ENTRY = np.dtype([("image", "<i8"), ("image_size", "<i8"), ("caption", "<i8"), ("caption_size", "<i8"), ("json", "?")])
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_braces(pattern: str) -> list[str]:
    """Expand `{000..347}` and `{a,b}` as a shell does; numbers are padded to the longer end."""
    match = BRACES.search(pattern)
    if match is None:
        return [pattern]
    if numbers := RANGE.fullmatch(match[1]):
        first, last = numbers[1], numbers[2]
        padded = first.startswith("0") or last.startswith("0")
        width = max(len(first), len(last)) if padded else 0
        step = 1 if int(first) <= int(last) else -1
        options = [f"{number:0{width}d}" for number in range(int(first), int(last) + step, step)]
    elif "," in match[1]:
        options = match[1].split(",")
    else:
        raise DataConfigError(f"{pattern}: expected {{000..347}} or {{a,b}} between the braces, got {match[0]}")
    expanded = [pattern[: match.start()] + option + pattern[match.end() :] for option in options]
    return [path for part in expanded for path in expand_braces(part)]


def find_shards(patterns: Sequence[str]) -> tuple[list[Path], list[Problem]]:
    """List the shards that patterns with braces and wildcards stand for; missing ones are reported as problems.

    Raises:
        DataError: a wildcard matches nothing, or there is no shard at all.
    """
    found: list[Path] = []
    missing: list[Problem] = []
    for pattern in patterns:
        for path in map(Path, expand_braces(pattern)):
            if any(mark in path.name for mark in "*?["):
                matches = sorted(path.parent.glob(path.name))
                if not matches:
                    raise DataConfigError(f"{path}: no file has such a name; expected tar shards")
                found += matches
            elif path.is_file():
                found.append(path)
            else:
                missing.append(Problem(MISSING, str(path)))
    if not found:
        raise DataConfigError(f"no shard of {', '.join(patterns)} is there (working directory: {Path.cwd()})")
    return found, missing


def scan_shard(path: Path) -> tuple[npt.NDArray[np.void], list[Problem]]:
    """Find the pairs of a shard by its headers alone.

    Returns:
        An array of `ENTRY`, in the order of the shard, and what is wrong with it: cut short, damaged, an image or a
        caption without the other.
    """
    members: dict[str, dict[str, tuple[int, int]]] = {}
    problems: list[Problem] = []
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile() and member.offset_data + member.size <= size:
                    folder, _, name = member.name.rpartition("/")
                    key, _, suffix = name.partition(".")
                    members.setdefault(f"{folder}/{key}", {})[suffix.lower()] = (member.offset_data, member.size)
            end = archive.offset
        problems += _check_end(path, end, size)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        problems.append(Problem("shard cut short or damaged", f"{path}: {error}"))
    entries = []
    for key, parts in members.items():
        image = next((parts[suffix] for suffix in IMAGE_SUFFIXES if suffix in parts), None)
        caption = next((suffix for suffix in CAPTION_SUFFIXES if suffix in parts), None)
        if image and caption:
            entries.append((*image, *parts[caption], caption == "json"))
        else:
            kind = "caption missing" if image else "image missing"
            problems.append(Problem(kind, f"{path}: {key.lstrip('/')}"))
    return np.array(entries, ENTRY), problems


def _check_end(path: Path, end: int, size: int) -> list[Problem]:
    """Find out whether a shard ends or breaks off: tarfile takes a broken header for the end."""
    with path.open("rb") as file:
        file.seek(end)
        block = file.read(BLOCK)
    if end > size or len(block) < BLOCK:
        return [Problem("shard cut short or damaged", f"{path}: breaks off after {size} bytes")]
    if block.strip(b"\0"):
        return [Problem("shard cut short or damaged", f"{path}: no header of a member at byte {end}")]
    return []


@dataclass(eq=False)
class ShardIndex:
    """Where scans are kept: one file per shard, named by path, size and time of change. None keeps nothing."""

    directory: Path | None = None

    def scan(self, path: Path) -> tuple[npt.NDArray[np.void], list[Problem]]:
        """Scan a shard, or read what an earlier scan found."""
        if self.directory is None:
            return scan_shard(path)
        status = path.stat()
        identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
        kept = self.directory / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
        if kept.is_file():
            with np.load(kept, allow_pickle=False) as arrays:
                problems = [Problem(**problem) for problem in json.loads(str(arrays["problems"]))]
                return arrays["entries"], problems
        entries, problems = scan_shard(path)
        listed = [{"kind": problem.kind, "where": problem.where} for problem in problems]
        content = io.BytesIO()
        np.savez(content, entries=entries, problems=np.array(json.dumps(listed)))
        write_atomically(kept, content.getvalue())
        return entries, problems


class OpenFiles:
    """Files kept open between reads; when there are too many, the one opened first is closed."""

    def __init__(self) -> None:
        self._files: dict[Path, BinaryIO] = {}

    def __reduce__(self) -> tuple[type["OpenFiles"], tuple[()]]:
        """Leave the files behind: another process opens its own."""
        return OpenFiles, ()

    def __del__(self) -> None:
        """Close them."""
        for file in self._files.values():
            file.close()

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Read a stretch of a file; shorter at its end."""
        if path not in self._files:
            if len(self._files) >= MOST_OPEN:
                self._files.pop(next(iter(self._files))).close()
            self._files[path] = path.open("rb")
        # pread has its own position; that of the file is shared by forked processes.
        return os.pread(self._files[path].fileno(), size, offset)


@dataclass(eq=False)
class ShardPairs:
    """Pairs in tar shards; a source of samples.

    Attributes:
        paths: of the shards that are there.
        problems: shards that are missing or damaged, images and captions without the other.
        groups: number of the shard of every sample, int32 (M,).
    """

    paths: list[Path]
    problems: list[Problem]
    groups: npt.NDArray[np.int32]
    _entries: npt.NDArray[np.void]
    _open: OpenFiles = field(default_factory=OpenFiles)

    @classmethod
    def of(cls, patterns: str | Sequence[str], index: ShardIndex | None = None) -> "ShardPairs":
        """Find and scan the shards of one or more patterns.

        Raises:
            DataError: there are no shards, or there is no pair in them.
        """
        patterns = [patterns] if isinstance(patterns, str) else patterns
        paths, problems = find_shards(patterns)
        scans = [(index or ShardIndex()).scan(path) for path in paths]
        problems += [problem for _, found in scans for problem in found]
        entries = np.concatenate([entries for entries, _ in scans])
        if not len(entries):
            raise DataError(f"{', '.join(patterns)}: no pair of image and caption (KEY.jpg and KEY.txt) in any shard")
        usual = max(1, round(len(entries) / len(paths)))
        problems = [Problem(p.kind, p.where, usual) if p.kind == MISSING else p for p in problems]
        groups = np.repeat(np.arange(len(paths), dtype=np.int32), [len(entries) for entries, _ in scans])
        return cls(paths, problems, groups, entries)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._entries)

    def read(self, number: int, mode: str = "RGB") -> Sample:
        """Read and decode one sample.

        Raises:
            BadSampleError: the image or the caption cannot be used.
        """
        entry: Any = self._entries[number]
        where = self._where(number)
        caption = self._caption(number, where)
        image = self._bytes(int(self.groups[number]), entry["image"], entry["image_size"], where)
        return Sample(decode_image(image, where, mode), caption, where)

    def caption(self, number: int) -> str:
        """Read the caption of one sample.

        Raises:
            BadSampleError: it cannot be used.
        """
        return self._caption(number, self._where(number))

    def chosen(self, wanted: Callable[[str], bool]) -> "ShardPairs":
        """Keep the samples whose captions are wanted; those without a usable caption stay, to be counted when read.

        Raises:
            DataError: none is left.
        """

        def keeps(number: int) -> bool:
            try:
                return wanted(self.caption(number))
            except BadSampleError:
                return True

        kept = np.array([keeps(number) for number in range(len(self))])
        if not kept.any():
            raise DataError(f"{len(self)} samples, and none has a caption that is wanted")
        return ShardPairs(self.paths, self.problems, self.groups[kept], self._entries[kept])

    def _caption(self, number: int, where: str) -> str:
        entry: Any = self._entries[number]
        content = self._bytes(int(self.groups[number]), entry["caption"], entry["caption_size"], where)
        return read_caption(content, where, entry["json"])

    def _where(self, number: int) -> str:
        shard, entry = int(self.groups[number]), self._entries[number]
        return f"{self.paths[shard]}: {self._name(shard, int(entry['image']))}"

    def _name(self, shard: int, image: int) -> str:
        header = self._bytes(shard, image - BLOCK, 100, str(self.paths[shard]))
        return header.split(b"\0")[0].decode(errors="replace")

    def _bytes(self, shard: int, offset: int, size: int, where: str) -> bytes:
        try:
            content = self._open.read(self.paths[shard], int(offset), int(size))
        except OSError as error:
            raise BadSampleError("shard unreadable", f"{where}: {error}") from error
        if len(content) < size:
            raise BadSampleError("shard cut short or damaged", f"{where}: {len(content)} of {size} bytes")
        return content


def joined_problems(problems: Iterable[Problem]) -> str:
    """Sum problems up by kind, with the first of each: '3 captions empty (first: ...)'."""
    by_kind: dict[str, list[str]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem.where)
    return "; ".join(f"{len(places)} x {kind} (first: {places[0]})" for kind, places in by_kind.items())
