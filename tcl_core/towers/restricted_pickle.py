"""A pickle reader that cannot run code: tensors and plain containers are made, known foreign objects become inert.

`torch.save` files are pickles, and a pickle may name any function and have it called. Here a name is looked up in a
short list, never imported: what is not on it is refused.
"""

import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import IO, Any

import torch
from torch import Tensor
from typing_extensions import Self

from tcl_core.errors import UnsafePickleError


class Inert:
    """Stands for an object of a library that is not imported: holds what was pickled, does nothing."""

    args: tuple[object, ...]
    state: object
    items: list[object]

    # Not __init__: a pickle may leave that out.
    def __new__(cls, *args: object, **_: object) -> Self:
        """Hold the arguments."""
        inert = super().__new__(cls)
        inert.args, inert.state, inert.items = args, None, []
        return inert

    def __init__(self, *_: object, **__: object) -> None:
        """Accept any arguments: __new__ has them."""

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.items.append((key, value))

    def append(self, item: object) -> None:
        """Hold an element of a pickled list."""
        self.items.append(item)

    def attributes(self) -> dict[str, Any]:
        """What would be the attributes of the object."""
        return self.state if isinstance(self.state, dict) else {}


STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
PLAIN_TYPES = {
    kind.__name__: kind
    for kind in (dict, list, tuple, set, frozenset, int, float, complex, str, bool, bytes, bytearray)
} | {"long": int}  # as it was called when protocol 2 was made, and still is in files of that protocol
# Settings and metrics that training scripts leave beside the weights, and the modules of a TorchScript archive.
INERT_PACKAGES = ("omegaconf", "typing", "numpy", "argparse", "pathlib", "__torch__")


def _rebuilders() -> dict[tuple[str, str], Any]:
    # New functions for every file: a pickle can set attributes on whatever it is given.
    def rebuild_tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
        return torch.as_strided(storage, tuple(size), tuple(stride), offset)  # raises when out of bounds

    def keep_first(data: object, *_: object) -> object:
        return data

    def make_list(items: Any) -> list[object]:
        return list(items)

    lists = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")
    return {
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): keep_first,
        ("torch.serialization", "_get_layout"): keep_first,
        ("torch", "Size"): tuple,
        ("torch", "device"): str,
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): defaultdict,
        **{("torch.jit._pickle", name): make_list for name in lists},
    }


class RestrictedUnpickler(pickle.Unpickler):
    """Reads one pickle of a torch file.

    Args:
        file: positioned at the pickle.
        load_storage: (key, dtype, number of elements) -> 1-d tensor of that dtype.
    """

    def __init__(self, file: IO[bytes], load_storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        super().__init__(file, encoding="utf-8")
        self._load_storage = load_storage
        self._known = _rebuilders()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Look a name up in the list; import nothing.

        Raises:
            UnsafePickleError: it is not there.
        """
        if (module_name, global_name) in self._known:
            return self._known[module_name, global_name]
        if module_name in ("builtins", "__builtin__") and global_name in PLAIN_TYPES:
            return PLAIN_TYPES[global_name]
        if module_name in ("torch", "torch.storage") and global_name in STORAGE_DTYPES:
            return STORAGE_DTYPES[global_name]
        if module_name == "torch" and isinstance(dtype := getattr(torch, global_name, None), torch.dtype):
            return dtype
        if module_name.split(".")[0] in INERT_PACKAGES:
            return type(global_name, (Inert,), {"__module__": module_name})
        raise UnsafePickleError(
            f"the file names {module_name}.{global_name}, which is neither a tensor nor plain data; reading it could "
            "run code, so it was not read. Take the weights from a source you trust, as .safetensors if there are any."
        )

    def persistent_load(self, pid: Any) -> Tensor:
        """Make the storage that a tensor refers to."""
        kind, dtype, key, _, num_elements = pid[:5]
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise UnsafePickleError(f"the file refers to {pid!r:.80}; expected the storage of a tensor")
        return self._load_storage(str(key), dtype, int(num_elements))
