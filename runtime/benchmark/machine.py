"""What a figure was measured on: without it, it says nothing."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import runtime.version
from runtime.cores import usable_cores
from runtime.engines.cuda import find_gpu, load_cuda
from runtime.errors import EngineError
from runtime.sensors import Reading

LIBRARIES = {"onnxruntime": "ONNX Runtime", "numpy": "NumPy", "cv2": "OpenCV"}


@dataclass(frozen=True)
class Machine:
    """A machine and what runs on it.

    Attributes:
        board: what a single-board computer calls itself; empty on others.
        processor: its name.
        cores: that this process may use.
        memory_gb: of the machine; None where it does not tell.
        gpu: name and driver of the first NVIDIA GPU; empty if there is none.
        system: name and version.
        versions: of Python, this package and the libraries.
        providers: that ONNX Runtime offers.
    """

    board: str
    processor: str
    cores: int
    memory_gb: float | None
    gpu: str
    system: str
    versions: dict[str, str]
    providers: list[str]


def describe_machine(root: Path = Path("/")) -> Machine:
    """Describe this machine.

    Args:
        root: of its file system.
    """
    import onnxruntime

    versions = {"Python": platform.python_version(), "TCL Edge": runtime.version.__version__}
    versions |= {name: str(import_module(module).__version__) for module, name in LIBRARIES.items()}
    cores = usable_cores()
    return Machine(
        board=_text(root / "proc/device-tree/model").strip("\0\n"),
        processor=processor(root),
        cores=cores,
        memory_gb=_memory_gb(root),
        gpu=gpu(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions=versions,
        providers=list(onnxruntime.get_available_providers()),
    )


def processor(root: Path = Path("/")) -> str:
    """Name the processor, as the system does."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.lower().startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu() -> str:
    """Name the first NVIDIA GPU and its driver; empty if there is none."""
    try:
        found = find_gpu(load_cuda())
    except (EngineError, OSError, RuntimeError):
        smi = shutil.which("nvidia-smi")
        if smi is None:
            return ""
        query = [smi, "--query-gpu=name,driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""
    return f"{found.name}, {found.driver}"


@dataclass(frozen=True)
class Condition:
    """How the machine is: figures of a warm, busy or throttled one are not those of another.

    Attributes:
        temperature_c, power_w, throttled: see `runtime.sensors.Reading`.
        load: of the last minute: processes that compute or wait for the disk; None where the system does not tell.
    """

    temperature_c: float | None
    power_w: float | None
    throttled: tuple[str, ...]
    load: float | None

    @classmethod
    def of(cls, reading: Reading) -> "Condition":
        """Complete what the sensors say."""
        load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
        return cls(reading.temperature_c, reading.power_w, reading.throttled, load)


def _memory_gb(root: Path) -> float | None:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return round(int(value.split()[0]) * 1024 / 1e9, 1)
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
