"""Samples in order: which go into which step, read by worker processes, bad ones replaced and counted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tcl_core.data.augment import seeded
from tcl_core.data.samples import Source
from tcl_core.errors import BadSampleError, DataConfigError, DataError, Problem

SUBSTITUTES = 16  # tried for a bad sample before giving up


@dataclass(frozen=True)
class Order:
    """The order of samples: a function of the seed alone, so that training resumes anywhere.

    Every epoch shuffles the groups (shards), then the samples within windows, so that disks read a few shards at a
    time; with groups of one sample this is a full shuffle.

    Attributes:
        groups: int32 (M,), see `Source`.
        seed: of the shuffles.
        window: how many samples are shuffled together; like a shuffle buffer, but of positions.
    """

    groups: npt.NDArray[np.int32]
    seed: int
    window: int = 100_000

    def epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        """Permute all samples: int64 (M,)."""
        chance = np.random.default_rng((self.seed, epoch))
        keys = chance.permutation(int(self.groups.max()) + 1)
        order = np.argsort(keys[self.groups], kind="stable")
        for start in range(0, len(order), self.window):
            chance.shuffle(order[start : start + self.window])
        return order

    def positions(self, first: int) -> Iterator[tuple[int, int]]:
        """Count samples up from `first`, without end: (position, number of the sample)."""
        epoch, offset = divmod(first, len(self.groups))
        while True:
            order = self.epoch(epoch)
            for place in range(offset, len(order)):
                yield epoch * len(order) + place, int(order[place])
            epoch, offset = epoch + 1, 0


@dataclass(frozen=True)
class Share:
    """Which samples of a batch are this process's, and in what parts.

    Attributes:
        batch: images a step, all processes together; a multiple of the processes.
        most: images that run through the model at once, at most; a share that is larger is a multiple of it.
        rank: of this process.
        world_size: processes.
    """

    batch: int
    most: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        """Refuse a batch that cannot be shared out evenly."""
        if self.most < 1 or self.batch < 1 or self.batch % (self.part * self.world_size):
            expected = max(self.most, 1) * self.world_size
            raise DataConfigError(
                f"batch_size {self.batch} in parts of {self.most} on {self.world_size} processes: expected a multiple "
                f"of {expected}, or at most {expected} and a multiple of {self.world_size}; change data.batch_size or "
                "data.part_size"
            )

    @property
    def part(self) -> int:
        """Images that run through the model at once: all of a share that is smaller than the most."""
        return max(min(self.most, self.own), 1)

    @property
    def own(self) -> int:
        """Images of a step that are this process's."""
        return self.batch // self.world_size

    @property
    def num_parts(self) -> int:
        """Parts of this process's share."""
        return self.own // self.part


class PartSampler:
    """Positions and samples of each part, from a step on, for `DataLoader(batch_sampler=...)`."""

    def __init__(self, order: Order, share: Share, first_step: int, last_step: int) -> None:
        self.order, self.share = order, share
        self.first_step, self.last_step = first_step, last_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the parts of this process, step by step."""
        share = self.share
        positions = self.order.positions(self.first_step * share.batch)
        for _ in range(self.first_step, self.last_step):
            batch = [next(positions) for _ in range(share.batch)]
            own = batch[share.rank * share.own : (share.rank + 1) * share.own]
            for start in range(0, share.own, share.part):
                yield own[start : start + share.part]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Images whose features are known.

    Attributes:
        features: (B,D,h,w) of the frozen encoder.
        images: (B,3,H,W), normalised, of any size, for TCL_v, which masks and encodes them again; None without it.
    """

    features: Tensor
    images: Tensor | None = None

    def __len__(self) -> int:
        """Count the images."""
        return len(self.features)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Encoded":
        """Move to a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Encoded":
        """Move to page-locked memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Encoded":
        return Encoded(function(self.features), None if self.images is None else function(self.images))


@dataclass(frozen=True, eq=False)
class Part:
    """Images that run through the model at once.

    Attributes:
        images: (B,3,H,W), normalised, or their stored features.
        captions: B of them.
        problems: samples that were replaced.
    """

    images: Tensor | Encoded
    captions: list[str]
    problems: list[Problem]

    def pin_memory(self) -> "Part":
        """Move the images to page-locked memory."""
        return Part(self.images.pin_memory(), self.captions, self.problems)


@dataclass(frozen=True, eq=False)
class Item:
    """An image as the model takes it (no B), its caption, and what was wrong with the samples that it replaces."""

    image: Tensor | Encoded
    caption: str
    problems: list[Problem]


class Samples(Dataset[Item]):
    """A source with an augmentation, by (position, number of the sample).

    The randomness of a sample depends on seed and position alone. A bad sample is replaced by another one, which
    depends on them too.
    """

    def __init__(self, source: Source, transform: Callable[[Image.Image], Tensor], seed: int) -> None:
        self.source, self.transform, self.seed = source, transform, seed

    def __getitem__(self, place: tuple[int, int]) -> Item:
        """Read, decode and augment.

        Raises:
            DataError: many replacements in a row are bad too.
        """
        position, number = place
        problems: list[Problem] = []
        substitutes = np.random.default_rng((self.seed, position)).integers(len(self.source), size=SUBSTITUTES)
        for candidate in (number, *substitutes.tolist()):
            try:
                sample = self.source.read(candidate)
            except BadSampleError as error:
                problems.append(error.problem)
                continue
            with seeded(self.seed * 1_000_003 + position):
                return Item(self.transform(sample.image), sample.caption, problems)
        raise DataError(
            f"{len(problems)} samples in a row cannot be used; the last: {problems[-1].kind}, {problems[-1].where}"
        )


def _stacked(images: Sequence[Tensor | Encoded]) -> Tensor | Encoded:
    plain = [image for image in images if isinstance(image, Tensor)]
    if len(plain) == len(images):
        return torch.stack(plain)
    encoded = [image for image in images if isinstance(image, Encoded)]
    pictures = [image.images for image in encoded if image.images is not None]
    return Encoded(torch.stack([image.features for image in encoded]), torch.stack(pictures) if pictures else None)


def collate(items: list[Item]) -> Part:
    """Stack samples into a part."""
    images = _stacked([item.image for item in items])
    return Part(images, [item.caption for item in items], [p for item in items for p in item.problems])


def load_parts(
    samples: Dataset[Item], sampler: PartSampler, num_workers: int, *, pin: bool = False
) -> DataLoader[Part]:
    """Make the loader: iterating it gives `Part` after `Part`.

    Args:
        samples: what is read.
        sampler: in which order.
        num_workers: processes that read ahead; 0 reads in this one.
        pin: use page-locked memory, for asynchronous copies to a GPU.
    """
    return DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin,
        # Without its own generator the loader would draw from the global one, and a resumed run would differ.
        generator=torch.Generator(),
    )


__all__ = ["Encoded", "Item", "Order", "Part", "PartSampler", "Samples", "Share", "collate", "load_parts"]
