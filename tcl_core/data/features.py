"""Frozen features on disk: where only the grounder trains, every picture needs to be encoded only once.

A directory holds `features.f16` (M,D,h,w), `captions.json`, the pictures `pictures.u8` (M,R,R,3) if they are wanted,
and `features.json`, which says what they were made of and how many are done, so that an interrupted encoding goes on.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from tcl_core.atomic_file import write_atomically
from tcl_core.data.batches import Encoded, Item, Samples, collate
from tcl_core.encoder import DenseEncoder, Preprocess
from tcl_core.errors import DataConfigError

BATCH = 16  # images encoded at once; an interruption loses at most SAVE_EVERY batches
SAVE_EVERY = 20


class FeatureStore(Dataset[Item]):
    """Features and captions by (position, number of the sample), as `Samples` gives images and captions.

    Args:
        directory: made by `encode_samples`.
        preprocess: what the encoder expects.
        with_pictures: read the pictures too, if they were kept.
    """

    def __init__(self, directory: Path, preprocess: Preprocess, with_pictures: bool = True) -> None:
        described = json.loads((directory / "features.json").read_text(encoding="utf-8"))
        self.captions: list[str] = json.loads((directory / "captions.json").read_text(encoding="utf-8"))
        shape = tuple(described["shape"])
        self._features: npt.NDArray[np.float16] = np.memmap(directory / "features.f16", np.float16, "r", shape=shape)
        picture_size = described["picture_size"] if with_pictures else 0
        self._pictures = _open_pictures(directory, "r", shape[0], picture_size)
        self._mean, self._std = _statistics(preprocess)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.captions)

    def __getitem__(self, place: tuple[int, int]) -> Item:
        """Read features (D,h,w), float32, the picture (3,R,R), normalised, if it was kept, and the caption."""
        _, number = place
        features = torch.from_numpy(self._features[number].astype(np.float32))
        picture = None
        if self._pictures is not None:
            rgb = torch.from_numpy(self._pictures[number].astype(np.float32)).permute(2, 0, 1)
            picture = (rgb / 255 - self._mean) / self._std
        return Item(Encoded(features, picture), self.captions[number], [])


def _statistics(preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    return torch.tensor(preprocess.mean)[:, None, None], torch.tensor(preprocess.std)[:, None, None]


def _open_pictures(
    directory: Path, mode: Literal["r", "r+", "w+"], count: int, size: int
) -> npt.NDArray[np.uint8] | None:
    return np.memmap(directory / "pictures.u8", np.uint8, mode, shape=(count, size, size, 3)) if size else None


def describe(encoders_sha256: str, data: dict[str, Any], seed: int) -> str:
    """Fingerprint what features depend on: encoder, data and seed."""
    return hashlib.sha256(json.dumps([encoders_sha256, data, seed], sort_keys=True).encode()).hexdigest()


@torch.inference_mode()
def encode_samples(
    samples: Samples,
    encoder: DenseEncoder,
    directory: Path,
    made_of: str,
    preprocess: Preprocess,
    picture_size: int = 0,
) -> None:
    """Encode all samples, or those that are missing.

    The randomness of the augmentation is drawn once, from the number of the sample.

    Args:
        samples: what is encoded.
        encoder: frozen, in evaluation mode, on any device.
        directory: to write to; about 100 kB a sample for `tiny` at 224 pixels, and 150 kB for a picture of that size.
        made_of: see `describe`.
        preprocess: how the samples were normalised.
        picture_size: R, side of the pictures that are kept too; 0 keeps none.

    Raises:
        DataConfigError: the directory holds other features.
        DataError: samples cannot be used.
        WriteError: the disk is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    note = directory / "features.json"
    device = next(encoder.parameters()).device
    first = encoder.features(_images([samples[0, 0]]).to(device))
    shape = (len(samples.source), *first.shape[1:])
    done, captions = _resume(note, made_of)
    mode: Literal["r+", "w+"] = "r+" if done else "w+"
    features = np.memmap(directory / "features.f16", np.float16, mode, shape=shape)
    pictures = _open_pictures(directory, mode, shape[0], picture_size)

    def save() -> None:
        for array in (features, pictures):
            if isinstance(array, np.memmap):
                array.flush()
        write_atomically(directory / "captions.json", json.dumps(captions).encode())
        described = {"made_of": made_of, "shape": shape, "picture_size": picture_size, "done": len(captions)}
        write_atomically(note, json.dumps(described, indent=1).encode())  # last: it says how much of the rest counts

    starts = range(done, shape[0], BATCH)
    for turn, start in enumerate(track(starts, description="encode", disable=not starts)):
        items = [samples[number, number] for number in range(start, min(start + BATCH, shape[0]))]
        images = _images(items)
        encoded = encoder.features(images.to(device))
        features[start : start + len(items)] = encoded.half().cpu().numpy()
        if pictures is not None:
            pictures[start : start + len(items)] = _as_pictures(images, preprocess, picture_size)
        captions += [item.caption for item in items]
        if turn % SAVE_EVERY == SAVE_EVERY - 1:
            save()
    save()


def _images(items: list[Item]) -> Tensor:
    images = collate(items).images
    assert isinstance(images, Tensor)  # `Samples` reads images
    return images.contiguous(memory_format=torch.channels_last)  # a quarter faster on CPUs


def _as_pictures(images: Tensor, preprocess: Preprocess, size: int) -> npt.NDArray[np.uint8]:
    """Undo the normalisation and resize: (B,3,H,W) -> (B,size,size,3)."""
    mean, std = _statistics(preprocess)
    rgb = images * std + mean
    if rgb.shape[-2:] != (size, size):
        rgb = F.interpolate(rgb, size=(size, size), mode="bilinear", antialias=True)
    return (rgb * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def _resume(note: Path, made_of: str) -> tuple[int, list[str]]:
    if not note.is_file():
        return 0, []
    described = json.loads(note.read_text(encoding="utf-8"))
    if described["made_of"] != made_of:
        raise DataConfigError(
            f"{note.parent} holds features of another encoder, other data, another seed, or pictures of another size "
            "(data.reencode_size): name another directory in data.features, or delete this one"
        )
    done = int(described["done"])
    captions: list[str] = json.loads(note.with_name("captions.json").read_text(encoding="utf-8"))
    return done, captions[:done]


__all__ = ["FeatureStore", "describe", "encode_samples"]
