"""From a decoded image to the input of the encoder, with augmentation that is random but repeatable."""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tcl_core.encoder import Preprocess

Augmentation = Literal["recipe", "flip", "none"]
RAND_AUGMENT = "rand-m9-mstd0.5-inc1"
# At exactly 10, which two draws in a hundred reach, timm reduces an image to 0 bits, and Pillow refuses.
STRONGEST = 9.99


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator that transforms draw from, and put them back as they were afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


class _Resize:
    """The whole picture at one size, mirrored half of the time."""

    def __init__(self, preprocess: Preprocess, size: int, mirror: bool) -> None:
        self.mean = torch.tensor(preprocess.mean)[:, None, None]
        self.std = torch.tensor(preprocess.std)[:, None, None]
        self.size, self.mirror = size, mirror

    def __call__(self, image: Image.Image) -> Tensor:
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        if self.mirror and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        rgb = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3,H,W)
        return (rgb / 255 - self.mean) / self.std


def build_augmentation(
    augmentation: Augmentation, preprocess: Preprocess, size: int
) -> Callable[[Image.Image], Tensor]:
    """Make the transform: PIL RGB -> float (3,size,size), normalised as the encoder expects.

    Args:
        augmentation: "recipe" is the paper's: random crop of 8 to 100 %, mirror, RandAugment, random erasing.
            "flip" squeezes the whole picture and mirrors; "none" only squeezes.
        preprocess: mean and standard deviation.
        size: side in pixels.

    Raises:
        ValueError: the encoder cannot take this size.
    """
    if size % preprocess.multiple_of:
        raise ValueError(f"image_size {size}: this encoder takes multiples of {preprocess.multiple_of}")
    if augmentation != "recipe":
        return _Resize(preprocess, size, mirror=augmentation == "flip")
    return _recipe(preprocess, size)


def _recipe(preprocess: Preprocess, size: int) -> Callable[[Image.Image], Tensor]:
    """What timm's `create_transform(size, is_training=True, auto_augment=RAND_AUGMENT, ...)` puts together."""
    from timm.data.auto_augment import rand_augment_transform
    from timm.data.random_erasing import RandomErasing
    from timm.data.transforms import RandomResizedCropAndInterpolation
    from torchvision import transforms  # type: ignore[import-untyped]

    strengths = {
        "translate_const": int(size * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in preprocess.mean),
        "interpolation": Image.Resampling.BILINEAR,
        "magnitude_max": STRONGEST,
    }
    transform: Callable[[Image.Image], Tensor] = transforms.Compose(
        [
            RandomResizedCropAndInterpolation(size, interpolation="bilinear"),  # type: ignore[no-untyped-call]
            transforms.RandomHorizontalFlip(),
            rand_augment_transform(RAND_AUGMENT, strengths),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
            RandomErasing(0.25, mode="pixel", device="cpu"),  # type: ignore[no-untyped-call]
        ]
    )
    return transform


__all__ = ["Augmentation", "build_augmentation", "seeded"]
