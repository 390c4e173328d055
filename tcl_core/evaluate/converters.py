"""Raw downloads -> the masks that benchmarks read (`python -m tcl_core.evaluate convert BENCHMARK RAW DIR`)."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tcl_core.atomic_file import write_atomically
from tcl_core.errors import ConfigError, DataConfigError, DataError
from tcl_core.evaluate.label_tables import Table
from tcl_core.evaluate.layouts import CONVERSIONS, KEYS, Layout, layout_of
from tcl_core.evaluate.masks import read_wide_numbers
from tcl_core.evaluate.text_files import read_lines

MADE = "TrainIds.png"
"""What the names of converted COCO masks end with; they may lie among the raw ones, whose names are numbers."""
MAT_KEY = "LabelMap"


@dataclass(frozen=True)
class Converted:
    """What a conversion did.

    Attributes:
        num_written: masks made now.
        num_kept: masks that were there.
        folder: where they lie.
    """

    num_written: int
    num_kept: int
    folder: Path


def convert(
    key: str,
    raw: Path,
    data: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Make the masks of a benchmark from its raw download. What is there stays, so a conversion that broke off goes on.

    Args:
        key: coco_stuff and coco_object (PNG of `stuffthingmaps`), context and context59 (the 459 labels, PNG or .mat),
            cityscapes (`gtFine` with its `*_labelIds.png`).
        raw: folder of the raw masks.
        data: folder of all data; masks go where the benchmark's reader looks for them.
        overwrite: make those again that are there.
        progress: called with (masks done, masks in all).

    Raises:
        ConfigError: no such benchmark, or one whose masks are as they were downloaded.
        DataConfigError: no raw masks in that folder.
        DataError: a raw mask that cannot be read, or has a number that the raw masks of this benchmark never have.
        WriteError: a mask cannot be written; those before it are complete.
    """
    layout = layout_of(key)
    if layout.key not in CONVERSIONS:
        others = ", ".join(key for key in KEYS if key in CONVERSIONS)
        raise ConfigError(f"{key} needs no conversion, its masks are read as they come: expected one of {others}")
    table, folder = CONVERSIONS[layout.key], data / layout.root / layout.masks
    sources = sorted(_sources(layout, raw))
    if not sources:
        raise DataConfigError(f"no raw mask of {key} below {raw}: expected {layout.obtain}")
    written = 0
    for done, (name, source) in enumerate(sources, start=1):
        path = folder / f"{name}{layout.mask_suffix}"
        if overwrite or not path.exists():
            write_atomically(path, _as_png(convert_numbers(source, table)))
            written += 1
        if progress:
            progress(done, len(sources))
    if layout.split is not None:
        _write_split(layout, data / layout.root, {name for name, _ in sources})
    return Converted(written, len(sources) - written, folder)


def convert_numbers(source: Path, table: Table) -> npt.NDArray[np.uint8]:
    """Read a raw mask and translate it: (H,W) uint8.

    Raises:
        DataError: it cannot be read, or has a number outside of the table.
    """
    raw = _read_mat(source) if source.suffix == ".mat" else read_wide_numbers(source)
    if raw.size and not 0 <= int(raw.min()) <= int(raw.max()) < len(table):
        wrong = int(raw.max()) if raw.max() >= len(table) else int(raw.min())
        raise DataError(f"{source} has the number {wrong}: expected 0 to {len(table) - 1}, the raw labels")
    converted: npt.NDArray[np.uint8] = table[raw]
    return converted


def _sources(layout: Layout, raw: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of every raw mask."""
    if layout.key == "cityscapes":
        split = raw / "val" if (raw / "val").is_dir() else raw
        for path in split.rglob(f"*{layout.raw_suffix}"):
            yield path.relative_to(split).as_posix().removesuffix(str(layout.raw_suffix)), path
        return
    for path in raw.glob("*"):
        if path.suffix in (".png", ".mat") and not path.name.endswith(MADE) and not path.name.startswith("."):
            yield path.stem, path


def _read_mat(path: Path) -> npt.NDArray[np.integer]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ConfigError(f"{path} is a file of MATLAB's, which needs scipy: pip install scipy") from error
    try:
        values: npt.NDArray[np.integer] = np.asarray(loadmat(path)[MAT_KEY])
    except Exception as error:  # scipy raises whatever its parser meets, KeyError and struct.error among it
        raise DataError(f"{path} cannot be read ({error!r}): expected a .mat file with `{MAT_KEY}`") from error
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise DataError(f"{path}: expected `{MAT_KEY}` to be a matrix of whole numbers")
    return values


def _as_png(labels: npt.NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(labels).save(content, format="PNG")
    return content.getvalue()


def _write_split(layout: Layout, root: Path, names: set[str]) -> None:
    """Write the split of PASCAL-Context if there is none: VOC 2010's own validation pictures that have labels."""
    assert layout.split is not None
    path, source = root / layout.split, root / "ImageSets" / "Main" / "val.txt"
    if path.exists():
        return
    if not source.is_file():
        raise DataConfigError(f"masks are made, but no {path}, and no {source} to make it from: unpack VOC2010 there")
    chosen = [name for name in read_lines(source, "one name of a picture a line") if name in names]
    if not chosen:
        raise DataConfigError(f"{source} names none of the raw masks: expected those of the same year")
    write_atomically(path, ("\n".join(chosen) + "\n").encode())


__all__ = ["Converted", "convert", "convert_numbers"]
