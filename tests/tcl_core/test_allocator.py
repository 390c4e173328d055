"""Freed memory that the process keeps. Oracle: page faults as the kernel counts them."""

import subprocess
import sys

import pytest

# 64 MB, written and freed five times; how many pages were new after the first time?
PROGRAM = """
import ctypes, resource, sys
from tcl_core.allocator import keep_freed_memory
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
print(faults[-1] - faults[0])
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_kept_memory_is_not_cleared_again() -> None:
    """A page is 4 KB, or 2 MB where the kernel gives huge ones; kept memory needs hardly any."""
    assert faults("keep") < 20 < faults("give back")
