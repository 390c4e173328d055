"""Which sources of image-text pairs a configuration can name, and several of them as one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tcl_core.config import STRICT
from tcl_core.data.pairs import coco_pairs, folder_pairs, table_pairs
from tcl_core.data.samples import Sample, Source
from tcl_core.errors import DataConfigError


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
        raise DataConfigError(
            "no data: expected at least one entry in data.sources, such as {kind: folder, path: photos}"
        )
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
    "FolderConfig",
    "ScenesConfig",
    "ShardsConfig",
    "SourceConfig",
    "TableConfig",
    "open_sources",
]
