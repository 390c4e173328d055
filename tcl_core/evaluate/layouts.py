"""The eight benchmarks of the paper: where their files lie, what their labels mean, where they come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from tcl_core.errors import ConfigError, DataConfigError, DataError
from tcl_core.evaluate.benchmarks import Benchmark, LabelledPicture
from tcl_core.evaluate.label_tables import (
    Table,
    cityscapes_table,
    coco_object_table,
    coco_stuff_table,
    context_table,
)
from tcl_core.evaluate.masks import UNKNOWN, VOID, LabelRule
from tcl_core.evaluate.names import NameList, class_names, class_words, has_background
from tcl_core.evaluate.text_files import read_lines
from tcl_core.prompts import Word

Key = Literal["voc", "voc20", "context", "context59", "coco_object", "coco_stuff", "cityscapes", "ade20k"]
KEYS: tuple[Key, ...] = get_args(Key)


@dataclass(frozen=True)
class Layout:
    """Where the files of a benchmark lie, below a folder that may hold all eight.

    Attributes:
        key: of the benchmark.
        title: as tables call it.
        root: below the folder of all data.
        images: folder of pictures below the root.
        masks: folder of masks below the root.
        image_suffix: what a picture's name ends with after the name that it shares with its mask.
        mask_suffix: the same of masks.
        raw_suffix: of the numbers that masks were converted from, if they may lie beside.
        split: file below the root with one name a line; None for every picture in the folder.
        counts: numbers of pictures that a complete copy may have.
        reduce_zero: whether 0 does not count and class k has the number k + 1.
        obtain: what to do to have it.
    """

    key: Key
    title: str
    root: str
    images: str
    masks: str
    image_suffix: str
    mask_suffix: str
    counts: tuple[int, ...]
    obtain: str
    raw_suffix: str | None = None
    split: str | None = None
    reduce_zero: bool = False

    @property
    def rule(self) -> LabelRule:
        """What the numbers in its masks mean; the background is the last class."""
        count = len(class_names(self.key))
        numbers = np.full(256, UNKNOWN, np.uint8)
        if self.reduce_zero:
            numbers[1 : count + 1] = np.arange(count)
            numbers[0] = VOID
        elif has_background(self.key):
            numbers[1:count] = np.arange(count - 1)
            numbers[0] = count - 1
        else:
            numbers[:count] = np.arange(count)
        numbers[VOID] = VOID
        advice = f"; {self._confusion}" if self.raw_suffix is not None else ""
        last = count if self.reduce_zero else count - 1
        return LabelRule(
            numbers, f"0 to {last} or {VOID}", advice, self.masks == "SegmentationClass", CONVERSIONS.get(self.key)
        )

    @property
    def _confusion(self) -> str:
        raw = "label ids instead of trainIds" if self.key == "cityscapes" else "raw COCO ids instead of TrainIds"
        return f"perhaps {raw}: make them with `python -m tcl_core.evaluate convert {self.key} RAW DIR`"


CONVERSIONS: dict[Key, Table] = {
    "coco_stuff": coco_stuff_table(),
    "coco_object": coco_object_table(),
    "cityscapes": cityscapes_table(),
    "context": context_table(),
    "context59": context_table(),
}
"""Raw number -> number of a mask, for the benchmarks whose masks are made; 256 numbers, PASCAL-Context's 460."""

_VOC = (
    "VOC2012 (VOCtrainval_11-May-2012.tar from host.robots.ox.ac.uk/pascal/VOC/voc2012): unpack it, which makes "
    "VOCdevkit/VOC2012"
)
_CONTEXT = (
    "the pictures of VOC2010 (host.robots.ox.ac.uk/pascal/VOC/voc2010) and the 459 labels of PASCAL-Context "
    "(cs.stanford.edu/~roozbeh/pascal-context, trainval.tar.gz): `python -m tcl_core.evaluate convert context RAW DIR` "
    "makes masks and the split from them"
)
_COCO = (
    "val2017.zip and stuffthingmaps_trainval2017.zip of COCO-Stuff 164k (cocodataset.org, github.com/nightrome/"
    "cocostuff): pictures into coco_stuff164k/images/val2017, then `python -m tcl_core.evaluate convert {} RAW DIR` "
    "with RAW the unpacked val2017 of the maps"
)

LAYOUTS: dict[Key, Layout] = {
    layout.key: layout
    for layout in (
        Layout(
            "voc", "VOC", "VOCdevkit/VOC2012", "JPEGImages", "SegmentationClass", ".jpg", ".png", (1449,), _VOC,
            split="ImageSets/Segmentation/val.txt",
        ),
        Layout(
            "voc20", "VOC20", "VOCdevkit/VOC2012", "JPEGImages", "SegmentationClass", ".jpg", ".png", (1449,), _VOC,
            split="ImageSets/Segmentation/val.txt", reduce_zero=True,
        ),
        Layout(
            "context", "Context", "VOCdevkit/VOC2010", "JPEGImages", "SegmentationClassContext", ".jpg", ".png",
            (5104, 5105), _CONTEXT, split="ImageSets/SegmentationContext/val.txt",
        ),
        Layout(
            "context59", "Context59", "VOCdevkit/VOC2010", "JPEGImages", "SegmentationClassContext", ".jpg", ".png",
            (5104, 5105), _CONTEXT, split="ImageSets/SegmentationContext/val.txt", reduce_zero=True,
        ),
        Layout(
            "coco_object", "Object", "coco_stuff164k", "images/val2017", "annotations/val2017", ".jpg",
            "_instanceTrainIds.png", (5000,), _COCO.format("coco_object"), raw_suffix=".png",
        ),
        Layout(
            "coco_stuff", "Stuff", "coco_stuff164k", "images/val2017", "annotations/val2017", ".jpg",
            "_labelTrainIds.png", (5000,), _COCO.format("coco_stuff"), raw_suffix=".png",
        ),
        Layout(
            "cityscapes", "City", "cityscapes", "leftImg8bit/val", "gtFine/val", "_leftImg8bit.png",
            "_gtFine_labelTrainIds.png", (500,),
            "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from cityscapes-dataset.com: unpack both into "
            "cityscapes/, then `python -m tcl_core.evaluate convert cityscapes DIR/cityscapes/gtFine DIR`",
            raw_suffix="_gtFine_labelIds.png",
        ),
        Layout(
            "ade20k", "ADE", "ade", "ADEChallengeData2016/images/validation",
            "ADEChallengeData2016/annotations/validation", ".jpg", ".png", (2000,),
            "ADEChallengeData2016.zip (groups.csail.mit.edu/vision/datasets/ADE20K): unpack it into ade/",
            reduce_zero=True,
        ),
    )
}  # fmt: skip


def root_of(layout: Layout, data: Path) -> Path:
    """Find the root of a benchmark in a folder that holds several, or that is the root itself."""
    return data if not (data / layout.root).is_dir() and (data / layout.images).is_dir() else data / layout.root


def open_benchmark(data: Path, key: str, *, names: NameList = "benchmark") -> Benchmark:
    """Open one of the eight benchmarks.

    Pictures come in the order of the split file, or sorted by their path below the folder.

    Args:
        data: folder that holds `VOCdevkit/`, `cityscapes/` and so on, or the root of this one.
        key: which.
        names: how classes are called in prompts.

    Raises:
        ConfigError: no such benchmark or list of names.
        DataConfigError: its files are not there.
        DataError: a picture without a mask, or the reverse.
    """
    layout = layout_of(key)
    pictures = pictures_of(layout, data)
    for picture in pictures:
        _refuse_missing(layout, picture)
    words = class_words(layout.key, names)
    background: tuple[Word, ...] = ()
    if has_background(layout.key):
        background, words = words[:1], words[1:]
    return Benchmark(layout.key, words, layout.rule, pictures, has_background(layout.key), background)


def layout_of(key: str) -> Layout:
    """Get a layout.

    Raises:
        ConfigError: no benchmark of that name.
    """
    for layout in LAYOUTS.values():
        if layout.key == key:
            return layout
    raise ConfigError(f"no benchmark {key!r}: expected one of {', '.join(KEYS)}")


def pictures_of(layout: Layout, data: Path) -> tuple[LabelledPicture, ...]:
    """List the pictures that should be there, whether or not their files are.

    Raises:
        DataConfigError: no folder, no split file, or no picture.
        DataError: a split that names a picture twice.
    """
    root = root_of(layout, data)
    images, masks = root / layout.images, root / layout.masks
    if not images.is_dir():
        raise DataConfigError(f"no {images} for {layout.key}: expected {layout.obtain}")
    if layout.split is None:
        found = (path.relative_to(images).as_posix() for path in images.rglob(f"*{layout.image_suffix}"))
        names = sorted(name.removesuffix(layout.image_suffix) for name in found if not Path(name).name.startswith("."))
    else:
        names = [name for name in read_lines(root / layout.split, "one name of a picture a line") if name]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{root / layout.split} names {twice} twice: expected every picture once")
    if not names:
        source = images if layout.split is None else root / layout.split
        raise DataConfigError(f"no picture in {source} for {layout.key}: expected {layout.obtain}")
    return tuple(
        LabelledPicture(
            name,
            images / f"{name}{layout.image_suffix}",
            masks / f"{name}{layout.mask_suffix}",
            None if layout.raw_suffix is None else masks / f"{name}{layout.raw_suffix}",
        )
        for name in names
    )


def _refuse_missing(layout: Layout, picture: LabelledPicture) -> None:
    if not picture.image.is_file():
        raise DataError(f"no picture {picture.image}, which {layout.split} names: expected {layout.obtain}")
    if not picture.mask.is_file():
        unconverted = picture.unconverted is not None and picture.unconverted.is_file()
        why = f"only {picture.unconverted.name}, " if unconverted and picture.unconverted else ""
        raise DataError(
            f"no mask {picture.mask} for {picture.image}: {why}expected "
            + (layout.obtain if not unconverted else f"`python -m tcl_core.evaluate convert {layout.key} RAW DIR`")
        )


__all__ = ["CONVERSIONS", "KEYS", "LAYOUTS", "Key", "Layout", "layout_of", "open_benchmark", "pictures_of", "root_of"]
