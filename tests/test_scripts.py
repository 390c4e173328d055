"""The scripts beside the packages. Oracles: their help, and the bytes of what lies in docs/."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

HELP = """
import contextlib, io, runpy, sys
for path in sys.argv[1:]:
    sys.path[0], sys.argv[1:] = path.rpartition("/")[0], ["--help"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        assert end.code in (0, None), path
    assert "usage: " in said.getvalue(), f"{path} does not say how it is used"
"""


def test_help_says_how_a_script_is_used_and_does_nothing() -> None:
    scripts = [
        path
        for folder in ("benchmarks", "examples")
        for path in sorted((ROOT / folder).glob("*.py"))
        if "__main__" in path.read_text(encoding="utf-8")
    ]
    assert len(scripts) > 12
    before = {path: path.read_bytes() for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()}
    command = [sys.executable, "-c", HELP, *map(str, scripts)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()} == before
