"""An image with its caption, what can be wrong with one, and how it is decoded."""

import io
import json
import struct
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from tcl_core.errors import BadSampleError, DataError, Problem
from tcl_core.pictures import eight_bits

FEWEST_JUDGED = 200  # samples, before a share of bad ones is taken seriously


@dataclass(frozen=True, eq=False)
class Sample:
    """A decoded image with its caption.

    Attributes:
        image: PIL, RGB unless RGBA was asked for.
        caption: not empty, without white space around it.
        where: file and member, for messages.
    """

    image: Image.Image
    caption: str
    where: str


class Source(Protocol):
    """Samples by number.

    Attributes:
        problems: what was passed over when the source was opened.
        groups: int32 (M,), samples of the same number lie together on disk and are cheap to read together.
    """

    problems: list[Problem]
    groups: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """Count the samples."""
        ...

    def read(self, number: int, mode: str = "RGB") -> Sample:
        """Read and decode a sample in RGB or RGBA.

        Raises:
            BadSampleError: it cannot be used.
        """
        ...


def decode_image(content: bytes, where: str, mode: str = "RGB") -> Image.Image:
    """Decode an image file.

    Raises:
        BadSampleError: it is empty, not an image, cut short or absurdly large.
    """
    if not content:
        raise BadSampleError("image empty", where)
    try:
        with warnings.catch_warnings():
            # A bomb is an error; the decoder's other warnings (odd EXIF, odd palettes) concern no pixel.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(content))
            image = eight_bits(opened, opened.format).convert(mode)
    except (OSError, ValueError, SyntaxError, struct.error, EOFError, IndexError, TypeError) as error:
        raise BadSampleError("image damaged", f"{where}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadSampleError("image too large", f"{where}: {error}") from error
    return image


def read_caption(content: bytes, where: str, is_json: bool = False) -> str:
    """Read a caption: UTF-8, or the `caption` of an img2dataset JSON.

    Raises:
        BadSampleError: there is none, or it is not text.
    """
    try:
        text = content.decode("utf-8")
        value = json.loads(text).get("caption") if is_json else text
    except (UnicodeDecodeError, ValueError, AttributeError) as error:
        raise BadSampleError("caption not text", f"{where}: {error}") from error
    return check_caption(value, where)


def check_caption(value: object, where: str) -> str:
    """Return a caption without the white space around it.

    Raises:
        BadSampleError: it is empty.
    """
    caption = value.strip() if isinstance(value, str) else ""
    if not caption:
        raise BadSampleError("caption empty", where)
    return caption


@dataclass
class DataReport:
    """What was passed over while training.

    Attributes:
        most_bad: largest share of bad samples that is tolerated, in [0, 1].
        num_read: samples asked for.
        counts: bad samples by kind.
        first: where each kind was first met.
    """

    most_bad: float
    num_read: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, num_read: int, problems: Iterable[Problem]) -> None:
        """Count a batch.

        Raises:
            DataError: more samples are bad than is tolerated.
        """
        self.num_read += num_read
        for problem in problems:
            self.counts[problem.kind] += 1
            self.first.setdefault(problem.kind, problem.where)
        if self.num_read >= FEWEST_JUDGED and self.num_bad > self.most_bad * self.num_read:
            raise DataError(
                f"{self}. That is more than {self.most_bad:.1%} (data.most_bad): repair the data, or raise the "
                "limit if so many are expected."
            )

    @property
    def num_bad(self) -> int:
        """Bad samples of all kinds."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        """Sum up."""
        kinds = "; ".join(f"{count} x {kind} (first: {self.first[kind]})" for kind, count in self.counts.most_common())
        return f"{self.num_bad} of {self.num_read} samples were passed over" + (f": {kinds}" if kinds else "")
