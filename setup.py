"""Build of the C++ extension, and the two requirements that depend on what is installed already."""

import ctypes
import subprocess
import sys
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import CompileError

ALWAYS = [
    "numpy>=1.26",
    "pydantic>=2.7",
    "safetensors>=0.4.5",
    "tokenizers>=0.20",
    "typer>=0.15",
    "rich>=13.7",
    "platformdirs>=4",
    "pyyaml>=6",
    "av>=17",  # tells the index of a file
]
# What opencv-python needs from a Linux and does not bring: a desktop has it, a container or a server often not, and
# there not even the import works. runtime/sinks/screen.py has the same list.
DESKTOP = ("libGL.so.1", "libxcb.so.1", "libX11.so.6", "libSM.so.6", "libgthread-2.0.so.0")


def opencv() -> str:
    """Name the OpenCV that opens windows where its libraries are there, otherwise the one that needs none."""
    if sys.platform == "linux":
        try:
            for library in DESKTOP:
                ctypes.CDLL(library)
        except OSError:
            return "opencv-python-headless"
    return "opencv-python"


# (module, distribution we ask for): several distributions provide each of these modules and overwrite one
# another's files (opencv-python, opencv-contrib-python, Jetson's own; onnxruntime-gpu, onnxruntime-openvino, ...).
ONE_PROVIDER = [
    ("cv2", opencv(), ">=4.8"),
    ("onnxruntime", "onnxruntime", ">=1.18"),
]


def provided_by_another(module: str, distribution: str) -> bool:
    """Tell whether the target environment has `module` from elsewhere than `distribution`.

    PEP 508 has no "or", so this is looked up when the package is built. `-I` leaves pip's build isolation, which
    works through environment variables.
    """
    probe = (
        "import importlib.metadata as m, importlib.util as u, sys\n"
        f"names = {{d.metadata['Name'].lower() for d in m.distributions()}}\n"
        f"sys.exit(0 if u.find_spec({module!r}) and {distribution!r} not in names else 1)"
    )
    return subprocess.run([sys.executable, "-I", "-c", probe], check=False).returncode == 0


# No fused multiply-adds: every machine gives the same labels. And the kernels are written with vectors: where GCC looks
# for more of them itself, it makes them twice as slow.
OPTIMIZE = ["-O2", "-ffp-contract=off", "-fno-tree-slp-vectorize", "-pthread"]


class build_ext_with_advice(build_ext):  # noqa: N801 - setuptools' naming
    """Says what to install when there is no working C++ compiler."""

    def build_extensions(self) -> None:
        """Compile, and explain a failure."""
        try:
            super().build_extensions()
        except CompileError as error:
            raise CompileError(
                f"{error}\n\n"
                "tcl-edge compiles a small C++17 extension (runtime._native) and the compiler did not manage.\n"
                "  Debian, Ubuntu, Jetson:  sudo apt-get install g++ python3-dev\n"
                "  Fedora:                  sudo dnf install gcc-c++ python3-devel\n"
                "  macOS:                   xcode-select --install\n"
                "  Windows:                 install the 'Desktop development with C++' workload of Visual Studio\n"
                "Another compiler can be named with CXX=/path/to/c++ . Then run the same command again."
            ) from error


ParallelCompile("TCL_EDGE_BUILD_JOBS", default=0).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "runtime._native",
            sorted(str(source) for source in Path("csrc").rglob("*.cpp")),
            include_dirs=["csrc/include"],
            depends=sorted(str(header) for header in Path("csrc").rglob("*.h")),
            extra_compile_args=[] if sys.platform == "win32" else OPTIMIZE,
            extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
            cxx_std=17,
        )
    ],
    cmdclass={"build_ext": build_ext_with_advice},
    install_requires=ALWAYS
    + [
        distribution + version
        for module, distribution, version in ONE_PROVIDER
        if not provided_by_another(module, distribution)
    ],
)
