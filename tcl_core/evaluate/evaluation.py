"""A model measured on pictures with known masks: the loop and its figures."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from tcl_core.errors import DataError
from tcl_core.evaluate.benchmarks import VOID, Benchmark, LabelledPicture
from tcl_core.evaluate.bootstrap import LEVEL, NUM_DRAWS, interval
from tcl_core.evaluate.boundary import BOUNDARY_SHARE, SMALL_SHARE, BoundaryIou, SmallComponents
from tcl_core.evaluate.calibration import Calibration
from tcl_core.evaluate.counts import ClassCounts, count_pixels, stacked
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
        seconds: that its segmentation took, from the open picture to scores.
    """

    picture: LabelledPicture
    accuracy: float
    seconds: float = float("nan")


@dataclass(frozen=True, eq=False)
class Details:
    """What plain figures hide, of the benchmark's own setting.

    Attributes:
        boundary: IoU of boundaries.
        small: IoU of small components.
        calibration: confidence against accuracy.
    """

    boundary: BoundaryIou
    small: SmallComponents
    calibration: Calibration


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of a whole benchmark.

    Attributes:
        benchmark: what was measured on.
        tallies: all words and the words present, each without and with background.
        counts: (P,N) of the benchmark's own setting, which papers report: all words compete, and the background too
            if the truth has one. Classes in the order of `benchmark.names`.
        details: of the same setting.
        pointing: with the words present, which is when it is played.
        pictures: in the order of the benchmark.
    """

    benchmark: Benchmark
    tallies: tuple[Tally, ...]
    counts: ClassCounts
    details: Details
    pointing: Pointing
    pictures: tuple[PictureScore, ...]

    @property
    def own_confusion(self) -> Tensor:
        """Of the benchmark's own setting: int64 (K+1,K+1), rows are the truth, the background last."""
        return self.tallies[_own_setting(self.tallies, self.benchmark)].confusion

    def figures(self) -> dict[str, Any]:
        """Everything measured, in numbers: shares in [0, 1], None where a class occurs nowhere."""
        return {
            "benchmark": self._benchmark_figures(),
            "settings": [self._figures_of(tally) for tally in self.tallies],
            "pointing_game": _number(self.pointing.score),
            "pointing_game_of_class": {
                word.name: _number(float(hits) / int(played) if played else float("nan"))
                for word, hits, played in zip(
                    self.benchmark.words, self.pointing.hits, self.pointing.played, strict=True
                )
            },
            "seconds_per_picture": _number(median(score.seconds for score in self.pictures)),
            "pictures": [
                {"name": score.picture.name, "pixel_accuracy": _number(score.accuracy)} for score in self.pictures
            ],
        }

    def _benchmark_figures(self) -> dict[str, Any]:
        """Figures of the setting that papers report."""
        summed, names = self.counts.summed(), self.benchmark.names
        boundary, small, calibration = self.details.boundary, self.details.small, self.details.calibration
        return {
            "background": self.benchmark.has_background,
            "mean_iou": _number(summed.mean_iou),
            "mean_iou_interval": {
                **{key: _number(value) for key, value in asdict(interval(self.counts)).items()},
                "level": LEVEL,
                "draws": NUM_DRAWS,
            },
            "mean_accuracy": _number(summed.mean_accuracy),
            "pixel_accuracy": _number(summed.pixel_accuracy),
            "iou": dict(zip(names, map(_number, summed.iou.tolist()), strict=True)),
            "accuracy": dict(zip(names, map(_number, summed.accuracy.tolist()), strict=True)),
            "share_of_classes_with_iou_0": _number(summed.share_of_zeros),
            "num_classes_counted": int((~summed.iou.isnan()).sum()),
            "boundary_iou": _number(boundary.mean),
            "boundary_width": f"{BOUNDARY_SHARE:g} of the diagonal",
            "small_component_iou": _number(small.mean),
            "num_small_components": len(small.ious),
            "small_component": f"below {SMALL_SHARE:g} of the picture",
            "calibration_error": _number(calibration.error),
            "accuracy_at_coverage": {f"{share:g}": _number(accuracy) for share, accuracy in calibration.curve()},
            "calibration": "of probabilities" if calibration.possible else "none: scores are no probabilities",
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


def _own_setting(tallies: tuple[Tally, ...], benchmark: Benchmark) -> int:
    """Say where the tally stands that papers report."""
    return next(
        index
        for index, tally in enumerate(tallies)
        if not tally.present_only and tally.background == benchmark.has_background
    )


@torch.inference_mode()
def evaluate(
    segment: Segment,
    benchmark: Benchmark,
    progress: Callable[[int, int], None] | None = None,
    on_labels: Callable[[LabelledPicture, Tensor], None] | None = None,
) -> Evaluation:
    """Segment every picture and compare it with the truth, at the truth's size.

    Args:
        segment: the model.
        benchmark: pictures with masks.
        progress: called with (pictures done, pictures in all).
        on_labels: called with every picture and its labels in the benchmark's own setting, int64 (H,W).

    Raises:
        DataError: a picture or mask that cannot be read, or sizes that differ.
    """
    num_words, num_classes = len(benchmark.words), len(benchmark.names)
    tallies = tuple(
        Tally(present_only, background, torch.zeros(num_words + 1, num_words + 1, dtype=torch.int64))
        for background in (False, True)
        for present_only in (False, True)
    )
    own = _own_setting(tallies, benchmark)
    details = Details(BoundaryIou.of(num_classes), SmallComponents(), Calibration.empty())
    pointing, scores, counts = Pointing.of(num_words), [], []
    for done, picture in enumerate(benchmark.pictures, start=1):
        truth, masks, seconds = _timed(segment, benchmark, picture)
        pointing.add(masks.words, truth)
        labels = [tally.add(masks.words, masks.background, truth, VOID) for tally in tallies]
        counted = (truth != VOID) & (truth != num_words)
        scores.append(PictureScore(picture, float((labels[0] == truth)[counted].double().mean()), seconds))
        counts.append(count_pixels(truth, labels[own], num_classes, VOID))
        _add_details(details, truth, labels[own], masks, num_classes)
        if on_labels:
            on_labels(picture, labels[own])
        if progress:
            progress(done, len(benchmark.pictures))
    return Evaluation(benchmark, tallies, stacked(counts), details, pointing, tuple(scores))


def _add_details(details: Details, truth: Tensor, labels: Tensor, masks: SoftMasks, num_classes: int) -> None:
    details.boundary.add(truth.numpy(), labels.numpy(), VOID)
    details.small.add(truth.numpy(), labels.numpy(), VOID, num_classes)
    if not masks.probabilities:
        details.calibration.possible = False
        return
    # How sure it is that a pixel is background: as sure as that it is no word.
    best = masks.words.amax(dim=0)
    confidence = torch.where(labels < len(masks.words), best, 1 - best)
    counted = truth < num_classes
    details.calibration.add(confidence[counted], (labels == truth)[counted])


def labelled(segment: Segment, benchmark: Benchmark, picture: LabelledPicture) -> tuple[Tensor, SoftMasks]:
    """Read a picture's truth, int64 (H,W), and segment it: soft masks at the same size.

    Raises:
        DataError: see `evaluate`.
    """
    truth, masks, _ = _timed(segment, benchmark, picture)
    return truth, masks


def _timed(segment: Segment, benchmark: Benchmark, picture: LabelledPicture) -> tuple[Tensor, SoftMasks, float]:
    truth = torch.from_numpy(benchmark.truth(picture)).long()
    image = open_picture(picture.image)
    if (image.height, image.width) != truth.shape:
        raise DataError(
            f"{picture.image} has {image.width} x {image.height} pixels and its mask {picture.mask} {truth.shape[1]} x "
            f"{truth.shape[0]}: expected the same; pictures are turned as their EXIF says, masks never are"
        )
    start = time.perf_counter()
    masks = segment(image)
    seconds = time.perf_counter() - start
    words = resize(masks.words[None], truth.shape)[0]
    background = resize(masks.background[None, None], truth.shape)[0, 0]
    return truth, SoftMasks(words, background, masks.probabilities), seconds


__all__ = ["Details", "Evaluation", "PictureScore", "evaluate", "labelled"]
