"""The arrows between the packages, and what their import may not do. Oracles: the syntax tree, a fresh interpreter."""

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"tcl_core", "export", "runtime"}
MAY_IMPORT = {"runtime": {"runtime"}, "tcl_core": {"tcl_core"}, "export": {"export", "runtime", "tcl_core"}}

# An evaluation measures exported bundles too, and bundles are read by their owner.
MAY_ALSO_IMPORT = {"tcl_core/evaluate/bundle.py": {"runtime"}}

# A command gathers what lies above its room; nothing imports it.
COMMAND_MAY_ALSO_IMPORT = {"tcl_core/evaluate/__main__.py": {"table"}}

# Rooms inside the packages, and which others each may import. A file of the first level is a room by its own name, but
# those that are listed together share one.
TOGETHER = {
    "tcl_core": {
        "base": {"errors", "atomic_file", "commands"},
        "model": {"config", "encoder", "grounder", "model", "segment", "pamr", "prompts", "pictures"},
    },
    "runtime": {
        "base": {"errors", "version", "atomic_file", "bundle", "closing", "cores", "forking", "frame", "rate"},
        "machine": {"sensors", "systemd"},
        "segmenter": {"segmenter", "segmentation", "regions", "tally", "colours", "overlay", "temporal"},
        "command": {"__main__", "arguments", "assembly", "command_line", "commands", "job", "report", "tools"},
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
        "baselines": {"base", "model", "towers", "load", "data"},  # passed to an evaluation, which knows none of them
        "evaluate": {"base", "model", "load"},
        "table": {"base", "model", "tiny", "load", "baselines", "evaluate"},
        "train": {"base", "model", "data", "load", "evaluate"},
        "align": {"base", "model", "tiny", "data", "load"},
        "hub": {"train"},  # commands of their own name
        "pack": {"align"},
    },
    "runtime": {
        "base": {"kernels"},
        "kernels": {"base"},
        "machine": {"base"},
        "ros": {"base"},
        "sources": {"base", "ros"},
        "engines": {"base", "words", "sources"},  # a new engine is tried on the shipped clip and words
        "words": {"base", "engines", "segmenter"},
        "segmenter": {"base", "kernels", "words", "engines", "predict"},
        "sinks": {"base", "ros", "words", "segmenter", "sources"},
        "predict": {"base", "segmenter", "sources", "sinks"},  # a method of the segmenter
        "stream": {"base", "machine", "segmenter", "sources", "sinks"},
        "serve": {"base", "kernels", "words", "segmenter", "sources", "sinks", "stream"},
        "doctor": {"base", "engines", "sinks"},
        "benchmark": {"base", "machine", "engines", "words", "segmenter", "sources", "sinks"},
        "command": {
            "base",
            "machine",
            "benchmark",
            "engines",
            "words",
            "segmenter",
            "sources",
            "sinks",
            "stream",
            "serve",
            "doctor",
        },
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
        name = path.relative_to(ROOT).as_posix()
        allowed = ARROWS[package][room] | {room} | COMMAND_MAY_ALSO_IMPORT.get(name, set())
        wrong += [f"{name} -> {other}" for other in others - allowed]
    assert not wrong


def test_the_arrows_are_seen() -> None:
    """Of a file whose imports are known by hand."""
    found = modules_of(ROOT / "tcl_core" / "evaluate" / "bundle.py")
    assert {"runtime.frame", "tcl_core.prompts", "tcl_core.evaluate.soft_masks"} <= found
    assert [room_of(name) for name in ("tcl_core.prompts", "tcl_core.evaluate.soft_masks")] == ["model", "evaluate"]


def run_at_import(node: ast.AST) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: no bodies of functions, nothing for type checkers only."""
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or for_types:
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from run_at_import(child)


def packages_of(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts))}


def needed_at_import(module: str, code: str) -> set[str]:
    """Our modules that must be there, wholly, for `module` to be imported: what it names, and their packages."""
    needed: set[str] = set()
    for node in run_at_import(ast.parse(code)):
        if isinstance(node, ast.Import):
            needed |= {alias.name for alias in node.names if is_module(alias.name)}
        elif isinstance(node, ast.ImportFrom) and node.module and is_module(node.module):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            compiled = {name for name in inside if (ROOT / f"{name.replace('.', '/')}.pyi").is_file()}
            needed |= {name if is_module(name) else node.module for name in inside - compiled}
    # Its own packages have begun before it, and only count where it asks them for names.
    return (needed | set().union(*map(packages_of, needed)) - packages_of(module)) - {module}


def modules() -> dict[str, Path]:
    files = (path for package in sorted(OURS) for path in sorted((ROOT / package).rglob("*.py")))
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    return {name: path for name, path in named.items() if not name.endswith("__main__")}


def test_every_module_can_be_the_first_to_be_imported() -> None:
    """No circle of imports that only works when it is entered at the right place, and each is imported here."""
    needed = {name: needed_at_import(name, path.read_text(encoding="utf-8")) for name, path in modules().items()}
    # Its names come from elsewhere when they are asked for, which the syntax does not show.
    assert not [name for name in needed if name.startswith("tcl_core.") and "tcl_core" in needed[name]]
    tuple(graphlib.TopologicalSorter(needed).static_order())  # raises CycleError, with the circle
    for name in needed:
        importlib.import_module(name)


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("from runtime.sinks import open_sink", {"runtime", "runtime.sinks"}),
        ("from runtime.engines import onnx", {"runtime", "runtime.engines", "runtime.engines.onnx"}),
        ("class C:\n    if True:\n        import export.build", {"export", "export.build"}),
        ("from tcl_core.data import scenes", {"tcl_core.data", "tcl_core.data.scenes"}),
        ("from tcl_core.config import load_config", {"tcl_core.config"}),
        ("from tcl_core import TCL", {"tcl_core"}),
        ("from tcl_core import config", {"tcl_core.config"}),
        ("from runtime import _native", set()),
        ("def f():\n    import export.build", set()),
        ("if TYPE_CHECKING:\n    import export.build", set()),
    ],
)
def test_what_an_import_needs(code: str, needed: set[str]) -> None:
    """By hand, for a module `tcl_core.other`."""
    assert needed_at_import("tcl_core.other", code) == needed


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
        "print({'torch', 'onnxruntime', 'tokenizers', 'typer', 'cyclonedds', 'rosbags'} & set(sys.modules))"
    )
    assert python(code) == "set()"


WRITERS = {"write_text", "write_bytes", "fsync", "mkstemp", "mkdtemp", "NamedTemporaryFile", "save_file", "imwrite"}


@pytest.mark.parametrize("package", sorted(OURS))
def test_one_file_of_a_package_writes(package: str) -> None:
    """Whatever else a file calls to write in place, or to be complete in one step; a video's writer is FFmpeg's."""
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
