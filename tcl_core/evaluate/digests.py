"""What a figure depends on, as hashes: the files of weights, and every picture and mask."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tcl_core.errors import DataError, ModelFileError
from tcl_core.evaluate.benchmarks import Benchmark

CHUNK = 1 << 20


def digest_of(path: Path) -> str:
    """Hash a file, or a folder with the names in it: SHA-256, hexadecimal.

    Raises:
        ModelFileError: it cannot be read.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    try:
        if not path.is_dir():
            return _hash_files(files, None)
        return _hash_files(files, path)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read ({error.strerror}): see that it is there, or copy it again"
        ) from error


def _hash_files(files: Iterable[Path], names_below: Path | None) -> str:
    digest = hashlib.sha256()
    for path in files:
        if names_below is not None:
            digest.update(f"{path.relative_to(names_below).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def listing_digest(folder: Path) -> str:
    """Hash the names and sizes of all files in a folder, for one that is too large to be read.

    Raises:
        ModelFileError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
    except OSError as error:
        raise ModelFileError(f"{folder} cannot be read ({error.strerror}): see that it is there") from error
    return digest.hexdigest()


def data_digest(benchmark: Benchmark) -> str:
    """Hash names, pictures, masks, and what the numbers in the masks mean.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256(json.dumps(benchmark.names).encode() + benchmark.rule.numbers.tobytes())
    for picture in benchmark.pictures:
        try:
            pair = [path.read_bytes() for path in (picture.image, picture.mask)]
        except OSError as error:
            raise DataError(
                f"{picture.image} or its mask cannot be read ({error.strerror}): copy them again"
            ) from error
        for part in (picture.name.encode(), *pair):
            digest.update(f"{len(part)}\0".encode() + part)
    return digest.hexdigest()


def fingerprint_of(recipe: Any) -> str:
    """Hash plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


__all__ = ["data_digest", "digest_of", "fingerprint_of", "listing_digest"]
