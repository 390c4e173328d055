"""The doctor. Oracles: distributions made for the test, and a real run on this machine."""

import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution, distributions
from pathlib import Path

import pytest

from runtime.doctor.examine import _conflict, _pair, _tensorrt_wheels, examine, providers_of
from runtime.doctor.finding import Finding
from runtime.sinks.screen import window_problem


def distribution(folder: Path, name: str, files: list[str]) -> Distribution:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return PathDistribution(info)


def test_distributions_of_a_module_are_told_by_their_files(tmp_path: Path) -> None:
    names = {
        "opencv-python": ["cv2/__init__.py", "cv2/cv2.abi3.so"],
        "opencv-python-headless": ["cv2/__init__.py"],
        "cv2-helper": ["cv2_helper/__init__.py"],
        "other": ["other.py"],
    }
    installed = [distribution(tmp_path, name, files) for name, files in names.items()]
    assert [d.metadata["Name"] for d in providers_of("cv2", installed)] == ["opencv-python", "opencv-python-headless"]
    assert [d.metadata["Name"] for d in providers_of("other", installed)] == ["other"]


def test_two_distributions_of_one_module_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [distribution(tmp_path, name, ["onnxruntime/__init__.py"]) for name in ("onnxruntime", "onnxruntime-gpu")]
    monkeypatch.setattr("runtime.doctor.examine.distributions", lambda: both)
    (finding,) = _conflict("onnxruntime")
    assert finding.status == "problem"
    assert finding.fix.startswith("pip uninstall onnxruntime onnxruntime-gpu")


def test_here_everything_that_is_needed_works() -> None:
    findings = {finding.subject: finding for finding in examine()}
    for subject in ("tcl-edge", "cv2", "cv2 FFMPEG", "onnxruntime", "provider cpu", "tiny.tclb"):
        assert findings[subject].status == "ok", findings[subject]
    versions = {d.metadata["Name"]: d.version for d in distributions()}
    assert versions["onnxruntime"] in findings["onnxruntime"].detail
    assert (findings["cv2 window"].status == "ok") == (window_problem() is None)
    assert all(f.fix for f in findings.values() if f.status == "problem")
    assert "has run on a GPU" in findings["tested on GPUs"].detail


def test_wheels_of_tensorrt_for_two_versions_of_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        distribution(tmp_path, f"tensorrt-cu{cuda}-bindings", ["tensorrt_bindings/__init__.py"]) for cuda in (12, 13)
    ]
    monkeypatch.setattr("runtime.doctor.examine.distributions", lambda: both[:1])
    assert list(_tensorrt_wheels()) == []
    monkeypatch.setattr("runtime.doctor.examine.distributions", lambda: both)
    (finding,) = _tensorrt_wheels()
    assert finding.status == "problem"
    assert finding.fix.startswith("pip uninstall tensorrt-cu12-bindings tensorrt-cu13-bindings, then")


def test_torchvision_must_be_made_for_this_torch(tmp_path: Path) -> None:
    vision = distribution(tmp_path, "torchvision", ["torchvision/__init__.py"])
    metadata = tmp_path / "torchvision-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: numpy\nRequires-Dist: torch==2.14.1\n")
    assert [f.status for f in _pair("2.14.1", vision)] == ["ok"]
    assert [f.status for f in _pair("2.14.1+cpu", vision)] == ["ok"]
    (finding,) = _pair("2.13.0", vision)
    assert (finding.status, finding.fix) == ("problem", "pip install --upgrade torch torchvision")
    assert "made for torch 2.14.1" in finding.detail
    (finding,) = _pair("2.14.1", None)
    assert finding.fix == 'pip install torchvision "torch==2.14.1"'


def test_a_check_that_fails_is_a_finding_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken():
        raise OSError("no such thing")
        yield

    monkeypatch.setattr("runtime.doctor.examine._python", broken)
    found = examine()
    assert next(found) == Finding("broken", "problem", "OSError: no such thing")
    assert next(found).subject.startswith("cv2")


def test_the_command_prints_a_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "doctor"], capture_output=True, text=True, check=False, timeout=120
    )
    assert "provider cpu" in done.stdout, done.stderr
    assert ("problem" in done.stdout) == (done.returncode == 1)
