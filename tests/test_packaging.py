"""What a user installs. Oracles: a real wheel in a real environment, a compiler that is not there."""

import ast
import ctypes
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from runtime.sinks.screen import LIBRARIES

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    # Without the search path of whoever runs the tests: it would show the checkout to every environment made here.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files under version control, without anything built: afresh for each test, since builds leave objects."""
    folder = tmp_path_factory.mktemp("clone")
    listed = run("git", "ls-files", "-z", cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout, so what belongs to the source cannot be told")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.mark.slow
def test_the_wheel_streams_in_a_bare_environment(clone: Path, tmp_path: Path, compiler: Path) -> None:
    """Build the wheel for an environment, install it with its requirements only, stream five frames in there.

    Whatever the tests run in has no part in it: neither its packages, which the requirements depend on, nor PYTHONPATH.
    """
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    pip = sys.executable, "-m", "pip", "--python", python
    options = "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, clone
    built = run(*pip, *options, cwd=tmp_path, CC=str(compiler), CXX=str(compiler))
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("tcl_edge-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "runtime/models/tiny.tclb/segmenter.onnx" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "csrc/"))]
    options = "install", "--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt"
    installed = run(*pip, *options, wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    assert run(python, "-I", "-c", "import torch", cwd=tmp_path).returncode != 0
    words = "--classes", "car, yellow submarine"
    streamed = run(python, "-I", "-m", "runtime", "test://pattern?frames=5", "o.mp4", "masks", *words, cwd=tmp_path)
    assert streamed.returncode == 0, streamed.stderr
    assert "5 frames" in streamed.stdout
    assert len(list((tmp_path / "masks").glob("*.png"))) == 5


@pytest.mark.slow
def test_without_a_compiler_the_build_says_what_to_install(clone: Path, tmp_path: Path) -> None:
    pip = sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, clone
    built = run(*pip, cwd=tmp_path, CC="/no/such/compiler", CXX="/no/such/compiler")
    assert built.returncode != 0
    assert "sudo apt-get install g++ python3-dev" in built.stdout + built.stderr


def test_a_checkout_that_is_not_built_says_so(clone: Path) -> None:
    # -S: an editable installation would find the extension of the checkout that the tests belong to.
    done = run(sys.executable, "-S", "-c", "import runtime", cwd=clone)
    assert done.returncode != 0
    assert "run `pip install --editable .`" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere opencv-python brings all that it needs")
def test_the_opencv_that_opens_windows_is_for_machines_with_a_desktop() -> None:
    """Oracle: libraries that every Linux has, one that none has, and what the window asks for when it does not open."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (libraries,) = (n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "DESKTOP")
    assert ast.literal_eval(libraries) == LIBRARIES
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "opencv"]
    known: dict = {"sys": sys, "ctypes": ctypes}
    exec(compile(ast.Module(list(functions), []), "setup.py", "exec"), known)
    for there, expected in {
        ("libc.so.6",): "opencv-python",
        ("libc.so.6", "libthere-is-none.so.1"): "opencv-python-headless",
    }.items():
        known["DESKTOP"] = there
        assert known["opencv"]() == expected


def test_a_module_of_another_distribution_is_not_installed_over(tmp_path: Path) -> None:
    """Oracle: the metadata that setup.py produces in an environment with another distribution's cv2."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    code = (
        "import ast, pathlib, subprocess, sys\n"
        f"source = pathlib.Path({str(ROOT / 'setup.py')!r}).read_text()\n"
        "wanted = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]\n"
        "exec(compile(ast.Module(wanted, []), 'setup.py', 'exec'))\n"
        "print(provided_by_another('cv2', 'opencv-python-headless'))"
    )
    assert run(python, "-c", code, cwd=tmp_path).stdout.strip() == "False"
    (site / "cv2.py").write_text("")
    assert run(python, "-c", code, cwd=tmp_path).stdout.strip() == "True"
    metadata = site / "opencv_python_headless-5.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: opencv-python-headless\nVersion: 5.0\n")
    assert run(python, "-c", code, cwd=tmp_path).stdout.strip() == "False"
