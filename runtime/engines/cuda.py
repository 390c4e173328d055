"""The little of CUDA that an engine needs: memory on the device, copies, one stream."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError

KERNEL_DRIVER = Path("/proc/driver/nvidia/version")


class DeviceMemory(Protocol):
    """Memory of a device, by address, and the stream on which everything happens in order."""

    @property
    def stream(self) -> int:
        """Handle of the stream."""

    def allocate(self, size: int) -> int:
        """Return the address of `size` new bytes."""

    def free(self, address: int) -> None:
        """Give memory back."""

    def upload(self, address: int, array: npt.NDArray[Any]) -> None:
        """Copy a contiguous array to the device."""

    def download(self, array: npt.NDArray[Any], address: int) -> None:
        """Copy from the device into a contiguous array; it is complete after `synchronize`."""

    def synchronize(self) -> None:
        """Wait for everything on the stream."""

    def close(self) -> None:
        """Give the stream back."""


@dataclass(frozen=True)
class Gpu:
    """What an engine is specific to."""

    name: str
    compute_capability: str
    driver: str


def load_cuda() -> Any:
    """Import the CUDA runtime.

    Raises:
        EngineError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise EngineError(
            f"provider 'tensorrt' needs the package cuda-bindings ({error}): `pip install \"cuda-bindings<13\"` for "
            "CUDA 12 (JetPack 6), `pip install cuda-bindings` for CUDA 13 (JetPack 7)"
        ) from None
    return runtime


def find_gpu(cudart: Any) -> Gpu:
    """Describe the first GPU.

    Raises:
        EngineError: there is none, or its driver does not work with this CUDA runtime.
    """
    try:
        count = call(cudart, cudart.cudaGetDeviceCount())
    except EngineError as error:
        raise EngineError(
            f"provider 'tensorrt' needs an NVIDIA GPU with its driver: {error}; see `python -m runtime doctor`"
        ) from None
    if not count:
        raise EngineError("provider 'tensorrt' needs an NVIDIA GPU, and there is none: use --provider cpu")
    properties = call(cudart, cudart.cudaGetDeviceProperties(0))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    version = int(call(cudart, cudart.cudaDriverGetVersion()))
    driver = f"CUDA {version // 1000}.{version % 1000 // 10}"
    if KERNEL_DRIVER.is_file() and (
        found := re.search(r"Kernel Module.*?\s(\d[\d.]+)", KERNEL_DRIVER.read_text(encoding="utf-8", errors="replace"))
    ):
        driver += f", {found[1]}"
    return Gpu(name.rstrip("\0"), f"{properties.major}.{properties.minor}", driver)


def call(cudart: Any, result: tuple[Any, ...]) -> Any:
    """Unpack what a function of cuda-bindings returned.

    Raises:
        EngineError: CUDA reported an error.
    """
    code, *values = result
    if int(code):
        described = cudart.cudaGetErrorString(code)[1]
        text = described.decode() if isinstance(described, bytes) else str(described)
        raise EngineError(f"CUDA error {int(code)}: {text}")
    return values[0] if values else None


class CudaMemory:
    """Memory of the first GPU.

    Args:
        cudart: the module `cuda.bindings.runtime`.

    Raises:
        EngineError: CUDA does not start.
    """

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart
        self._stream = call(cudart, cudart.cudaStreamCreate())

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream)

    def allocate(self, size: int) -> int:
        """Return the address of `size` new bytes.

        Raises:
            EngineError: the device has not that much left.
        """
        try:
            return int(call(self._cudart, self._cudart.cudaMalloc(size)))
        except EngineError as error:
            raise EngineError(
                f"{size / 1e6:.0f} MB of GPU memory: {error}; choose a smaller --imgsz, or close other programs"
            ) from None

    def free(self, address: int) -> None:
        """Give memory back."""
        call(self._cudart, self._cudart.cudaFree(address))

    def upload(self, address: int, array: npt.NDArray[Any]) -> None:
        """Copy a contiguous array to the device."""
        self._copy(address, array.ctypes.data, array.nbytes, self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def download(self, array: npt.NDArray[Any], address: int) -> None:
        """Copy from the device into a contiguous array; it is complete after `synchronize`."""
        self._copy(array.ctypes.data, address, array.nbytes, self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        call(self._cudart, self._cudart.cudaMemcpyAsync(target, source, size, kind, self._stream))

    def synchronize(self) -> None:
        """Wait for everything on the stream."""
        call(self._cudart, self._cudart.cudaStreamSynchronize(self._stream))

    def close(self) -> None:
        """Give the stream back."""
        call(self._cudart, self._cudart.cudaStreamDestroy(self._stream))


class Buffers:
    """One piece of device memory for each name, which grows when it has to.

    Args:
        memory: of the device.
    """

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory
        self._held: dict[str, tuple[int, int]] = {}

    def reserve(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
        """Return the address of enough memory for an array; what was in it is lost where it grows."""
        size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        address, held = self._held.get(name, (0, 0))
        if held < size:
            if held:
                del self._held[name]
                self._memory.free(address)
            address = self._memory.allocate(size)
            self._held[name] = (address, size)
        return address

    def free(self) -> None:
        """Give everything back."""
        while self._held:
            _, (address, _) = self._held.popitem()
            self._memory.free(address)
