"""What README promises. Oracle: its Python example is run as it stands."""

import ast
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line]) == 3
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    shares = ast.literal_eval(done.stdout)
    assert set(shares) == {"background", "car", "road"}
    assert abs(sum(shares.values()) - 1) < 1e-6


def test_the_example_of_the_results_runs() -> None:
    results = (Path(__file__).parents[1] / "docs" / "results.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", results, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [re.findall(r"^<Segmentation .* #(\d+) (\d+x\d+): ", line) for line in lines if line[0] == "<"] == [
        [("0", "640x480")],
        *([(str(number), "768x432")] for number in (1, 2, 3)),
    ]
    assert all(line.split()[0] in ("car", "road") for line in lines if line[0] != "<")


def test_every_file_that_it_names_exists() -> None:
    root = Path(__file__).parents[1]
    named = set(re.findall(r"`((?:runtime|export|tcl_core|csrc)/[\w/.]+\.\w+)`", README))
    named |= set(re.findall(r"\]\(((?!http)[^)]+)\)", README))
    assert len(named) > 10
    assert not {name for name in named if not (root / name).exists()}
