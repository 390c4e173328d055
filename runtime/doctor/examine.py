"""What is installed, what it can do, and what to do about it: `python -m runtime doctor`."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from runtime.bundle import SHIPPED, SUFFIX, Bundle
from runtime.doctor.camera_device import query
from runtime.doctor.finding import Finding, Status
from runtime.doctor.nvidia import JETSON_RELEASE, examine_nvidia
from runtime.engines.onnx import PROVIDERS, OnnxRuntimeEngine
from runtime.errors import TclEdgeError
from runtime.sinks.screen import user_interface, window_problem


def examine() -> Iterator[Finding]:
    """Look at everything; a check that fails itself is a finding, too."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _opencv,
        _onnxruntime,
        _torch,
        examine_nvidia,
        _tensorrt_wheels,
        _bundles,
        _cameras,
        _gstreamer,
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # an examination must not end at the first broken part
            yield Finding(check.__name__.strip("_"), "problem", f"{type(error).__name__}: {error}")


def providers_of(module: str, installed: list[Distribution]) -> list[Distribution]:
    """List the distributions that bring a top-level module; more than one overwrite each other's files."""
    marker = re.compile(rf"^{re.escape(module)}(/__init__)?\.(py|so|.*\.so|pyd)$|^{re.escape(module)}/")
    return [d for d in installed if any(marker.match(str(file)) for file in d.files or ())]


def _label(distribution: Distribution) -> str:
    return f"{distribution.metadata['Name']} {distribution.version}"


def _overwritten(module: str, installed: list[Distribution]) -> Iterator[Finding]:
    """Find out whether several distributions bring the same module, and so overwrite each other."""
    found = {d.metadata["Name"]: d for d in providers_of(module, installed)}
    if len(found) > 1:
        yield Finding(
            module,
            "problem",
            f"{len(found)} distributions overwrite each other: {', '.join(map(_label, found.values()))}",
            f"pip uninstall {' '.join(sorted(found))}, then install the one that you want",
        )


def _conflict(module: str) -> Iterator[Finding]:
    found = providers_of(module, list(distributions()))
    problems = list(_overwritten(module, found))
    if problems:
        yield from problems
    elif found:
        yield Finding(module, "ok", _label(found[0]))
    elif importlib.util.find_spec(module):
        yield Finding(module, "ok", "of the system (not from pip)")
    else:
        yield Finding(module, "problem", "not installed", "pip install -e .")


def _python() -> Iterator[Finding]:
    from runtime import _native
    from runtime.version import __version__

    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors"
    yield Finding("tcl-edge", "ok", f"{__version__}, {machine}, extension {Path(str(_native.__file__)).name}")


def _opencv() -> Iterator[Finding]:
    yield from _conflict("cv2")
    import cv2

    built = cv2.getBuildInformation()
    for part, needed_for in (("FFMPEG", "video files"), ("GStreamer", "CSI cameras through OpenCV")):
        have = re.search(rf"{part}:\s+YES", built) is not None
        status: Status = "ok" if have else "problem" if part == "FFMPEG" else "note"
        fix = "" if have or part != "FFMPEG" else "pip install --force-reinstall opencv-python-headless"
        yield Finding(f"cv2 {part}", status, "yes" if have else f"no: {needed_for} will not open", fix)
    window = window_problem()
    if window is None:
        yield Finding("cv2 window", "ok", user_interface() or "")
    else:
        yield Finding("cv2 window", "note", f"{window.reason}: the sink `display` will not open", window.advice)


def _onnxruntime() -> Iterator[Finding]:
    yield from _conflict("onnxruntime")
    import onnxruntime

    bundle = Bundle.open("tiny")
    graph, spec = bundle.read(bundle.manifest.segmenter.file), bundle.manifest.segmenter
    for provider, name in PROVIDERS.items():
        if name not in onnxruntime.get_available_providers():
            fix = "pip uninstall onnxruntime && pip install onnxruntime-gpu" if provider == "cuda" else ""
            yield Finding(f"provider {provider}", "note", "not in this ONNX Runtime", fix)
            continue
        try:
            OnnxRuntimeEngine(graph, spec, provider=provider).close()
        except TclEdgeError as error:
            if shutil.which("nvidia-smi"):
                advice = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
            else:
                advice = "there is no driver here: pip uninstall onnxruntime-gpu && pip install onnxruntime"
            yield Finding(f"provider {provider}", "problem", str(error), advice)
        else:
            yield Finding(f"provider {provider}", "ok", "starts the shipped model")


def _tensorrt_wheels() -> Iterator[Finding]:
    """TensorRT's wheels for CUDA 12 and 13 have different names and the same modules."""
    wheels = [d for d in distributions() if (d.metadata["Name"] or "").lower().startswith("tensorrt")]
    for module in ("tensorrt", "tensorrt_bindings", "tensorrt_libs"):
        yield from _overwritten(module, wheels)


def _torch() -> Iterator[Finding]:
    """PyTorch is for export and training only; torchvision must be made for the very version."""
    pair = {d.metadata["Name"]: d for d in distributions() if d.metadata["Name"] in ("torch", "torchvision")}
    if "torch" not in pair:
        yield Finding("torch", "note", "not installed: only export and training need it", 'pip install -e ".[export]"')
        return
    yield from _pair(pair["torch"].version, pair.get("torchvision"))


def _pair(torch: str, torchvision: Distribution | None) -> Iterator[Finding]:
    if torchvision is None:
        yield Finding("torch", "problem", f"{torch} without torchvision", f'pip install torchvision "torch=={torch}"')
        return
    wanted = [found[1] for r in torchvision.requires or () if (found := re.match(r"torch\s*\(?==\s*([\w.]+)", r))]
    have = f"torch {torch}, torchvision {torchvision.version}"
    if wanted and torch.split("+")[0] != wanted[0].split("+")[0]:
        yield Finding(
            "torch", "problem", f"{have}, made for torch {wanted[0]}", "pip install --upgrade torch torchvision"
        )
    else:
        yield Finding("torch", "ok", have)


def _bundles() -> Iterator[Finding]:
    for path in sorted(SHIPPED.glob(f"*{SUFFIX}")):
        try:
            Bundle.open(path)
        except TclEdgeError as error:
            yield Finding(path.name, "problem", str(error), "pip install --force-reinstall -e .")
        else:
            yield Finding(path.name, "ok", "complete, every hash is right")


def _cameras() -> Iterator[Finding]:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        yield Finding(
            "cameras", "note", "no /dev/video*", "plug one in; on a Jetson, see docs/jetson.md, section Cameras"
        )
    for device in devices:
        yield _camera(device)


def _camera(device: Path) -> Finding:
    if not os.access(device, os.R_OK | os.W_OK):
        return Finding(str(device), "problem", "no permission", "sudo usermod -aG video $USER, then log in again")
    try:
        camera = query(device)
    except OSError as error:
        fix = "unplug it and plug it in again, or look at `sudo dmesg`"
        return Finding(str(device), "problem", f"does not answer: {error.strerror}", fix)
    if camera.driver == "tegra-video":
        fix = "read it through GStreamer: docs/jetson.md, section Cameras"
        return Finding(str(device), "note", f"{camera.card}: a CSI camera gives raw pixels here", fix)
    if not camera.captures:
        return Finding(str(device), "ok", f"{camera.card}: no pictures from this node, only data about them")
    return Finding(str(device), "ok", f"{camera.card}: {device}, or {device.name.removeprefix('video')}")


def _gstreamer() -> Iterator[Finding]:
    tools = {
        "gst-launch-1.0": "sudo apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good",
        "ffmpeg": "sudo apt-get install ffmpeg",
    }
    for tool, fix in tools.items():
        path = shutil.which(tool)
        yield Finding(tool, "ok", path) if path else Finding(tool, "note", "not found", fix)
    inspect = shutil.which("gst-inspect-1.0")
    if JETSON_RELEASE.is_file() and inspect:
        for element in ("nvarguscamerasrc", "nvvidconv"):
            there = not subprocess.run([inspect, "--exists", element], timeout=60, check=False).returncode
            fix = "" if there else "sudo apt-get install nvidia-l4t-gstreamer, then rm -r ~/.cache/gstreamer-1.0"
            yield Finding(
                element, "ok" if there else "problem", "there" if there else "missing: no CSI camera opens", fix
            )
