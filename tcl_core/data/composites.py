"""Copy-paste composites: cut-outs with an alpha channel on background photographs, captions that name what is there.

A photograph of one thing teaches what it is, not where it ends. A composite shows several things, and its caption names
them all. Where each lies is known, but no loss sees it; it can be written out for evaluation.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tcl_core.atomic_file import write_atomically
from tcl_core.data.pairs import FilePairs, folder_pairs, table_pairs
from tcl_core.data.phrases import ARTICLE, noun_phrases
from tcl_core.data.samples import Sample, Source
from tcl_core.errors import DataConfigError, DataError, Problem
from tcl_core.pictures import save_picture
from tcl_core.prompts import BACKGROUND

SHARES = (0.25, 0.6)  # longer side of an object, in the side of the picture
LEAST_VISIBLE = 0.5  # of an object that later ones may cover, or its name would be a lie
OPAQUE = 128  # alpha from which a pixel belongs to an object
ATTEMPTS = 8  # places tried for an object before it is left out


@dataclass(frozen=True, eq=False)
class Composite:
    """One picture and what is known about it.

    Attributes:
        image: RGB, size x size.
        caption: names every object, and the background or not.
        phrases: captions of the objects; label k is phrases[k - 1].
        label_map: (H,W) uint8; 0 is the background.
    """

    image: Image.Image
    caption: str
    phrases: tuple[str, ...]
    label_map: npt.NDArray[np.uint8]


def is_held_out(caption: str, share: float) -> bool:
    """Tell whether a cut-out is left for evaluation; its name decides, so that no thing is in both sets.

    Args:
        caption: of the cut-out.
        share: of all names that are kept out, in [0, 1].
    """
    name = " ".join(noun_phrases(caption))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") < share * 2**32


def open_backgrounds(path: Path) -> FilePairs:
    """Open backgrounds: a folder with `captions.tsv` (file, tab, caption), or with captions beside the images."""
    listing = path / "captions.tsv"
    if not listing.is_file():
        return folder_pairs(path)
    with listing.open(encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split("\t")
    if header[:2] in (["file", "caption"], ["image", "caption"]):
        return table_pairs(listing, path, header[0], header[1])
    rows = [line.split("\t", 1) for line in listing.read_text(encoding="utf-8").splitlines() if line]
    if any(len(row) != 2 for row in rows):
        raise DataError(f"{listing}: expected a file name, a tab and a caption in every line")
    return FilePairs([(path / name, caption) for name, caption in rows], [], str(listing))


class Composites:
    """Composites by number; a source of samples. A number always gives the same picture.

    Args:
        cutouts: read as RGBA.
        backgrounds: read as RGB.
        count: samples.
        size: side of a composite in pixels.
        most_objects: per composite; from least_objects to this.
        least_objects: with 0, some composites are a part of a background as it is.
        name_background: share of the captions that name the background.
        seed: another one makes other pictures.
        photos: photographs with captions that mosaics are made of and that serve as backgrounds too.
        mosaics: share of the pictures that are two or four photos side by side.
        photo_backgrounds: share of the other pictures whose background is one of the photos.
    """

    def __init__(
        self,
        cutouts: Source,
        backgrounds: Source,
        *,
        count: int,
        size: int = 224,
        most_objects: int = 4,
        least_objects: int = 1,
        name_background: float = 0.6,
        seed: int = 0,
        photos: Source | None = None,
        mosaics: float = 0.0,
        photo_backgrounds: float = 0.0,
    ) -> None:
        if (mosaics or photo_backgrounds) and photos is None:
            raise DataConfigError(
                f"composites: mosaics {mosaics}, photo_backgrounds {photo_backgrounds}, and no photos"
            )
        if count < 1 or not 0 <= least_objects <= most_objects or size < 16 or not 0 <= name_background <= 1:
            raise DataConfigError(
                f"composites: count {count}, least_objects {least_objects}, most_objects {most_objects}, size {size}, "
                f"name_background {name_background}: expected 1 or more, 0 or more, no fewer, 16 or more, and a share"
            )
        self.cutouts, self.backgrounds = cutouts, backgrounds
        self.count, self.size = count, size
        self.least_objects, self.most_objects = least_objects, most_objects
        self.name_background, self.seed = name_background, seed
        self.photos, self.mosaics, self.photo_backgrounds = photos, mosaics, photo_backgrounds
        self.problems: list[Problem] = [*cutouts.problems, *backgrounds.problems, *(photos.problems if photos else [])]
        self.groups: npt.NDArray[np.int32] = np.arange(count, dtype=np.int32)

    def __len__(self) -> int:
        """Count the samples."""
        return self.count

    def read(self, number: int, mode: str = "RGB") -> Sample:
        """Compose a picture, without its masks.

        Raises:
            BadSampleError: a cut-out or background cannot be used.
        """
        composite = self.compose(number)
        return Sample(composite.image.convert(mode), composite.caption, f"composite {number}")

    def compose(self, number: int) -> Composite:
        """Compose a picture with its masks.

        Raises:
            BadSampleError: a cut-out or background cannot be used.
        """
        chance = np.random.default_rng((self.seed, number))
        if self.photos is not None and chance.random() < self.mosaics:
            return self._mosaic(self.photos, chance)
        grounds = self.backgrounds
        if self.photos is not None and chance.random() < self.photo_backgrounds:
            grounds = self.photos
        background = grounds.read(int(chance.integers(len(grounds))))
        picture = _square(background.image, self.size, chance)
        label_map = np.zeros((self.size, self.size), np.uint8)
        phrases: list[str] = []
        areas: list[int] = []
        for _ in range(int(chance.integers(self.least_objects, self.most_objects + 1))):
            cutout = self.cutouts.read(int(chance.integers(len(self.cutouts))), "RGBA")
            phrase = cutout.caption.rstrip(". ")  # it becomes a part of a sentence
            if phrase not in phrases and _paste(picture, label_map, cutout.image, areas, chance):
                phrases.append(phrase)
        named = [phrases[index] for index in chance.permutation(len(phrases))]
        caption = _sentence(named, background.caption.rstrip(". ") if chance.random() < self.name_background else None)
        return Composite(picture, caption or background.caption, tuple(phrases), label_map)

    def _mosaic(self, photos: Source, chance: np.random.Generator) -> Composite:
        """Put two or four photos side by side; label k is the k-th caption."""
        rows, columns = ((1, 2), (2, 1), (2, 2))[int(chance.integers(3))]
        height, width = self.size // rows, self.size // columns
        picture = Image.new("RGB", (self.size, self.size))
        label_map = np.zeros((self.size, self.size), np.uint8)
        phrases: list[str] = []
        for row in range(rows):
            for column in range(columns):
                photo = photos.read(int(chance.integers(len(photos))))
                phrase = photo.caption.rstrip(". ")
                if phrase not in phrases:
                    phrases.append(phrase)
                top, left = row * height, column * width
                picture.paste(_filled(photo.image, width, height, chance), (left, top))
                label_map[top : top + height, left : left + width] = phrases.index(phrase) + 1
        return Composite(picture, ", ".join(phrases), tuple(phrases), label_map)


def _filled(image: Image.Image, width: int, height: int, chance: np.random.Generator) -> Image.Image:
    """Cut the largest centred window of this shape from a photo, resize it, and maybe mirror it."""
    scale = min(image.width / width, image.height / height)
    left, top = max(0.0, (image.width - width * scale) / 2), max(0.0, (image.height - height * scale) / 2)
    box = (left, top, image.width - left, image.height - top)
    cut = image.resize((width, height), Image.Resampling.BILINEAR, box)
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if chance.random() < 0.5 else cut


def _square(image: Image.Image, size: int, chance: np.random.Generator) -> Image.Image:
    """Cut a random square, at least 60 % of the short side, and maybe mirror it."""
    width, height = image.size
    side = int(min(width, height) * chance.uniform(0.6, 1.0))
    left, top = int(chance.integers(width - side + 1)), int(chance.integers(height - side + 1))
    square = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if chance.random() < 0.5 else square


def _paste(
    picture: Image.Image,
    label_map: npt.NDArray[np.uint8],
    cutout: Image.Image,
    areas: list[int],
    chance: np.random.Generator,
) -> bool:
    """Paste an object where it does not hide too much of any earlier one; False if no such place is found.

    `areas` holds the pixels of every earlier object when it was pasted, and gets the new one's.
    """
    size = picture.width
    scale = size * chance.uniform(*SHARES) / max(cutout.size)
    width, height = (max(1, round(side * scale)) for side in cutout.size)
    pasted = cutout.resize((width, height), Image.Resampling.BILINEAR)
    if chance.random() < 0.5:
        pasted = pasted.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    opaque = np.asarray(pasted)[..., 3] >= OPAQUE
    label = len(areas) + 1
    visible = np.bincount(label_map.ravel(), minlength=label)[1:]
    needed = LEAST_VISIBLE * np.array(areas)
    for _ in range(ATTEMPTS):
        left, top = int(chance.integers(size - width + 1)), int(chance.integers(size - height + 1))
        window = label_map[top : top + height, left : left + width]
        hidden = np.bincount(window[opaque], minlength=label)[1:]
        if (visible - hidden >= needed).all():
            picture.paste(pasted, (left, top), pasted)
            window[opaque] = label
            areas.append(int(opaque.sum()))
            return True
    return False


def _sentence(named: list[str], background: str | None) -> str:
    """Join names as English does: 'a, b and c on d'."""
    objects = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"{objects} on {background}" if background and objects else objects


def _plain(phrase: str) -> str:
    """Name a thing as people type it: "A Penguin" and "penguin" are one class."""
    return ARTICLE.sub("", phrase).lower()


def write_for_evaluation(composites: Composites, directory: Path, numbers: range) -> None:
    """Write composites with their masks: `images/N.png`, `masks/N.png` and `classes.txt`.

    The value of a mask's pixel is the line of its phrase in `classes.txt`, from 0; the last line is the background.

    Raises:
        DataError: more than 252 different phrases.
        WriteError: a file cannot be written.
    """
    made = {number: composites.compose(number) for number in numbers}
    classes = sorted({_plain(phrase) for composite in made.values() for phrase in composite.phrases})
    if len(classes) > 252:
        raise DataError(f"{len(classes)} phrases in {len(made)} composites: expected 252 at most; write fewer")
    for number, composite in made.items():
        labels = np.array([len(classes), *(classes.index(_plain(phrase)) for phrase in composite.phrases)], np.uint8)
        save_picture(composite.image, directory / "images" / f"{number:06d}.png")
        save_picture(Image.fromarray(labels[composite.label_map]), directory / "masks" / f"{number:06d}.png")
    write_atomically(directory / "classes.txt", ("\n".join([*classes, BACKGROUND]) + "\n").encode())


__all__ = ["Composite", "Composites", "is_held_out", "open_backgrounds", "write_for_evaluation"]
