"""Image-text pairs in files: folders, tables, COCO captions; and which sources a configuration can name."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from tcl_core.data.samples import Sample, Source, check_caption, decode_image
from tcl_core.errors import BadSampleError, DataError, Problem

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
# An unknown key of a source is an error, not a typing mistake without effect.
STRICT = ConfigDict(extra="forbid")


class FilePairs:
    """Image files with captions; a source of samples.

    Args:
        pairs: path and caption of every sample.
        problems: what was passed over while listing them.
        what: for messages.

    Raises:
        DataError: there are none.
    """

    def __init__(self, pairs: Sequence[tuple[Path, str]], problems: list[Problem], what: str) -> None:
        if not pairs:
            reason = f" ({problems[0].kind}: {problems[0].where})" if problems else ""
            raise DataError(f"{what}: no pair of an image and a caption{reason}")
        self.problems = problems
        self.groups: npt.NDArray[np.int32] = np.arange(len(pairs), dtype=np.int32)
        self._pairs = pairs

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._pairs)

    def read(self, number: int, mode: str = "RGB") -> Sample:
        """Read and decode one sample.

        Raises:
            BadSampleError: the image or the caption cannot be used.
        """
        path, caption = self._pairs[number]
        caption = check_caption(caption, str(path))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadSampleError("image missing", f"{path}: {error.strerror}") from error
        return Sample(decode_image(content, str(path), mode), caption, str(path))


def folder_pairs(directory: Path) -> FilePairs:
    """Images anywhere below a folder, each with its caption beside it: NAME.jpg and NAME.txt.

    Raises:
        DataError: no such folder, or no pairs.
    """
    if not directory.is_dir():
        raise DataError(f"no folder {directory}: expected images with captions beside them (NAME.jpg, NAME.txt)")
    pairs: list[tuple[Path, str]] = []
    problems: list[Problem] = []
    for path in sorted(path for path in directory.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES):
        try:
            pairs.append((path, path.with_suffix(".txt").read_text(encoding="utf-8")))
        except OSError:
            problems.append(Problem("caption missing", str(path)))
        except UnicodeDecodeError as error:
            problems.append(Problem("caption not text", f"{path}: {error}"))
    return FilePairs(pairs, problems, str(directory))


def table_pairs(table: Path, images: Path, image_column: str, caption_column: str) -> FilePairs:
    """Rows of a CSV or TSV file whose first line names the columns.

    Args:
        table: `.tsv` is separated by tabs, anything else by commas.
        images: folder that the paths in the table start from.
        image_column: name of the column with paths.
        caption_column: name of the column with captions.

    Raises:
        DataError: no such file or columns, or no rows.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if table.suffix == ".tsv" else ",")
            columns = reader.fieldnames or []
            if missing := {image_column, caption_column} - set(columns):
                raise DataError(
                    f"{table} has the columns {', '.join(columns)}: expected {', '.join(sorted(missing))}; name yours "
                    "with image_column and caption_column"
                )
            pairs = [(images / (row[image_column] or ""), row[caption_column] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read as a table: {error}") from error
    return FilePairs(pairs, [], str(table))


def coco_pairs(annotations: Path, images: Path) -> FilePairs:
    """Captions in COCO's format (`captions_train2017.json`); an image with five captions gives five samples.

    Raises:
        DataError: no such file, or another format.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        listed = [(annotation["image_id"], annotation["caption"]) for annotation in content["annotations"]]
    except OSError as error:
        raise DataError(f"no COCO captions at {annotations}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{annotations} holds no COCO captions ({type(error).__name__}: {error}): expected `images` with file "
            "names and `annotations` with captions"
        ) from error
    problems = [Problem("image missing", f"{annotations}: image {name}") for name, _ in listed if name not in names]
    pairs = [(images / names[name], caption) for name, caption in listed if name in names]
    return FilePairs(pairs, problems, str(annotations))


@dataclass(frozen=True)
class ShardsConfig:
    """Tar shards (img2dataset, WebDataset). `path` may hold `{000..347}`, `{a,b}` and wildcards."""

    __pydantic_config__ = STRICT
    kind: Literal["shards"]
    path: str | list[str]


@dataclass(frozen=True)
class FolderConfig:
    """Images with captions beside them."""

    __pydantic_config__ = STRICT
    kind: Literal["folder"]
    path: str


@dataclass(frozen=True)
class TableConfig:
    """CSV or TSV."""

    __pydantic_config__ = STRICT
    kind: Literal["table"]
    path: str
    images: str = "."
    image_column: str = "image"
    caption_column: str = "caption"


@dataclass(frozen=True)
class CocoConfig:
    """COCO captions."""

    __pydantic_config__ = STRICT
    kind: Literal["coco"]
    path: str
    images: str


@dataclass(frozen=True)
class CompositesConfig:
    """Cut-outs (RGBA shards) pasted onto backgrounds (a folder or a table); see `tcl_core.data.composites`.

    `photos` are shards of photographs for mosaics and further backgrounds. `held_out` is the share of the cut-outs, by
    name, that are left for evaluation.
    """

    __pydantic_config__ = STRICT
    kind: Literal["composites"]
    cutouts: str | list[str]
    backgrounds: str
    count: int
    size: int = 224
    most_objects: int = 4
    least_objects: int = 1
    name_background: float = 0.6
    photos: str | list[str] | None = None
    mosaics: float = 0.0
    photo_backgrounds: float = 0.0
    held_out: float = 0.0


@dataclass(frozen=True)
class ScenesConfig:
    """Synthetic scenes; see `tcl_core.data.scenes`."""

    __pydantic_config__ = STRICT
    kind: Literal["scenes"]
    count: int
    size: int = 64
    first: int = 0


SourceConfig = Annotated[
    ShardsConfig | FolderConfig | TableConfig | CocoConfig | CompositesConfig | ScenesConfig,
    Field(discriminator="kind"),
]


class Concatenated:
    """Several sources one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.problems = [problem for source in sources for problem in source.problems]
        self._ends = np.cumsum([len(source) for source in sources])
        groups: list[npt.NDArray[np.int32]] = []
        for source in sources:
            groups.append(source.groups + (groups[-1].max() + 1 if groups else 0))
        self.groups: npt.NDArray[np.int32] = np.concatenate(groups).astype(np.int32)

    def __len__(self) -> int:
        """Count the samples."""
        return int(self._ends[-1])

    def read(self, number: int, mode: str = "RGB") -> Sample:
        """Read and decode one sample.

        Raises:
            BadSampleError: it cannot be used.
        """
        which = int(np.searchsorted(self._ends, number, side="right"))
        first = int(self._ends[which - 1]) if which else 0
        return self.sources[which].read(number - first, mode)


def open_sources(configs: Iterable[SourceConfig], seed: int, index: Path | None) -> Concatenated:
    """Open what a configuration names.

    Args:
        configs: of the sources, at least one.
        seed: of the composites.
        index: directory for scans of shards; None keeps none.

    Raises:
        DataError: there is nothing to train on.
    """
    sources = [_open(config, seed, index) for config in configs]
    if not sources:
        raise DataError("no data: expected at least one entry in data.sources, such as {kind: folder, path: photos}")
    return Concatenated(sources)


def _open(config: SourceConfig, seed: int, index: Path | None) -> Source:
    from tcl_core.data.composites import Composites, is_held_out, open_backgrounds
    from tcl_core.data.scenes import Scenes
    from tcl_core.data.shards import ShardIndex, ShardPairs

    if isinstance(config, ShardsConfig):
        return ShardPairs.of(config.path, ShardIndex(index))
    if isinstance(config, FolderConfig):
        return folder_pairs(Path(config.path))
    if isinstance(config, TableConfig):
        return table_pairs(Path(config.path), Path(config.images), config.image_column, config.caption_column)
    if isinstance(config, CocoConfig):
        return coco_pairs(Path(config.path), Path(config.images))
    if isinstance(config, ScenesConfig):
        return Scenes(config.count, config.size, config.first)
    cutouts = ShardPairs.of(config.cutouts, ShardIndex(index))
    if share := config.held_out:
        cutouts = cutouts.chosen(lambda caption: not is_held_out(caption, share))
    return Composites(
        cutouts,
        open_backgrounds(Path(config.backgrounds)),
        count=config.count,
        size=config.size,
        most_objects=config.most_objects,
        least_objects=config.least_objects,
        name_background=config.name_background,
        seed=seed,
        photos=ShardPairs.of(config.photos, ShardIndex(index)) if config.photos else None,
        mosaics=config.mosaics,
        photo_backgrounds=config.photo_backgrounds,
    )


__all__ = [
    "CocoConfig",
    "CompositesConfig",
    "Concatenated",
    "FilePairs",
    "FolderConfig",
    "ScenesConfig",
    "ShardsConfig",
    "SourceConfig",
    "TableConfig",
    "coco_pairs",
    "folder_pairs",
    "open_sources",
    "table_pairs",
]
