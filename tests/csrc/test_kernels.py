"""The kernels without Python: sanitizers, and the CMake package as another project uses it.

Oracle: the scalar reference, inside tests/csrc/kernels_test.cpp. For an emulated ARM processor and more cases, run
tests/csrc/run.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def sanitizes(compiler: str) -> bool:
    for what in ("address,undefined", "thread"):
        command = [compiler, "-x", "c++", f"-fsanitize={what}", "-", "-o", "/dev/null"]
        if subprocess.run(command, input="int main() {}", text=True, capture_output=True, check=False).returncode != 0:
            return False
    return True


# Clang compiles sanitizers several times faster than GCC.
COMPILER = next((name for name in ("clang++", "g++") if shutil.which(name) and sanitizes(name)), None)


def run(*command: str | Path, **variables: str) -> str:
    environment = {**os.environ, **({"CXX": COMPILER} if COMPILER else {}), **variables}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="needs a compiler with sanitizers")
def test_sanitizers_find_nothing_and_all_paths_agree():
    assert "300 cases, digest" in run(ROOT / "tests/csrc/run", "address", CASES="300")


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="needs a compiler with sanitizers")
def test_threads_do_not_race():
    assert "50 cases, digest" in run(ROOT / "tests/csrc/run", "thread", CASES="50")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")
def test_another_project_uses_the_installed_package(tmp_path, compiler):
    run("cmake", "-S", ROOT / "csrc", "-B", tmp_path / "kernels", f"-DCMAKE_CXX_COMPILER={compiler}")
    run("cmake", "--build", tmp_path / "kernels", "--parallel", "2")
    run("cmake", "--install", tmp_path / "kernels", "--prefix", tmp_path / "prefix")
    run("cmake", "-S", ROOT / "examples/cpp", "-B", tmp_path / "app", f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}")
    run("cmake", "--build", tmp_path / "app")
    printed = run(tmp_path / "app/segment", tmp_path / "out.ppm")
    counts = [int(line.split()[2]) for line in printed.splitlines()]
    assert sum(counts) == 480 * 640
    assert min(counts) > 20000
    assert (tmp_path / "out.ppm").stat().st_size == 480 * 640 * 3 + len("P6\n640 480\n255\n")
