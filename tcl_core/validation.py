"""How good the masks are while training: mIoU on pictures with known masks, and pictures to look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tcl_core.augment import build_augmentation
from tcl_core.encoder import Preprocess
from tcl_core.model import TCL
from tcl_core.recipe import FolderValidation, ScenesValidation
from tcl_core.samples import DataError
from tcl_core.scenes import PHRASES, draw_scene

IGNORED = 254
BACKGROUND = 255


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with its labels.

    Attributes:
        image: RGB.
        label_map: (H,W) uint8: number of the class; 255 background, 254 not counted.
    """

    image: Image.Image
    label_map: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Validator:
    """Pictures with masks, and the words that they are segmented by.

    Attributes:
        examples: makes the pictures anew each time.
        classes: words; label k is classes[k].
        present_only: segment each picture by the words that occur in it, otherwise by all.
        background_threshold: a pixel whose best mask is not above this is background.
        image_size: pictures are squeezed to this square; the masks are resized back.
    """

    examples: Callable[[], Iterator[Example]]
    classes: tuple[str, ...]
    present_only: bool
    background_threshold: float
    image_size: int

    @torch.no_grad()
    def mean_iou(self, model: TCL) -> float:
        """Mean intersection over union of the classes and the background, over all pixels; in [0, 1]."""
        device = next(model.parameters()).device
        tokens = model.text_encoder.tokenize([f"a photo of a {word}" for word in self.classes])
        text = model.encode_text(tokens.to(device))
        transform = build_augmentation("none", model.preprocess, self.image_size)
        confusion = torch.zeros(len(self.classes) + 1, len(self.classes) + 1, dtype=torch.int64)
        for example in self.examples():
            labels = torch.from_numpy(example.label_map).long()
            words = torch.arange(len(self.classes))
            if self.present_only:
                words = torch.unique(labels)
                words = words[words < len(self.classes)]
            image = transform(example.image)[None].to(device)
            masks = model.segment(image, text[words.to(device)]).cpu()
            predicted = self._predict(masks, words, (labels.shape[0], labels.shape[1]))
            counted = labels != IGNORED
            truth = torch.where(labels == BACKGROUND, len(self.classes), labels)
            confusion += confusion_of(truth[counted], predicted[counted], len(self.classes) + 1)
        return mean_iou(confusion)

    def _predict(self, masks: Tensor, words: Tensor, size: tuple[int, int]) -> Tensor:
        resized = torch.nn.functional.interpolate(masks, size, mode="bilinear", align_corners=False)[0]
        best, which = resized.max(dim=0)
        return torch.where(best > self.background_threshold, words[which], len(self.classes))


def confusion_of(truth: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Count pairs of labels in [0, K): two int64 (M,) -> int64 (K,K), rows are the truth."""
    return torch.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_iou(confusion: Tensor) -> float:
    """Mean intersection over union of the classes that occur in truth or prediction: (K,K) -> [0, 1]."""
    both = confusion.diagonal().double()
    either = confusion.sum(dim=0) + confusion.sum(dim=1) - both
    return float((both / either)[either > 0].mean())


def build_validator(config: FolderValidation | ScenesValidation, image_size: int) -> Validator:
    """Make what a configuration describes.

    Raises:
        DataError: files are missing or do not fit together.
    """
    present_only = config.words == "present"
    if isinstance(config, ScenesValidation):
        seeds = range(config.first, config.first + config.count)
        examples = lambda: (_scene_example(seed, image_size) for seed in seeds)  # noqa: E731
        return Validator(examples, PHRASES, present_only, config.background_threshold, image_size)
    path = Path(config.path)
    listing = path / "classes.txt"
    if not listing.is_file():
        raise DataError(f"no {listing}: expected one class a line, beside images/ and masks/")
    classes = tuple(line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip())
    pairs = _pairs_with_masks(path)[: config.count]
    return Validator(
        lambda: (_file_example(image, mask, len(classes)) for image, mask in pairs),
        classes,
        present_only,
        config.background_threshold,
        image_size,
    )


def _scene_example(seed: int, size: int) -> Example:
    scene = draw_scene(seed, size)
    labels = np.array([BACKGROUND, *(PHRASES.index(phrase) for phrase in scene.phrases)], np.uint8)
    return Example(Image.fromarray(scene.rgb), labels[scene.label_map])


def _pairs_with_masks(path: Path) -> list[tuple[Path, Path]]:
    images = sorted(item for item in (path / "images").glob("*") if item.is_file())
    pairs = [(image, path / "masks" / f"{image.stem}.png") for image in images]
    missing = [str(mask) for _, mask in pairs if not mask.is_file()]
    if missing or not pairs:
        raise DataError(f"{path}: expected images/NAME.* and masks/NAME.png; not there: {(missing or ['images'])[0]}")
    return pairs


def _file_example(image: Path, mask: Path, num_classes: int) -> Example:
    labels = np.asarray(Image.open(mask))
    known = (labels < num_classes) | (labels >= IGNORED)
    if labels.ndim != 2 or not known.all():
        raise DataError(f"{mask}: expected one channel, labels below {num_classes}, 254 (ignored), 255 (background)")
    return Example(Image.open(image).convert("RGB"), labels.astype(np.uint8))


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


__all__ = ["Example", "Validator", "build_validator", "confusion_of", "denormalise", "mask_pictures", "mean_iou"]
