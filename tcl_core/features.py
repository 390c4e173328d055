"""Frozen features on disk: where only the grounder trains, every picture need be encoded but once.

A directory holds `features.f16` (M,D,h,w), `captions.json`, and `features.json`, which says what they were made of and
how many are done, so that an interrupted encoding goes on.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from tcl_core.batches import Item, Samples
from tcl_core.encoder import DenseEncoder
from tcl_core.samples import DataError

BATCH = 16  # images encoded at once; also how many are lost when the encoding is interrupted, times SAVE_EVERY
SAVE_EVERY = 20


class FeatureStore(Dataset[Item]):
    """Features and captions by (position, number of the sample), as `Samples` gives images and captions.

    Args:
        directory: made by `encode_samples`.
    """

    def __init__(self, directory: Path) -> None:
        described = json.loads((directory / "features.json").read_text(encoding="utf-8"))
        self.captions: list[str] = json.loads((directory / "captions.json").read_text(encoding="utf-8"))
        self._features: npt.NDArray[np.float16] = np.memmap(
            directory / "features.f16", np.float16, "r", shape=tuple(described["shape"])
        )

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.captions)

    def __getitem__(self, place: tuple[int, int]) -> Item:
        """Read features (D,h,w), float32, and the caption."""
        _, number = place
        return Item(torch.from_numpy(self._features[number].astype(np.float32)), self.captions[number], [])


def describe(encoders_sha256: str, data: dict[str, Any], seed: int) -> str:
    """Fingerprint what features depend on: encoder, data and seed."""
    return hashlib.sha256(json.dumps([encoders_sha256, data, seed], sort_keys=True).encode()).hexdigest()


@torch.inference_mode()
def encode_samples(samples: Samples, encoder: DenseEncoder, directory: Path, made_of: str) -> FeatureStore:
    """Encode all samples, or those that are missing, and open the result.

    The randomness of the augmentation is drawn once, from the number of the sample.

    Args:
        samples: what is encoded.
        encoder: frozen, in evaluation mode, on the CPU.
        directory: to write to; about 160 kB a sample for `tiny` at 224 pixels.
        made_of: see `describe`.

    Raises:
        DataError: the directory holds other features, or samples cannot be used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    note = directory / "features.json"
    first = encoder.features(samples[0, 0].image[None])
    shape = (len(samples.source), *first.shape[1:])
    done, captions = _resume(note, made_of)
    features = np.memmap(directory / "features.f16", np.float16, "r+" if done else "w+", shape=shape)

    def save() -> None:
        features.flush()
        (directory / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
        described = {"made_of": made_of, "shape": shape, "done": len(captions)}
        note.write_text(json.dumps(described, indent=1), encoding="utf-8")

    starts = range(done, shape[0], BATCH)
    for turn, start in enumerate(track(starts, description="encode", disable=not starts)):
        items = [samples[number, number] for number in range(start, min(start + BATCH, shape[0]))]
        encoded = encoder.features(_stacked([item.image for item in items]))
        features[start : start + len(items)] = encoded.half().numpy()
        captions += [item.caption for item in items]
        if turn % SAVE_EVERY == SAVE_EVERY - 1:
            save()
    save()
    return FeatureStore(directory)


def _stacked(images: list[Tensor]) -> Tensor:
    return torch.stack(images).contiguous(memory_format=torch.channels_last)  # a quarter faster on CPUs


def _resume(note: Path, made_of: str) -> tuple[int, list[str]]:
    if not note.is_file():
        return 0, []
    described = json.loads(note.read_text(encoding="utf-8"))
    if described["made_of"] != made_of:
        raise DataError(
            f"{note.parent} holds features of another encoder, other data or another seed: name another directory in "
            "data.features, or delete this one"
        )
    done = int(described["done"])
    captions: list[str] = json.loads(note.with_name("captions.json").read_text(encoding="utf-8"))
    return done, captions[:done]


__all__ = ["FeatureStore", "describe", "encode_samples"]
