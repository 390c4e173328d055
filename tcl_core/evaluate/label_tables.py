"""Raw label numbers -> the labels that benchmarks count, as tables of all values.

The rules are those of the converters in mmsegmentation 0.27.0 (COCO-Stuff, PASCAL-Context), kakaobrain/tcl
(COCO-Object) and cityscapesscripts. COCO's raw maps hold the id of COCO minus one, so 0 to 181 without the eleven
numbers that COCO never used.
"""

import numpy as np
import numpy.typing as npt

from tcl_core.evaluate.masks import VOID

COCO_UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
NUM_COCO_RAW, NUM_COCO_THINGS = 182, 90
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Id of every class that counts, in the order of the classes."""
CONTEXT_IDS = (
    0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
"""Those of the 459 numbers of PASCAL-Context that are classes, 0 for all others."""

Table = npt.NDArray[np.uint8]


def coco_stuff_table() -> Table:
    """Raw COCO-Stuff -> 0 to 170; numbers that no rule names stay, 255 too: uint8 (256,)."""
    table = np.arange(256, dtype=np.uint8)
    used = np.setdiff1d(np.arange(NUM_COCO_RAW), COCO_UNUSED)
    table[used] = np.arange(len(used))
    return table


def coco_object_table() -> Table:
    """Raw COCO-Stuff -> 1 to 80 of its things; all stuff is 0, and so are pixels that do not count: uint8 (256,)."""
    table = np.arange(256, dtype=np.uint8)
    used = np.setdiff1d(np.arange(NUM_COCO_THINGS), COCO_UNUSED)
    table[used] = np.arange(1, len(used) + 1)
    table[NUM_COCO_THINGS + 1 : NUM_COCO_RAW] = 0
    table[VOID] = 0
    return table


def cityscapes_table() -> Table:
    """Ids -> 0 to 18; all others do not count: uint8 (256,)."""
    table = np.full(256, VOID, np.uint8)
    table[list(CITYSCAPES_IDS)] = np.arange(len(CITYSCAPES_IDS))
    return table


def context_table() -> Table:
    """The 459 numbers of PASCAL-Context -> 0 to 59: uint8 (460,)."""
    table = np.zeros(460, np.uint8)
    table[list(CONTEXT_IDS)] = np.arange(len(CONTEXT_IDS))
    return table


def reduced(table: Table) -> Table:
    """Take class 0 out: what a table makes 0 does not count, k becomes k - 1, 255 stays."""
    return np.where((table == 0) | (table == VOID), VOID, table - 1).astype(np.uint8)


__all__ = [
    "CITYSCAPES_IDS",
    "COCO_UNUSED",
    "CONTEXT_IDS",
    "Table",
    "cityscapes_table",
    "coco_object_table",
    "coco_stuff_table",
    "context_table",
    "reduced",
]
