"""Files of weights: safetensors, torch.save of any age, TorchScript archives. Read as data, never executed."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from tcl_core.errors import WeightsError
from tcl_core.towers.restricted_pickle import Inert, RestrictedUnpickler

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
ZIP_MAGIC = b"PK\x03\x04"
PICKLE_PROTOCOL = b"\x80"


def read_weights_file(path: str | Path) -> Any:
    """Read what a file of weights holds.

    Returns:
        What was saved: usually a dict with tensors; for a TorchScript archive its state dict.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: a web page, a Git LFS pointer, a truncated or damaged file, or no weights at all.
        UnsafePickleError: reading it could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: expected weights (.pth, .pt, .bin or .safetensors)")
    with path.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        _refuse_what_is_no_weights(path, head)
        try:
            if path.suffix == ".safetensors" or head[8:9] == b"{":
                return _read_safetensors(path)
            if head.startswith((ZIP_MAGIC, PICKLE_PROTOCOL)):
                return read_weights(file, path.stat().st_size)
        except WeightsError as error:
            raise type(error)(f"{path}: {error}") from None
        except Exception as error:  # a damaged pickle can raise anything
            raise WeightsError(
                f"{path} is truncated or damaged ({type(error).__name__}: {error}). "
                "Download it again and compare its size."
            ) from error
    raise WeightsError(
        f"{path} is no file of weights: it begins with {head[:16]!r}; expected .safetensors or what torch.save writes"
    )


def _refuse_what_is_no_weights(path: Path, head: bytes) -> None:
    if not head:
        raise WeightsError(f"{path} is empty: download it again")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights it points to: run `git lfs pull`")
    if head.lstrip().startswith(b"<"):
        raise WeightsError(
            f"{path} is a web page (HTML), not weights: the download was answered by a login or error page. "
            "Open the address in a browser and save the file itself."
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def read_weights(file: IO[bytes], size: int) -> Any:
    """Read what torch.save wrote, of any age, from an open file of so many bytes.

    Raises:
        WeightsError: something else.
        UnsafePickleError: reading it could run code.
        Exception: of many types, if it is damaged.
    """
    if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC:
        file.seek(0)
        return _read_zip(file)
    file.seek(0)
    return _read_legacy(file, size)


def _read_zip(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise WeightsError("a zip archive without a data.pkl; expected what torch.save or torch.jit.save writes")
        root = pickles[0].removesuffix("data.pkl")
        if root + "byteorder" in names and archive.read(root + "byteorder") != b"little":
            raise WeightsError("its numbers are big-endian; save it again on a little-endian machine")
        storages: dict[str, Tensor] = {}

        def load_storage(key: str, dtype: torch.dtype, num_elements: int) -> Tensor:
            if key not in storages:
                data = bytearray(archive.read(f"{root}data/{key}"))
                storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            return storages[key]

        with archive.open(pickles[0]) as pickled:
            content = RestrictedUnpickler(pickled, load_storage).load()
    # TorchScript: a tree of modules. Its code is in other files of the archive, which are not even opened.
    return script_state_dict(content) if isinstance(content, Inert) else content


def script_state_dict(module: Inert, prefix: str = "") -> dict[str, Tensor]:
    """Collect the tensors of a pickled TorchScript module and its children, named as a state dict names them."""
    state: dict[str, Tensor] = {}
    for name, value in module.attributes().items():
        if isinstance(value, Tensor):
            state[prefix + name] = value
        elif isinstance(value, Inert):
            state.update(script_state_dict(value, f"{prefix}{name}."))
    return state


def _read_legacy(file: IO[bytes], file_size: int) -> Any:
    """Read what torch.save wrote before version 1.6: pickles one after the other, then the numbers."""
    storages: dict[str, Tensor] = {}

    def load_storage(key: str, dtype: torch.dtype, num_elements: int) -> Tensor:
        if num_elements * dtype.itemsize > file_size:
            raise EOFError(f"a tensor of {num_elements} numbers in a file of {file_size} bytes")
        return storages.setdefault(key, torch.empty(num_elements, dtype=dtype))

    def load() -> Any:
        return RestrictedUnpickler(file, load_storage).load()

    if load() != LEGACY_MAGIC:
        raise WeightsError("a pickle that torch.save did not write; save the state dict with torch.save or safetensors")
    load(), load()  # protocol version; sizes of the writer's C types
    content, keys = load(), load()
    for key in keys:
        storage = storages[str(key)]
        (num_elements,) = struct.unpack("<q", file.read(8))
        data = file.read(num_elements * storage.itemsize)
        if num_elements != storage.numel() or len(data) != storage.nbytes:
            raise EOFError(f"tensor {key} has {len(data)} of {storage.nbytes} bytes")
        if data:
            storage.copy_(torch.frombuffer(bytearray(data), dtype=storage.dtype))
    return content


def tensors_of(content: Any, what: str) -> dict[str, Tensor]:
    """Take the state dict out of what a file holds, as float32 where it is floating point.

    `state_dict` or `model` around it and `module.` before every name, which training scripts leave, are removed.

    Raises:
        WeightsError: there is none, or it holds numbers that are not finite.
    """
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise WeightsError(f"{what} holds no state dict: expected a dict of tensors, got {type(content).__name__}")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{what} holds NaN or infinite numbers in {_some(broken)}: training diverged or the file is damaged"
        )
    return tensors


def load_strictly(module: torch.nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict of which every name and shape must fit.

    Raises:
        WeightsError: missing or left-over names, or other shapes; they are named.
    """
    expected = module.state_dict()
    other_shape = [
        f"{name} {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    problems = {
        "missing": [name for name in expected if name not in state],
        "left over": [name for name in state if name not in expected],
        "of another shape": other_shape,
    }
    found = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
    if found:
        raise WeightsError(
            f"{what} does not fit the model. {found}. Name the architecture that these weights belong to."
        )
    module.load_state_dict(state)


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
