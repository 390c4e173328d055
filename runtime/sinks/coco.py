"""COCO's instances: an annotation a region."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runtime.frame import BGR
from runtime.regions import Region
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.record import RecordSink, as_json, file_name
from runtime.sources.source import Frame, Source
from runtime.version import __version__


class Categories:
    """COCO's numbers of words, from 1 on: with a background those of the mask. A new word gets the next number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def add(self, result: Segmentation) -> None:
        """Number the words of a result, whether they were found or not, but not its background."""
        for index, word in enumerate(result.names):
            if index != result.unpainted:
                self._numbers.setdefault(word, len(self._numbers) + 1)

    def __getitem__(self, word: str) -> int:
        """Give the number of a word."""
        return self._numbers[word]

    def listed(self, **more: int) -> list[dict[str, Any]]:
        """Give COCO's list, with further fields for each."""
        return [{"id": number, "name": word, **more} for word, number in self._numbers.items()]


def image_record(frame: Frame, result: Segmentation) -> dict[str, Any]:
    """Give COCO's entry of an image, with the time of the frame."""
    height, width = result.mask.shape
    record = {"id": frame.index, "file_name": file_name(frame), "width": width, "height": height}
    return {**record, "time_s": round(frame.time_s, 6)}


def xywh(region: Region) -> list[int]:
    """Give COCO's box: corner, width and height."""
    x1, y1, x2, y2 = region.box
    return [x1, y1, x2 - x1, y2 - y1]


class CocoSink(RecordSink):
    """COCO's instances, as pycocotools reads them: an annotation a region, with its run lengths and a score.

    Annotations are written as they come, images and categories at the end: until then some 100 bytes a frame are kept.
    """

    def __init__(self, path: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> None:
        super().__init__(path, outputs)
        self._categories = Categories()
        self._images: list[str] = []
        self._count = 0

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Append the annotations of a frame."""
        self._categories.add(result)
        self._images.append(as_json(image_record(frame, result)))
        if not self.begun:
            self.append(f'{{"info":{as_json({"description": "TCL Edge", "version": __version__})},\n"annotations":[')
        self.append("".join(self._annotations(frame, result.regions())))

    def _annotations(self, frame: Frame, regions: Iterable[Region]) -> Iterable[str]:
        for region in regions:
            separator = "\n" if self._count == 0 else ",\n"
            self._count += 1
            yield separator + as_json(
                {
                    "id": self._count,
                    "image_id": frame.index,
                    "category_id": self._categories[region.name],
                    "segmentation": region.rle,
                    "area": region.area,
                    "bbox": xywh(region),
                    "iscrowd": 0,
                    "score": round(region.confidence, 4),
                }
            )

    def tail(self) -> str:
        """Give the images and the categories."""
        images = ",\n".join(self._images)
        return f'\n],\n"images":[\n{images}\n],\n"categories":{as_json(self._categories.listed())}}}\n'
