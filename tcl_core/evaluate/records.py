"""A measurement as plain data: what report.json holds, and what is compared by."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import PIL
import torch
from torch import Tensor

from tcl_core.errors import ConfigError
from tcl_core.evaluate.counts import ClassCounts
from tcl_core.evaluate.evaluation import Evaluation

NUM_CONFUSIONS = 30
VERSIONS = ("torch", "opencv", "pillow", "python")


def record_of(evaluation: Evaluation, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is known of a measurement.

    Args:
        evaluation: what was measured.
        about: what else to say, by name: plain data.
    """
    benchmark = evaluation.benchmark
    record = {
        **about,
        "data": benchmark.name,
        "num_pictures": len(evaluation.pictures),
        "classes": list(benchmark.names),
        "words": {word.name: list(word.synonyms) for word in benchmark.words},
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
        **evaluation.figures(),
    }
    counts = evaluation.counts
    for index, picture in enumerate(record["pictures"]):
        picture["counts"] = _written(counts.intersection[index], counts.prediction[index], counts.label[index])
    record["confusions"] = confusions(evaluation.own_confusion, benchmark.names)
    return record


def confusions(confusion: Tensor, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """List what is taken for what, the most pixels first: int64 (K,K) with rows of the truth, K >= the names."""
    wrong = confusion[: len(names), : len(names)].clone()
    labelled = confusion[: len(names)].sum(dim=1)
    wrong.fill_diagonal_(0)
    largest = wrong.flatten().argsort(descending=True, stable=True)[:NUM_CONFUSIONS].tolist()
    pairs = ((place // len(names), place % len(names)) for place in largest)
    return [
        {
            "truth": names[truth],
            "found": names[found],
            "pixels": int(wrong[truth, found]),
            "share_of_truth": round(float(wrong[truth, found] / labelled[truth]), 6),
        }
        for truth, found in pairs
        if wrong[truth, found]
    ]


def _written(*counts: Tensor) -> str:
    """Write the counts (N) of a picture as `class:both/found/labelled`, classes that occur only."""
    table = torch.stack(counts, dim=1).tolist()
    return " ".join(
        f"{index}:{both}/{found}/{truth}" for index, (both, found, truth) in enumerate(table) if found + truth
    )


def _read(text: str, num_classes: int) -> list[list[int]]:
    table = [[0, 0, 0] for _ in range(num_classes)]
    for item in text.split():
        index, _, numbers = item.partition(":")
        table[int(index)] = [int(number) for number in numbers.split("/")]
    return table


@dataclass(frozen=True, eq=False)
class Record:
    """A measurement read again.

    Attributes:
        path: of its file.
        figures: as `record_of` made them.
    """

    path: Path
    figures: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Read a file.

        Raises:
            ConfigError: there is none, or it is not one measurement with counts of every picture.
        """
        try:
            figures = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error.strerror}): expected a report.json of a measurement"
            ) from error
        except ValueError as error:
            raise ConfigError(f"{path} is no JSON ({error}): expected a report.json of a measurement") from error
        if isinstance(figures, dict) and "results" in figures:
            raise ConfigError(
                f"{path} is a whole table: name one of its measurements, {path.parent}/results/ROW/BENCHMARK.json"
            )
        record = cls(path, figures)
        try:
            _ = record.counts, record.names, record.mean_iou, figures["words"], figures["data"]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"{path} is no measurement with counts of every picture ({error!r}): expected a report.json that "
                "`python -m tcl_core.evaluate` wrote"
            ) from error
        return record

    @property
    def names(self) -> list[str]:
        """Of the pictures, in their order."""
        return [picture["name"] for picture in self.figures["pictures"]]

    @property
    def mean_iou(self) -> float | None:
        """In the setting that papers report; a share."""
        value: float | None = self.figures["benchmark"]["mean_iou"]
        return value

    @property
    def counts(self) -> ClassCounts:
        """Of every picture: (P,N)."""
        num_classes = len(self.figures["classes"])
        table = torch.tensor([_read(picture["counts"], num_classes) for picture in self.figures["pictures"]])
        return ClassCounts(*table.unbind(dim=2))


__all__ = ["VERSIONS", "Record", "confusions", "record_of"]
