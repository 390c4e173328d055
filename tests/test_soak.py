"""A minute of a camera that misbehaves. Oracle: what the system says that the process holds."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason='needs pip install -e ".[serve]"')


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process holds is read from /proc")
def test_nothing_grows_in_a_minute() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "soak.py"
    command = [sys.executable, str(script), "--seconds", "60", "--fps", "6", "--size", "64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("memory", "descriptors", "threads", "reconnects"):
        assert what in done.stdout
