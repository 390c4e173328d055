"""References of classes: made one by one, kept in files, and read from files that others wrote."""

import difflib
import io
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tcl_core.atomic_file import write_atomically
from tcl_core.baselines.reco.co_segmentation import (
    Blocks,
    CoSegmentation,
    Summary,
    co_segment,
    context_presence,
    retrieve,
    text_attention,
    weights,
)
from tcl_core.errors import ConfigError, ModelFileError, WeightsError
from tcl_core.towers.restricted_pickle import Inert, RestrictedUnpickler
from tcl_core.towers.weights_file import read_weights, read_weights_file

CONTEXT = ("tree", "sky", "building", "road", "person")
"""What surrounds everything, in the order in which their references are made (section 3.3)."""
SAME_AS = {"vegetation": "tree"}
"""Classes that take the reference of a context word of another name, as in the released code."""
IMPORTED = "imported from"


@dataclass(frozen=True)
class ReCoSettings:
    """What references and scores depend on, beside networks and pictures.

    Attributes:
        num_retrieved: k, pictures a class.
        blocks: see `in_blocks`.
        summary: see `summarise`.
        context: words that are suppressed, in order, each using those before it; none for no context elimination.
        text_attention: weigh by where the dense CLIP sees the class, in making references.
        text_in_scores: the same in scoring pictures.
    """

    num_retrieved: int = 50
    blocks: Blocks = "released"
    summary: Summary = "mean"
    context: tuple[str, ...] = CONTEXT
    text_attention: bool = True
    text_in_scores: bool = True

    def __post_init__(self) -> None:
        if self.num_retrieved < 1:
            raise ConfigError(f"num_retrieved is {self.num_retrieved}: expected at least one picture a class")
        if len(set(self.context)) != len(self.context):
            raise ConfigError(f"context {', '.join(self.context)}: expected every word once")

    def of_references(self) -> dict[str, Any]:
        """The settings that references depend on, as plain data."""
        return {
            "num_retrieved": self.num_retrieved,
            "blocks": self.blocks,
            "summary": self.summary,
            "context": list(self.context),
            "text_attention": self.text_attention,
        }


@dataclass(frozen=True, eq=False)
class Texts:
    """Unit embeddings of one class: `retrieval` (C,) by the CLIP that retrieves, `dense` (C',) by the dense one."""

    retrieval: Tensor
    dense: Tensor


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of k pictures: `features` (k,D,h,w) and `dense` (k,C',h',w'), neither normalised."""

    features: Tensor
    dense: Tensor


class ReferenceMaker:
    """Makes the reference of a class from pictures that are retrieved for it.

    References of context words are made when the first is needed, and kept. Nothing else is: the reference of a class
    depends on no other class.

    Args:
        embeddings: unit, of all pictures of the archive, (M,C).
        maps_of: indices of k pictures -> their maps.
        texts_of: class -> its embeddings.
        settings: see there.
    """

    def __init__(
        self,
        embeddings: Tensor,
        maps_of: Callable[[Sequence[int]], Maps],
        texts_of: Callable[[str], Texts],
        settings: ReCoSettings,
    ) -> None:
        self._embeddings = embeddings
        self._maps_of = maps_of
        self._texts_of = texts_of
        self._settings = settings
        self._context: dict[str, Tensor] = {}

    @property
    def context_words(self) -> tuple[str, ...]:
        """In order."""
        return self._settings.context

    def recall(self, vectors: Mapping[str, Tensor]) -> None:
        """Take references of context words that were made before, by a maker of the same kind."""
        self._context |= {name: vectors[name] for name in self.context_words if name in vectors}

    @torch.inference_mode()
    def reference(self, name: str) -> Tensor:
        """Make the reference of a class, (D,), unit, on the CPU; that of a context word is made once."""
        known = SAME_AS.get(name, name)
        if known in self.context_words:
            return self.context()[known]
        return self.co_segmentation(name, tuple(self.context().values())).reference.cpu()

    @torch.inference_mode()
    def context(self) -> dict[str, Tensor]:
        """References of the context words, in order."""
        made: dict[str, Tensor] = {}
        for name in self.context_words:
            if name not in self._context:
                self._context[name] = self.co_segmentation(name, tuple(made.values())).reference.cpu()
            made[name] = self._context[name]
        return made

    def co_segmentation(self, name: str, context: Sequence[Tensor]) -> CoSegmentation:
        """Retrieve pictures of a class and find what they have in common, apart from context: references (D,)."""
        settings, texts = self._settings, self._texts_of(name)
        maps = self._maps_of(retrieve(self._embeddings, texts.retrieval, settings.num_retrieved).tolist())
        grid = (maps.features.shape[2], maps.features.shape[3])
        device = maps.features.device
        attention = presence = None
        if settings.text_attention:
            attention = text_attention(maps.dense, texts.dense[None].to(device), grid)[:, 0]
        if context:
            presence = context_presence(maps.features, torch.stack(list(context)).to(device))
        return co_segment(maps.features, weights(attention, presence), settings.blocks, settings.summary)


@dataclass(frozen=True, eq=False)
class References:
    """References by class, and how they were made.

    Attributes:
        vectors: (D,) by class.
        made_of: settings and hashes of networks and archive; for a file of others' only where it came from.
    """

    vectors: Mapping[str, Tensor]
    made_of: Mapping[str, Any] = field(default_factory=dict)

    def with_class(self, name: str, vector: Tensor) -> "References":
        """Add a class; the others are the same objects."""
        return References({**self.vectors, name: vector}, self.made_of)

    def select(self, names: Sequence[str], where: str) -> Tensor:
        """Take those of some classes, (K,D).

        Raises:
            ConfigError: some are not there; the nearest names are told.
        """
        missing = [name for name in names if name not in self.vectors]
        if missing:
            near = difflib.get_close_matches(missing[0], self.vectors, n=3, cutoff=0.5)
            raise ConfigError(
                f"{where} has no reference of {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}"
                + (f" (near {missing[0]}: {', '.join(near)})" if near else "")
                + ": give an archive of pictures, from which they are made"
            )
        return torch.stack([self.vectors[name] for name in names])

    def save(self, path: Path) -> None:
        """Write safetensors, a tensor a class, complete or not at all.

        Raises:
            WriteError: it cannot be written.
        """
        tensors = {name: vector.detach().cpu().float().clone() for name, vector in self.vectors.items()}
        write_atomically(path, save(tensors, {"made_of": json.dumps(dict(self.made_of), sort_keys=True)}))

    @classmethod
    def load(cls, path: Path) -> "References":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ModelFileError: damaged, or written by others (see `import_references`).
        """
        if not path.is_file():
            raise FileNotFoundError(f"no references {path}")
        try:
            with safe_open(path, "pt") as file:
                made_of = (file.metadata() or {}).get("made_of")
                vectors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"{path} is no safetensors file or is damaged ({error}): delete it") from error
        if made_of is None:
            raise ModelFileError(f"{path} does not say how its references were made: import it first")
        return cls(_checked(vectors, str(path)), json.loads(made_of))


def import_references(path: Path) -> References:
    """Read references that others made: class -> vector, as `.pkl` (ReCo's own), torch.save or safetensors.

    A pickle is read as data: strings, numbers, NumPy arrays and tensors; anything else is refused.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: damaged, unsafe, or no vectors of one length by class.
    """
    return References(_checked(read_vectors(path), str(path)), {IMPORTED: path.name})


def read_vectors(path: Path) -> dict[str, Tensor]:
    """Read name -> tensor from a pickle, torch.save or safetensors, without running code; see `import_references`."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: expected vectors by name (.pkl, .pth or .safetensors)")
    content: Any
    if path.suffix in (".pkl", ".pickle"):
        try:
            with path.open("rb") as file:
                content = _VectorUnpickler(file).load()
        except WeightsError as error:
            raise type(error)(f"{path}: {error}") from None
        except Exception as error:  # a damaged pickle can raise anything
            raise WeightsError(f"{path} is truncated or damaged ({type(error).__name__}: {error})") from error
    else:
        content = read_weights_file(path)
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds {type(content).__name__}: expected vectors by name")
    return {str(name): _tensor_of(value, f"{name} in {path}") for name, value in content.items()}


class _VectorUnpickler(RestrictedUnpickler):
    """Reads a bare pickle whose tensors, if any, carry their numbers in it, as `pickle.dump` writes them."""

    def __init__(self, file: Any) -> None:
        def no_storage(key: str, dtype: torch.dtype, num_elements: int) -> Tensor:
            raise pickle.UnpicklingError("a tensor whose numbers are in another file")

        super().__init__(file, no_storage)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) == ("torch.storage", "_load_from_bytes"):
            return _storage_of
        if (module_name, global_name) == ("_codecs", "encode"):  # how protocol 2 writes bytes
            return _bytes_of
        return super().find_class(module_name, global_name)


def _bytes_of(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes written as {encoding}")
    return text.encode("latin1")


def _storage_of(data: bytes) -> Tensor:
    """Read the numbers of a pickled tensor, which are what torch.save wrote of its storage."""
    storage = read_weights(io.BytesIO(data), len(data))
    if not isinstance(storage, Tensor):
        raise WeightsError(f"a tensor made of {type(storage).__name__}: expected numbers")
    return storage


def _tensor_of(value: Any, what: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = _array_of(value) if isinstance(value, Inert) else None
    if array is None:
        raise WeightsError(f"{what} is {type(value).__name__}: expected a tensor or an array of numbers")
    return torch.from_numpy(array)


def _array_of(inert: Inert) -> Any:
    """Make the array that a pickled NumPy object describes; None if it is another object."""
    state = inert.state
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], Inert):
        return None
    _, shape, kind, is_fortran, data = state
    code = kind.args[0] if kind.args else None
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    if not isinstance(data, bytes) or not isinstance(code, str) or code[:1] not in "fiu" or order not in ("<", "|"):
        return None
    return np.frombuffer(data, np.dtype(code)).reshape(shape, order="F" if is_fortran else "C").copy()


def _checked(vectors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    flat = {name: vector.float().flatten() for name, vector in vectors.items()}
    lengths = {len(vector) for vector in flat.values()}
    if len(lengths) != 1 or any(vector.shape.numel() != max(vector.shape) for vector in vectors.values()):
        shapes = sorted({tuple(vector.shape) for vector in vectors.values()})
        raise WeightsError(f"{what} holds {shapes[:4]}: expected one vector a class, all of the same length")
    bad = [name for name, vector in flat.items() if not vector.isfinite().all() or not vector.any()]
    if bad:
        raise WeightsError(f"{what}: the reference of {bad[0]} is zero or not finite")
    return flat


__all__ = [
    "CONTEXT",
    "IMPORTED",
    "SAME_AS",
    "Maps",
    "ReCoSettings",
    "ReferenceMaker",
    "References",
    "Texts",
    "import_references",
    "read_vectors",
]
