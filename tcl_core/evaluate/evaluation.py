"""A model measured on pictures with known masks: the loop and its figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tcl_core.errors import DataError
from tcl_core.evaluate.benchmarks import VOID, Benchmark, LabelledPicture
from tcl_core.evaluate.metrics import Pointing, Tally, pixel_accuracy
from tcl_core.evaluate.soft_masks import Segment, SoftMasks
from tcl_core.pictures import open_picture
from tcl_core.segment import resize


@dataclass(frozen=True, eq=False)
class PictureScore:
    """How one picture went.

    Attributes:
        picture: which.
        accuracy: share of its labelled pixels that are right when all words compete, without background.
    """

    picture: LabelledPicture
    accuracy: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of a whole benchmark.

    Attributes:
        benchmark: what was measured on.
        tallies: all words and the words present, each without and with background.
        pointing: with the words present, which is when it is played.
        pictures: in the order of the benchmark.
    """

    benchmark: Benchmark
    tallies: tuple[Tally, ...]
    pointing: Pointing
    pictures: tuple[PictureScore, ...]

    def figures(self) -> dict[str, Any]:
        """Everything measured, in numbers: shares in [0, 1], None where a class occurs nowhere."""
        return {
            "settings": [self._figures_of(tally) for tally in self.tallies],
            "pointing_game": _number(self.pointing.score),
            "pointing_game_of_class": {
                word.name: _number(float(hits) / int(played) if played else float("nan"))
                for word, hits, played in zip(
                    self.benchmark.words, self.pointing.hits, self.pointing.played, strict=True
                )
            },
            "pictures": [
                {"name": score.picture.name, "pixel_accuracy": _number(score.accuracy)} for score in self.pictures
            ],
        }

    def _figures_of(self, tally: Tally) -> dict[str, Any]:
        scored = tally.scored(self.benchmark.has_background)
        return {
            "words": "present" if tally.present_only else "all",
            "background": tally.background,
            "mean_iou": _number(float(scored.nanmean())),
            "pixel_accuracy": _number(pixel_accuracy(tally.confusion)),
            "iou": dict(zip(self.benchmark.names, map(_number, scored.tolist()), strict=False)),
        }


def _number(value: float) -> float | None:
    return None if value != value else round(value, 6)


@torch.inference_mode()
def evaluate(segment: Segment, benchmark: Benchmark, progress: Callable[[int, int], None] | None = None) -> Evaluation:
    """Segment every picture and compare it with the truth, at the truth's size.

    Args:
        segment: the model.
        benchmark: pictures with masks.
        progress: called with (pictures done, pictures in all).

    Raises:
        DataError: a picture or mask that cannot be read, or sizes that differ.
    """
    num_words = len(benchmark.words)
    tallies = tuple(
        Tally(present_only, background, torch.zeros(num_words + 1, num_words + 1, dtype=torch.int64))
        for background in (False, True)
        for present_only in (False, True)
    )
    pointing, scores = Pointing.of(num_words), []
    for done, picture in enumerate(benchmark.pictures, start=1):
        truth, masks = labelled(segment, benchmark, picture)
        pointing.add(masks.words, truth)
        labels = [tally.add(masks.words, masks.background, truth, VOID) for tally in tallies]
        counted = (truth != VOID) & (truth != num_words)
        scores.append(PictureScore(picture, float((labels[0] == truth)[counted].double().mean())))
        if progress:
            progress(done, len(benchmark.pictures))
    return Evaluation(benchmark, tallies, pointing, tuple(scores))


def labelled(segment: Segment, benchmark: Benchmark, picture: LabelledPicture) -> tuple[Tensor, SoftMasks]:
    """Read a picture's truth, int64 (H,W), and segment it: soft masks at the same size.

    Raises:
        DataError: see `evaluate`.
    """
    truth = torch.from_numpy(benchmark.truth(picture)).long()
    image = open_picture(picture.image)
    if (image.height, image.width) != truth.shape:
        raise DataError(
            f"{picture.image} has {image.width} x {image.height} pixels and its mask {truth.shape[1]} x "
            f"{truth.shape[0]}: expected the same"
        )
    masks = segment(image)
    words = resize(masks.words[None], truth.shape)[0]
    return truth, SoftMasks(words, resize(masks.background[None, None], truth.shape)[0, 0])


__all__ = ["Evaluation", "PictureScore", "evaluate", "labelled"]
