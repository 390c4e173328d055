"""What a forked child inherits and can neither use nor free.

Threads stay behind when a process forks. A native library that waits for its own before it frees what they worked on
waits for ever in the child, which then never ends. So a child keeps such things until the system takes its memory back.
"""

import ctypes
import os
from weakref import WeakSet

_WITH_THREADS: WeakSet[object] = WeakSet()  # a fork concerns the whole process, so this does


def has_threads(holder: object) -> int:
    """Remember an object that holds native threads, and give the process that they live in."""
    _WITH_THREADS.add(holder)
    return os.getpid()


def _keep() -> None:
    holders = list(_WITH_THREADS)
    for holder in holders:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(holder))
    system = ctypes.CDLL(None)
    if holders and hasattr(system, "on_exit"):
        # Libraries also free what such objects share, after Python has ended: leave before that, with its status.
        system.on_exit(system._exit, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep)
