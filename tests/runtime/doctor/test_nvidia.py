"""What fits together on NVIDIA's devices. Oracle: combinations written out, with what a user has to type for each."""

import struct
from pathlib import Path

import pytest

from runtime.doctor import nvidia as doctor_nvidia
from runtime.doctor.camera_device import CameraDevice, query, read_capability
from runtime.doctor.examine import _camera
from runtime.doctor.nvidia import JETPACKS, NvidiaFacts, examine_nvidia, matches

ORIN = NvidiaFacts(jetson_linux="36.4.3", driver_cuda=12, cuda_bindings="12.9.0", tensorrt="10.3.0")
THOR = NvidiaFacts(jetson_linux="38.4.0", driver_cuda=13, cuda_bindings="13.0.1", tensorrt="10.13.3")
DESKTOP = NvidiaFacts(driver_cuda=13, cuda_bindings="13.5.0", tensorrt="11.4.0.106")


def changed(facts: NvidiaFacts, **fields: object) -> NvidiaFacts:
    return NvidiaFacts(**{**facts.__dict__, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("facts", [ORIN, THOR, DESKTOP, NvidiaFacts(), changed(DESKTOP, cuda_bindings="12.9.0")])
def test_what_fits_is_no_problem(facts: NvidiaFacts) -> None:
    assert [finding for finding in matches(facts) if finding.status != "ok"] == []


@pytest.mark.parametrize(
    ("facts", "subject", "detail", "fix"),
    [
        (changed(ORIN, cuda_bindings="13.5.0"), "cuda-bindings", "the driver takes CUDA 12", '"cuda-bindings<13"'),
        (changed(DESKTOP, driver_cuda=12), "cuda-bindings", "is for CUDA 13", 'pip install "cuda-bindings<13"'),
        (
            changed(ORIN, cuda_bindings=None),
            "cuda-bindings",
            "not installed",
            'pip install "cuda-bindings<13" filelock',
        ),
        (
            changed(THOR, cuda_bindings=None),
            "cuda-bindings",
            "not installed",
            'pip install "cuda-bindings<14" filelock',
        ),
        (changed(ORIN, tensorrt=None), "tensorrt", "not installed", "sudo apt-get install nvidia-jetpack"),
        (changed(ORIN, tensorrt=None, tensorrt_of_system=True), "tensorrt", "does not see", "--system-site-packages"),
        (changed(ORIN, tensorrt="11.4.0.106"), "tensorrt", "hides JetPack's 10", "pip uninstall tensorrt"),
        (changed(ORIN, tensorrt="8.6.2"), "tensorrt", "expected 10 or later", "flash JetPack 6 or 7"),
        (changed(DESKTOP, tensorrt="8.6.2"), "tensorrt", "expected 10 or later", "pip install --upgrade tensorrt"),
        (changed(DESKTOP, tensorrt="0.0 (does not import)"), "tensorrt", "does not import", "--upgrade tensorrt"),
        (changed(ORIN, jetson_linux="35.6.0"), "Jetson Linux", r"known are 36 (JetPack 6)", "flash JetPack 6 or 7"),
        (changed(ORIN, onnxruntime_gpu="1.32.0"), "onnxruntime-gpu", "no kernels for Orin", "use --provider tensorrt"),
    ],
)
def test_what_does_not_fit_is_named_with_its_fix(facts: NvidiaFacts, subject: str, detail: str, fix: str) -> None:
    findings = [finding for finding in matches(facts) if finding.status != "ok"]
    assert [finding.subject for finding in findings] == [subject]
    assert detail in findings[0].detail
    assert fix in findings[0].fix


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3"),
        ("# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic", "38.2.0"),
        ("# R35 (release), REVISION: 6.0, GCID: 37391689, BOARD: t186ref", "35.6.0"),
        ("something else", "0"),
    ],
)
def test_the_release_file_is_read(line: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "nv_tegra_release"
    monkeypatch.setattr(doctor_nvidia, "JETSON_RELEASE", release)
    assert doctor_nvidia.gather().jetson_linux is None
    release.write_text(line + "\n")
    assert doctor_nvidia.gather().jetson_linux == version
    assert (int(version.split(".")[0]) in JETPACKS) == version.startswith(("36", "38"))


def test_everything_can_be_examined_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCL_EDGE_ENGINES", str(tmp_path))
    findings = {finding.subject: finding for finding in examine_nvidia()}
    assert "provider tensorrt" in findings
    assert findings["engines"].detail.startswith("0 of 0 MB in")
    assert all(finding.fix for finding in findings.values() if finding.status == "problem")


def answer(driver: bytes, card: bytes, device: int, node: int) -> bytes:
    """The kernel's struct v4l2_capability, written field by field."""
    fields = driver.ljust(16, b"\0"), card.ljust(32, b"\0"), b"usb-1".ljust(32, b"\0")
    return b"".join(fields) + struct.pack("<6I", 0x060800, device, node, 0, 0, 0)


def test_a_camera_is_told_from_its_second_node() -> None:
    both = 0x84A00001
    picture = read_capability(answer(b"uvcvideo", b"HD Webcam: HD Webcam", both, 0x04200001))
    assert picture == CameraDevice("uvcvideo", "HD Webcam: HD Webcam", True)
    assert not read_capability(answer(b"uvcvideo", b"HD Webcam", both, 0x04A00000)).captures
    assert read_capability(answer(b"old", b"no node field", 0x00000001, 0)).captures
    assert read_capability(answer(b"tegra-video", b"vi-output, imx219", 0x85201000, 0x05201000)).captures


def test_what_is_no_camera_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "video0"
    file.touch()
    with pytest.raises(OSError):
        query(file)
    assert "does not answer" in _camera(file).detail
    for camera, status, detail in [
        (CameraDevice("uvcvideo", "Webcam", True), "ok", "Webcam: "),
        (CameraDevice("uvcvideo", "Webcam", False), "ok", "no pictures from this node"),
        (CameraDevice("tegra-video", "imx219", True), "note", "gives raw pixels here"),
    ]:
        monkeypatch.setattr("runtime.doctor.examine.query", lambda _, camera=camera: camera)
        finding = _camera(file)
        assert (finding.status, detail in finding.detail) == (status, True)
