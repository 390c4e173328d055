"""How glibc treats freed memory while a model trains on a CPU."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt, see malloc.h
NEVER = -1  # as an unsigned number of bytes, the largest


def keep_freed_memory() -> None:
    """Let this process keep what it frees, instead of giving it back to the system and asking for it again.

    Every step allocates the same large activations. By default glibc maps each anew, and the system clears every page
    of it: two fifths of the time of TCL_v on a CPU (`benchmarks/reencode.py`). Does nothing where there is no glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, NEVER)
