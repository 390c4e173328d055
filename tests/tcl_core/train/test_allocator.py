"""Freed memory that the process keeps. Oracle: page faults as the kernel counts them."""

import subprocess
import sys

import pytest

# 64 MB, written and freed five times; how many pages were new after the first time? And does the heap keep 3 GB, of
# which nothing is written?
PROGRAM = """
import ctypes, resource, sys
from tcl_core.train.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
faults = []
for _ in range(5):
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(64 << 20)))
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
libc.sbrk.restype = ctypes.c_void_p
begin = libc.sbrk(0)
libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(3 << 30))))
print(faults[-1] - faults[0], libc.sbrk(0) - begin)
"""


def measure(mode: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    faults, kept = done.stdout.split()
    return int(faults), int(kept)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_kept_memory_is_not_cleared_again() -> None:
    """A page is 4 KB, or 2 MB where the kernel gives huge ones; kept memory needs hardly any."""
    (few, kept), (many, nothing) = measure("keep"), measure("give back")
    assert few < 20 < many
    assert nothing < 2**30 < kept
