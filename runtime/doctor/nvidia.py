"""What `python -m runtime doctor` says about NVIDIA: driver, CUDA, TensorRT, JetPack, and whether they fit together."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runtime.doctor.finding import Finding
from runtime.engines.cache import EngineCache, default_folder
from runtime.engines.cuda import call, find_gpu, load_cuda
from runtime.engines.tensorrt import load_tensorrt
from runtime.errors import EngineError

JETSON_RELEASE = Path("/etc/nv_tegra_release")
SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")
EXPERIENCE = (
    "no version of this package has run on a GPU yet, neither with CUDA nor with TensorRT. Tested without one: parsing "
    "and building, with TensorRT for RTX; the cache of engines; the runner, against a stand-in. So a new engine is "
    "compared with ONNX Runtime before it is used"
)


@dataclass(frozen=True)
class JetPack:
    """What a release of Jetson Linux comes with."""

    name: str
    cuda: int
    tensorrt: int


JETPACKS = {36: JetPack("6", 12, 10), 38: JetPack("7", 13, 10), 39: JetPack("7.2", 13, 10)}
"""By the major version of Jetson Linux."""


@dataclass(frozen=True)
class NvidiaFacts:
    """What is installed, None where something is not.

    Attributes:
        jetson_linux: version of Jetson Linux, such as "36.4.3".
        driver_cuda: major version of CUDA that the driver takes.
        cuda_bindings: version of the package.
        tensorrt: version of the module that Python finds.
        tensorrt_of_system: whether the system's Python has it, in a place that this environment may not see.
        onnxruntime_gpu: version of the package.
    """

    jetson_linux: str | None = None
    driver_cuda: int | None = None
    cuda_bindings: str | None = None
    tensorrt: str | None = None
    tensorrt_of_system: bool = False
    onnxruntime_gpu: str | None = None


def examine_nvidia() -> Iterator[Finding]:
    """Look at everything that `--provider cuda` and `--provider tensorrt` need."""
    facts = gather()
    yield from _driver(facts)
    yield from matches(facts)
    yield from _tensorrt(facts)
    yield from _engines()
    yield Finding("tested on GPUs", "note", EXPERIENCE)


def gather() -> NvidiaFacts:
    """Collect what is installed."""
    return NvidiaFacts(
        jetson_linux=_jetson_linux(),
        driver_cuda=_driver_cuda(),
        cuda_bindings=_version("cuda-bindings"),
        tensorrt=_tensorrt_version(),
        tensorrt_of_system=(SYSTEM_PACKAGES / "tensorrt").is_dir(),
        onnxruntime_gpu=_version("onnxruntime-gpu"),
    )


def matches(facts: NvidiaFacts) -> Iterator[Finding]:
    """Say which of the installed versions do not fit each other, and what to install instead."""
    if facts.jetson_linux is not None:
        yield from _jetson(facts, facts.jetson_linux)
    if facts.cuda_bindings is not None and facts.driver_cuda:
        have = int(facts.cuda_bindings.split(".")[0])
        if have > facts.driver_cuda:
            yield Finding(
                "cuda-bindings",
                "problem",
                f"{facts.cuda_bindings} is for CUDA {have}, the driver takes CUDA {facts.driver_cuda}",
                f'pip install "cuda-bindings<{facts.driver_cuda + 1}"',
            )
        else:
            yield Finding("cuda-bindings", "ok", f"{facts.cuda_bindings}, the driver takes CUDA {facts.driver_cuda}")
    if facts.tensorrt is not None and int(facts.tensorrt.split(".")[0]) < 10:
        fix = "flash JetPack 6 or 7" if facts.jetson_linux else "pip install --upgrade tensorrt"
        yield Finding("tensorrt", "problem", f"{facts.tensorrt}: expected 10 or later", fix)


def _jetson(facts: NvidiaFacts, release: str) -> Iterator[Finding]:
    jetpack = JETPACKS.get(int(release.split(".")[0]))
    if jetpack is None:
        known = ", ".join(f"{major} (JetPack {j.name})" for major, j in JETPACKS.items())
        yield Finding(
            "Jetson Linux", "problem", f"{release}: known are {known}", "flash JetPack 6 or 7: docs/jetson.md"
        )
        return
    yield Finding("Jetson Linux", "ok", f"{release}, JetPack {jetpack.name}, CUDA {jetpack.cuda}")
    if facts.tensorrt is None and facts.tensorrt_of_system:
        yield Finding(
            "tensorrt",
            "problem",
            f"JetPack's is in {SYSTEM_PACKAGES}, which this environment does not see",
            "python3 -m venv --system-site-packages .venv, and install into that",
        )
    elif facts.tensorrt is None:
        yield Finding("tensorrt", "problem", "not installed", "sudo apt-get install nvidia-jetpack")
    elif int(facts.tensorrt.split(".")[0]) > jetpack.tensorrt:
        yield Finding(
            "tensorrt",
            "problem",
            f"{facts.tensorrt} hides JetPack's {jetpack.tensorrt}, and does not run on a Jetson",
            "pip uninstall tensorrt",
        )
    if facts.cuda_bindings is None:
        fix = f'pip install "cuda-bindings<{jetpack.cuda + 1}" filelock'
        yield Finding("cuda-bindings", "problem", "not installed: --provider tensorrt needs it", fix)
    if facts.onnxruntime_gpu is not None:
        yield Finding(
            "onnxruntime-gpu",
            "note",
            f"{facts.onnxruntime_gpu}: the wheel for aarch64 has no kernels for Orin or Thor",
            "use --provider tensorrt; `pip uninstall onnxruntime-gpu && pip install onnxruntime`",
        )


def _driver(facts: NvidiaFacts) -> Iterator[Finding]:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        if facts.jetson_linux is None:
            yield Finding("NVIDIA driver", "note", "no nvidia-smi: no NVIDIA GPU here, or no driver")
        return
    query = [smi, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        yield Finding("NVIDIA driver", "problem", said, "reinstall the driver, or reboot")
        return
    for gpu in done.stdout.strip().splitlines():
        yield Finding("NVIDIA GPU", "ok", gpu)


def _tensorrt(facts: NvidiaFacts) -> Iterator[Finding]:
    """Start what `--provider tensorrt` starts, short of an engine."""
    try:
        trt, cudart = load_tensorrt(), load_cuda()
        gpu = find_gpu(cudart)
    except EngineError as error:
        wanted = facts.tensorrt is not None or facts.jetson_linux is not None
        yield Finding("provider tensorrt", "problem" if wanted else "note", str(error), _next_step(facts))
        return
    if importlib.util.find_spec("filelock") is None:
        yield Finding("provider tensorrt", "problem", "the package filelock is not installed", "pip install filelock")
        return
    found = f"TensorRT {trt.__version__} on {gpu.name}, compute capability {gpu.compute_capability}, {gpu.driver}"
    yield Finding("provider tensorrt", "ok", found)


def _next_step(facts: NvidiaFacts) -> str:
    if facts.jetson_linux is not None:
        return "docs/jetson.md, section Install"
    if facts.tensorrt is None:
        return "only where there is an NVIDIA GPU: pip install tensorrt cuda-bindings filelock"
    return (
        "pip install cuda-bindings filelock" if facts.cuda_bindings is None else "install or update the NVIDIA driver"
    )


def _engines() -> Iterator[Finding]:
    folder = default_folder()
    if not folder.is_dir():
        return
    records = list(EngineCache(folder).records())
    size = sum(record.plan.bytes for _, record in records) / 1e6
    yield Finding("engines", "ok", f"{len(records)} of {size:.0f} MB in {folder}; may be deleted at any time")


def _jetson_linux() -> str | None:
    if not JETSON_RELEASE.is_file():
        return None
    found = re.search(r"# R(\d+).*REVISION: ([\d.]+)", JETSON_RELEASE.read_text(encoding="utf-8", errors="replace"))
    return f"{found[1]}.{found[2]}" if found else "0"


def _driver_cuda() -> int | None:
    try:
        cudart = load_cuda()
        driver = int(call(cudart, cudart.cudaDriverGetVersion()))
    except (EngineError, OSError, RuntimeError):
        return None
    return driver // 1000 or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _tensorrt_version() -> str | None:
    """Ask the module in a process of its own: a broken one may not only raise."""
    if importlib.util.find_spec("tensorrt") is None:
        return None
    code = "import tensorrt; print(tensorrt.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout.strip()
    return said if re.match(r"\d+\.", said) else "0.0 (does not import)"
