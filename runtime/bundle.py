"""The bundle: a directory `NAME.tclb/` with graphs, words and a manifest that names the hash of every file.

This module owns the format. `export` writes through `write_bundle`; everything else reads through `Bundle.open`,
which hashes each file before anything parses it: a flipped bit in an ONNX file otherwise loads without complaint.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from runtime.atomic_file import write_directories
from runtime.errors import (
    BundleCorruptError,
    BundleNotFoundError,
    BundlePathError,
    BundleVersionError,
    WriteError,
)

SCHEMA_VERSION = 2
"""2 added what export measured and chose: operations, precision, cosine, and graphs with their words inside."""

OLDEST_SCHEMA = 1
MANIFEST = "manifest.json"
SUFFIX = ".tclb"
SHIPPED = Path(__file__).parent / "models"


def _inside_bundle(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
        raise ValueError(f"file name {name!r} points outside the bundle")
    return name


FileName = Annotated[str, AfterValidator(_inside_bundle)]
Shape = tuple[int | str, ...]
"""A dimension is a number where it is fixed and a name where it is free."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Record):
    """What a file must be before it is parsed."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class SourceRecord(_Record):
    """Where the weights come from, and how they are used.

    Attributes:
        model: name.
        checkpoint_sha256: of the weights.
        kp_weight: share of the frozen encoder's own masks in the graph's.
    """

    model: str
    checkpoint_sha256: str
    kp_weight: float = Field(default=0.0, ge=0, le=1)


class InputSpec(_Record):
    """How a frame becomes the graph's image input (1,3,h,w), channels red, green, blue.

    Attributes:
        size: side, in pixels, of a square with as many pixels as the input has; or the fixed (height, width).
        multiple_of: both sides are multiples of this.
        mean: of red, green and blue, subtracted from v / 255.
        std: divides the difference.
        interpolation: kernel of the resizing.
        antialias: whether the kernel widens where the frame shrinks, as in Pillow and in PyTorch with antialias=True.
    """

    size: int | tuple[int, int]
    multiple_of: int = Field(ge=1)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]
    antialias: bool = False


class GraphSpec(_Record):
    """One ONNX file: precision of its arithmetic, opset, and its inputs and outputs by name.

    Attributes:
        file: name.
        precision: of most of its arithmetic.
        opset: of the ONNX standard.
        inputs: shapes by name. A segmenter without the input `text` has the phrases of the bundle's vocabulary inside.
        outputs: shapes by name.
        kept_fp32: what computes in float32 in a graph of lower precision: operators, as "LayerNormalization x 25", or
            the modules whose products are not in int8.
    """

    file: FileName
    precision: Literal["fp32", "fp16", "int8"]
    opset: int
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    kept_fp32: tuple[str, ...] = ()


class TextSpec(_Record):
    """How words become the text encoder's tokens.

    Attributes:
        tokenizer: file in the format of the `tokenizers` library.
        pad_id: fills short rows.
        unknown_id: stands for pieces that the model never learnt; None if there are none (byte-level tokenizers).
        context_length: tokens that the model reads, special ones included; None for any number. Rows are padded to
            it where the graph's input has that fixed length.
        templates: each word is put into each of these, their embeddings are averaged and the mean is normalised.
        averaging: `raw` averages embeddings as they are, TCL's rule; `unit` normalises each first, CLIP's rule.
    """

    tokenizer: FileName
    pad_id: int
    unknown_id: int | None
    context_length: int | None
    templates: tuple[str, ...] = ("{}",)
    averaging: Literal["raw", "unit"] = "raw"


Refinement = Literal["none", "edge", "pamr"]


class OutputSpec(_Record):
    """What the segmenter graph returns: soft masks in [0, 1], one cell per `stride` input pixels.

    `refine` is how masks are moved to edges in the frame unless told otherwise, see `runtime.Segmenter`.
    """

    kind: Literal["soft mask"] = "soft mask"
    stride: int
    refine: Refinement = "none"
    channels: int = Field(description="C, length of a text embedding")


class BackgroundSpec(_Record):
    """Default background: pixels whose best soft mask is below `threshold`, or that look like one of `words`."""

    threshold: float | None = Field(default=None, ge=0, le=1)
    words: tuple[str, ...] = ()


class ParityRecord(_Record):
    """One comparison of PyTorch with the exported graph on real pictures.

    Attributes:
        size: (height, width) of the input.
        batch: images.
        words: rows of text.
        max_error: of a soft mask.
        mean_error: of the soft masks.
        label_agreement: share of cells whose best word is the same.
        cosine: of all soft masks as one vector; None in bundles of schema 1.
    """

    size: tuple[int, int]
    batch: int
    words: int
    max_error: float
    mean_error: float
    label_agreement: float
    cosine: float | None = None


class OperationsRecord(_Record):
    """Multiplications, in 10^9, of the segmenter on one image of a size with one word: as trained, and as exported.

    `int8_share` is the share of those exported that is in int8; None where the graph has no int8.
    """

    size: tuple[int, int]
    plain: float
    exported: float
    int8_share: float | None = None


class Manifest(_Record):
    """Everything a reader must know; `files` lists every other file of the bundle."""

    schema_version: int
    name: str
    created: str
    licence: str
    source: SourceRecord
    input: InputSpec
    segmenter: GraphSpec
    text_encoder: GraphSpec | None
    text: TextSpec | None
    output: OutputSpec
    background: BackgroundSpec
    vocabulary: FileName
    parity: tuple[ParityRecord, ...]
    operations: OperationsRecord | None = None
    files: dict[FileName, FileRecord]

    @property
    def fingerprint(self) -> str:
        """SHA-256 that tells whose text embeddings this bundle takes: those of one model with one checkpoint."""
        model = [self.source.model, self.source.checkpoint_sha256, self.output.channels]
        return _sha256(json.dumps(model).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_manifest(path: Path) -> Manifest:
    try:
        data: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleCorruptError(f"{path.parent} has no {MANIFEST}: export the bundle again") from None
    except ValueError as error:  # neither UTF-8 nor JSON
        raise BundleCorruptError(f"{path} is not JSON ({error}): export the bundle again") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise BundleCorruptError(f"{path} names no schema_version: it is not the manifest of a bundle")
    if version > SCHEMA_VERSION:
        raise BundleVersionError(
            f"{path.parent} has schema {version}, this package reads up to {SCHEMA_VERSION}: "
            "take a newer checkout and `pip install -e .` there"
        )
    if version < OLDEST_SCHEMA:
        raise BundleVersionError(
            f"{path.parent} has schema {version}, this package reads {OLDEST_SCHEMA} to {SCHEMA_VERSION}: "
            "export it again"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BundleCorruptError(f"{path} is not a valid manifest ({problems}): export the bundle again") from None


@dataclass(frozen=True)
class Bundle:
    """An opened bundle whose files were all present and unchanged when it was opened."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, bundle: str | Path) -> "Bundle":
        """Open the shipped bundle of that name, or the bundle at that path, and hash all its files.

        Raises:
            BundleNotFoundError: there is none.
            BundleCorruptError: a file is missing or changed, or the manifest is malformed.
            BundleVersionError: the schema is newer than this package.
        """
        path = _locate(bundle)
        opened = cls(path, _read_manifest(path / MANIFEST))
        for name in opened.manifest.files:
            opened.read(name)
        return opened

    def read(self, name: str) -> bytes:
        """Read a file of the bundle and return its bytes once their hash is right."""
        record = self.manifest.files.get(name)
        if record is None:
            raise BundleCorruptError(f"{self.path / MANIFEST} does not list {name!r}: export the bundle again")
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise BundleCorruptError(f"{path} is a link that leaves the bundle: copy the bundle without links")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleCorruptError(f"{path} cannot be read ({error.strerror}): copy the bundle again") from None
        if len(data) != record.bytes or _sha256(data) != record.sha256:
            raise BundleCorruptError(
                f"{path} is not the file that was exported ({len(data)} bytes, sha256 {_sha256(data)[:12]}…; "
                f"expected {record.bytes} bytes, {record.sha256[:12]}…): {_what_happened(data)}"
            )
        return data


def _what_happened(data: bytes) -> str:
    """Say what a wrong file probably is, and what to do."""
    if data.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, run `git lfs pull`"
    if data.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page, the download was answered by a login or error page; copy the bundle again"
    return "copy the bundle again"


def _locate(bundle: str | Path) -> Path:
    path = Path(bundle)
    if path.is_dir():
        return path
    if path.exists():
        raise BundleNotFoundError(f"{path} is a file: a bundle is a directory NAME{SUFFIX}/")
    shipped = SHIPPED / f"{bundle}{SUFFIX}"
    if len(path.parts) == 1 and shipped.is_dir():
        return shipped
    names = sorted(p.stem for p in SHIPPED.glob(f"*{SUFFIX}"))
    raise BundleNotFoundError(
        f"no bundle {str(bundle)!r}: expected a directory NAME{SUFFIX}/ made by `python -m export`, "
        f"or one of the shipped ones ({', '.join(names) or 'none in this installation'})"
    )


def file_records(files: Mapping[str, bytes]) -> dict[str, FileRecord]:
    """List size and hash of every file, as `Manifest.files` wants them."""
    return {name: FileRecord(sha256=_sha256(data), bytes=len(data)) for name, data in sorted(files.items())}


def check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Check that a bundle may be written at `path`.

    Raises:
        BundlePathError: the name does not end in .tclb, something is there that may not be replaced, or the folder
            around it is none.
        WriteError: the folder around it takes no new files from this user.
    """
    if path.suffix != SUFFIX:
        raise BundlePathError(f"{path} given, expected a directory name ending in {SUFFIX}")
    if path.exists() and not (path / MANIFEST).is_file():
        raise BundlePathError(f"{path} exists and is not a bundle: choose another --output")
    if path.exists() and not overwrite:
        raise BundlePathError(f"{path} exists: choose another --output, or add --overwrite")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise BundlePathError(f"{path} given, and {parent} is no folder: choose another --output")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise WriteError(path, f"{parent} may not be changed by this user")


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes], *, overwrite: bool = False) -> Bundle:
    """Write a bundle so that it is either complete under its name or not there.

    Raises:
        BundlePathError: see `check_replaceable`.
        WriteError: it cannot be written.
    """
    if manifest.files != file_records(files):
        raise ValueError("manifest.files does not describe the files given: build it with file_records()")
    check_replaceable(path, overwrite=overwrite)
    content = {**files, MANIFEST: manifest.model_dump_json(indent=2).encode() + b"\n"}
    write_directories({path: content}, staging=path.parent)
    return Bundle.open(path)
