"""The arrows between the packages, and what their import may not do. Oracles: the syntax tree, a fresh interpreter."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"tcl_core", "export", "runtime"}
MAY_IMPORT = {"runtime": {"runtime"}, "tcl_core": {"tcl_core"}, "export": {"export", "runtime", "tcl_core"}}

# An evaluation measures exported bundles too, and bundles are read by their owner.
MAY_ALSO_IMPORT = {"tcl_core/evaluate/soft_masks.py": {"runtime"}}


def imported(path: Path) -> set[str]:
    """Top-level names of every import in a file, at whatever depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(OURS))
def test_packages_import_along_the_arrows_only(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    names = {path.relative_to(ROOT).as_posix(): imported(path) & OURS - MAY_IMPORT[package] for path in files}
    wrong = {name: found - MAY_ALSO_IMPORT.get(name, set()) for name, found in names.items()}
    assert not {path: names for path, names in wrong.items() if names}


def test_the_runtime_imports_no_training_library() -> None:
    heavy = {"torch", "torchvision", "open_clip", "timm", "onnx", "transformers"}
    assert not {p.name: found for p in (ROOT / "runtime").rglob("*.py") if (found := imported(p) & heavy)}


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "open_clip", "timm", "onnx", "tcl_core", "export"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""


def python(code: str, cwd: Path | None = None) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd or ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_runtime_segments_with_pytorch_blocked() -> None:
    """New words included: they go through the bundle's own text encoder."""
    code = BLOCK + (
        "import numpy as np, runtime\n"
        "with runtime.Segmenter('tiny', classes='car, purple umbrella') as segmenter:\n"
        "    result = segmenter(np.zeros((48, 64, 3), np.uint8))\n"
        "print(result.mask.shape, 'torch' in sys.modules)\n"
    )
    assert python(code) == "(48, 64) False"


def test_importing_the_runtime_changes_nothing_and_loads_no_engine() -> None:
    # OpenCV is imported first: it extends LD_LIBRARY_PATH itself.
    code = (
        "import os, sys, threading; import cv2; before = dict(os.environ); import runtime\n"
        "assert dict(os.environ) == before and threading.active_count() == 1\n"
        "print({'torch', 'onnxruntime', 'tokenizers', 'colorcet', 'typer'} & set(sys.modules))"
    )
    assert python(code) == "set()"


@pytest.mark.parametrize("package", sorted(OURS))
def test_public_names_exist(package: str) -> None:
    module = importlib.import_module(package)
    assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))
