"""The quality of the masks during training: mIoU on pictures with known masks, and pictures to look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tcl_core.data.augment import build_augmentation
from tcl_core.data.scenes import PHRASES, draw_scene
from tcl_core.encoder import Preprocess
from tcl_core.evaluate.benchmarks import VOID
from tcl_core.evaluate.folder import open_folder
from tcl_core.evaluate.metrics import Tally
from tcl_core.model import TCL
from tcl_core.pictures import open_picture
from tcl_core.segment import resize
from tcl_core.train.recipe import FolderValidation, ScenesValidation


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with its labels.

    Attributes:
        image: RGB.
        label_map: (H,W) uint8: number of the class, the number of classes for background, 255 not counted.
    """

    image: Image.Image
    label_map: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Validator:
    """Pictures with masks, and the words to segment them by.

    Attributes:
        examples: yields the pictures; called for every validation.
        classes: words; label k is classes[k].
        has_background: whether the pictures have pixels of no class.
        present_only: segment each picture by the words that occur in it, otherwise by all.
        background_threshold: a pixel whose best mask is not above this is background.
        image_size: pictures are squeezed to this square; the masks are resized back.
    """

    examples: Callable[[], Iterator[Example]]
    classes: tuple[str, ...]
    has_background: bool
    present_only: bool
    background_threshold: float
    image_size: int

    @torch.no_grad()
    def mean_iou(self, model: TCL) -> float:
        """Mean intersection over union of the classes, and the background if there is one, over all pixels."""
        device = next(model.parameters()).device
        tokens = model.text_encoder.tokenize([f"a photo of a {word}" for word in self.classes])
        text = model.encode_text(tokens.to(device))
        transform = build_augmentation("none", model.preprocess, self.image_size)
        sides = len(self.classes) + 1
        tally = Tally(self.present_only, self.has_background, torch.zeros(sides, sides, dtype=torch.int64))
        for example in self.examples():
            truth = torch.from_numpy(example.label_map).long()
            masks = resize(model.segment(transform(example.image)[None].to(device), text).cpu(), truth.shape)[0]
            tally.add(masks, torch.full(truth.shape, self.background_threshold), truth, VOID)
        return float(tally.scored(self.has_background).nanmean())


def build_validator(config: FolderValidation | ScenesValidation, image_size: int) -> Validator:
    """Build the validator that a configuration describes.

    Raises:
        DataError: files are missing or do not fit together.
    """
    present_only = config.words == "present"
    if isinstance(config, ScenesValidation):
        seeds = range(config.first, config.first + config.count)
        examples = lambda: (_scene_example(seed, image_size) for seed in seeds)  # noqa: E731
        return Validator(examples, PHRASES, True, present_only, config.background_threshold, image_size)
    benchmark = open_folder(Path(config.path), split=config.split, without=tuple(config.without))
    if config.count:
        benchmark = benchmark.thinned(config.count)
    return Validator(
        lambda: (Example(open_picture(p.image), benchmark.truth(p)) for p in benchmark.pictures),
        tuple(word.name for word in benchmark.words),
        benchmark.has_background,
        present_only,
        config.background_threshold,
        image_size,
    )


def _scene_example(seed: int, size: int) -> Example:
    scene = draw_scene(seed, size)
    labels = np.array([len(PHRASES), *(PHRASES.index(phrase) for phrase in scene.phrases)], np.uint8)
    return Example(Image.fromarray(scene.rgb), labels[scene.label_map])


@torch.no_grad()
def mask_pictures(model: TCL, images: Tensor, captions: list[str]) -> Tensor:
    """Show each image, and beside it what the mask of its caption keeps: (B,3,H,W) -> (B,3,H,2W) in [0, 1]."""
    tokens = model.text_encoder.tokenize(captions).to(images.device)
    text = model.encode_text(tokens)
    pairs = zip(images, text, strict=True)
    masks = torch.cat([model.segment(image[None], one[None]) for image, one in pairs])  # (B,1,H,W)
    rgb = denormalise(images, model.preprocess)
    return torch.cat([rgb, rgb * (0.15 + 0.85 * masks)], dim=3).cpu()


def denormalise(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Turn an encoder's input back into colours: (B,3,H,W) -> (B,3,H,W) in [0, 1]."""
    mean = images.new_tensor(preprocess.mean)[:, None, None]
    std = images.new_tensor(preprocess.std)[:, None, None]
    return (images * std + mean).clamp(0, 1)


__all__ = ["Example", "Validator", "build_validator", "denormalise", "mask_pictures"]
