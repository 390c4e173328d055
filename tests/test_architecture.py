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
MAY_ALSO_IMPORT = {"tcl_core/evaluate/bundle.py": {"runtime"}}

# Rooms inside the packages, and which others each may import. A file of the first level is a room by its own name, but
# those that are listed together share one.
TOGETHER = {
    "tcl_core": {
        "base": {"errors", "atomic_file", "commands"},
        "model": {"config", "encoder", "grounder", "model", "segment", "pamr", "prompts", "pictures"},
    },
    "runtime": {
        "base": {"errors", "version", "atomic_file", "bundle", "closing", "frame", "latency"},
        "segmenter": {"segmenter", "segmentation", "regions", "tally", "colours", "overlay", "temporal"},
        "command": {"__main__", "command_line", "commands", "tools"},
    },
}
ARROWS = {
    "tcl_core": {
        "base": set(),
        "model": {"base"},
        "tiny": {"base", "model"},
        "towers": {"base", "model"},
        "data": {"base", "model"},
        "load": {"base", "model", "tiny", "towers", "data"},
        "predict": {"base", "model", "load"},
        "evaluate": {"base", "model", "load"},
        "train": {"base", "model", "data", "load", "evaluate"},
        "align": {"base", "model", "tiny", "data", "load"},
        "hub": {"train"},  # commands of their own name
        "pack": {"align"},
    },
    "runtime": {
        "base": {"kernels"},
        "kernels": {"base"},
        "sources": {"base"},
        "engines": {"base", "words", "sources"},  # a new engine is tried on the shipped clip and words
        "words": {"base", "engines", "segmenter"},
        "segmenter": {"base", "kernels", "words", "engines", "predict"},
        "sinks": {"base", "segmenter", "sources"},
        "predict": {"base", "segmenter", "sources", "sinks"},  # a method of the segmenter
        "stream": {"base", "segmenter", "sources", "sinks"},
        "doctor": {"base", "engines", "sinks"},
        "command": {"base", "engines", "words", "segmenter", "sources", "sinks", "stream", "doctor"},
    },
}


def modules_of(path: Path) -> set[str]:
    """Full names of our modules that a file imports, at whatever depth, also as names of a package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if is_module(name)}


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return name.split(".")[0] in OURS and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


def room_of(module: str) -> str | None:
    """The room that a module lies in; None for a package itself."""
    package, *rest = module.split(".")
    if not rest:
        return None
    return next((room for room, files in TOGETHER[package].items() if rest[0] in files), rest[0])


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


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_rooms_import_along_the_arrows_only(package: str) -> None:
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        if room is None:  # the package's own list of public names
            continue
        assert room in ARROWS[package], f"{path} lies in a room without arrows"
        others = {room_of(module) for module in modules_of(path) if module.startswith(f"{package}.")}
        wrong += [f"{path.relative_to(ROOT)} -> {other}" for other in others - ARROWS[package][room] - {room}]
    assert not wrong


def test_the_arrows_are_seen() -> None:
    """Of a file whose imports are known by hand."""
    found = modules_of(ROOT / "tcl_core" / "evaluate" / "bundle.py")
    assert {"runtime.frame", "tcl_core.prompts", "tcl_core.evaluate.soft_masks"} <= found
    assert [room_of(name) for name in ("tcl_core.prompts", "tcl_core.evaluate.soft_masks")] == ["model", "evaluate"]


def test_every_module_can_be_the_first_to_be_imported() -> None:
    """No circle of imports that only works when it is entered at the right place."""
    files = (path for package in sorted(OURS) for path in sorted((ROOT / package).rglob("*.py")))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.stem != "__main__"]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    for known in [k for k in sys.modules if k.split('.')[0] in ('tcl_core', 'export', 'runtime')]:\n"
        "        if known != 'runtime._native': del sys.modules[known]\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


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
        "print({'torch', 'onnxruntime', 'tokenizers', 'typer'} & set(sys.modules))"
    )
    assert python(code) == "set()"


WRITERS = {"write_text", "write_bytes", "fsync", "mkstemp", "mkdtemp", "NamedTemporaryFile", "save_file", "imwrite"}


@pytest.mark.parametrize("package", sorted(OURS))
def test_one_file_of_a_package_writes(package: str) -> None:
    """Whatever else a file calls to write in place, or to be complete in one step; a video's writer is OpenCV's."""
    own = ROOT / package / "atomic_file.py"
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in WRITERS and path != own
    ]
    assert not found


@pytest.mark.parametrize("package", sorted(OURS))
def test_public_names_exist(package: str) -> None:
    module = importlib.import_module(package)
    assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))
