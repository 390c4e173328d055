"""The archive that ReCo retrieves from: a folder of pictures, embedded once and kept in shards.

A shard, `embeddings-000003.safetensors`, holds the embeddings of 512 pictures in the order of their paths, and says of
which pictures and by what they were made. Each is complete or not there, so an embedding that was interrupted goes on,
and pictures that are added later only cost the shards that they come into.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from tcl_core.atomic_file import write_atomically
from tcl_core.errors import DataConfigError, DataError
from tcl_core.pictures import open_picture

SHARD = 512
BATCH = 32
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True, eq=False)
class Archive:
    """Pictures and their embeddings.

    Attributes:
        folder: of the pictures.
        names: paths in it, M of them, sorted.
        embeddings: unit, (M,C).
        made_of: hash of the embeddings, so of pictures and network.
    """

    folder: Path
    names: tuple[str, ...]
    embeddings: Tensor
    made_of: str

    def open(self, index: int) -> Image.Image:
        """Open a picture, upright, as RGB."""
        return open_picture(self.folder / self.names[index])


@dataclass(frozen=True)
class _Shard:
    """Which pictures a file of embeddings belongs to: paths in the folder and sizes in bytes."""

    path: Path
    pictures: tuple[tuple[str, int], ...]

    def content(self) -> str:
        return hashlib.sha256(json.dumps(self.pictures).encode()).hexdigest()

    def read(self, made_by: str) -> Tensor | None:
        """Read the embeddings; None if they have to be made.

        Raises:
            DataConfigError: they were made by another network.
            DataError: the file is damaged.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                described = json.loads((file.metadata() or {}).get("made_of", "{}"))
                embeddings: Tensor = file.get_tensor("embeddings")
        except (SafetensorError, OSError) as error:
            raise DataError(f"{self.path} is damaged ({error}): delete it, it is made again") from error
        if described.get("made_by") != made_by:
            raise DataConfigError(
                f"{self.path} holds embeddings of another network: name another folder for them, or delete this one"
            )
        return embeddings if described.get("pictures") == self.content() else None

    def write(self, embeddings: Tensor, made_by: str) -> None:
        described = json.dumps({"made_by": made_by, "pictures": self.content()})  # one entry: their order is random
        write_atomically(self.path, save({"embeddings": embeddings.contiguous()}, {"made_of": described}))


def list_pictures(folder: Path) -> list[tuple[str, int]]:
    """List pictures of a folder and all below it, sorted: path in the folder, with slashes, and size in bytes.

    Raises:
        DataConfigError: no such folder, or no pictures in it.
    """
    if not folder.is_dir():
        raise DataConfigError(f"no folder {folder}: expected pictures to retrieve from")
    found = sorted(
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise DataConfigError(f"no pictures in {folder}: expected {', '.join(SUFFIXES)}")
    return found


@torch.inference_mode()
def embed_archive(
    folder: Path,
    cache: Path,
    embed: Callable[[Tensor], Tensor],
    read: Callable[[Image.Image], Tensor],
    made_by: str,
    *,
    shard_size: int = SHARD,
    progress: Callable[[int, int], None] | None = None,
) -> Archive:
    """Embed all pictures of a folder, or those that are missing.

    Args:
        folder: of pictures, in folders of any depth.
        cache: where embeddings are kept: 3 kB a picture for ViT-L.
        embed: images (B,3,H,W) -> (B,C), not normalised.
        read: picture -> (3,H,W), normalised, all of one size.
        made_by: what `embed` and `read` depend on, such as a hash of the weights.
        shard_size: pictures a file; an interruption loses at most as many.
        progress: called with (pictures done, pictures in all).

    Raises:
        DataConfigError: no pictures, or `cache` holds those of another network.
        DataError: a picture or a shard is damaged; what is done is kept.
        WriteError: the disk is full; what is done is kept.
    """
    pictures = list_pictures(folder)
    parts = []
    for number, start in enumerate(range(0, len(pictures), shard_size)):
        shard = _Shard(cache / f"embeddings-{number:06d}.safetensors", tuple(pictures[start : start + shard_size]))
        embeddings = shard.read(made_by)
        if embeddings is None:
            embeddings = _embed([folder / name for name, _ in shard.pictures], embed, read)
            shard.write(embeddings, made_by)
        parts.append(embeddings)
        if progress:
            progress(start + len(shard.pictures), len(pictures))
    every = torch.cat(parts)
    digest = hashlib.sha256(every.numpy().tobytes()).hexdigest()
    return Archive(folder, tuple(name for name, _ in pictures), every, digest)


def _embed(paths: Sequence[Path], embed: Callable[[Tensor], Tensor], read: Callable[[Image.Image], Tensor]) -> Tensor:
    """Embed the pictures of a shard: batches begin where the shard does, so that they are the same after a restart."""
    batches = []
    for start in range(0, len(paths), BATCH):
        images = torch.stack([read(open_picture(path)) for path in paths[start : start + BATCH]])
        batches.append(F.normalize(embed(images), dim=1).float().cpu())
    return torch.cat(batches)


__all__ = ["Archive", "embed_archive", "list_pictures"]
