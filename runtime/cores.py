"""How many cores this process may use."""

import os


def usable_cores() -> int:
    """Count the cores that the system gives this process: fewer than there are in a container or under `taskset`."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
