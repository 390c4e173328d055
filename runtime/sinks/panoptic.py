"""COCO's panoptic segmentation: a picture of region numbers a frame, and a file that says what they are."""

from pathlib import Path

import numpy as np

from runtime.frame import BGR
from runtime.segmentation import Segmentation, write_picture
from runtime.sinks.coco import Categories, image_record, xywh
from runtime.sinks.output import Outputs, numbered
from runtime.sinks.record import RecordSink, as_json, as_text
from runtime.sources.source import Frame, Source


class PanopticSink(RecordSink):
    """A folder with `panoptic.json` and `panoptic/NAME.png`, as COCO's panoptic API reads them.

    A pixel's region is red + 256 green + 65536 blue, 0 where none is; regions are numbered from 1 on in each picture,
    largest first. Every word counts as a thing, for its regions are told apart. The file has its name when all
    pictures are there; until then it is `panoptic.partial.json`.
    """

    def __init__(self, path: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> None:
        self._pattern = path / "panoptic" / "{name}.png"
        outputs.check_folder(path)
        outputs.check(path / "panoptic.json")
        outputs.check_pattern(self._pattern, source.names)
        super().__init__(path / "panoptic.json", outputs)
        self._outputs = outputs
        self._categories = Categories()
        self._images: list[str] = []

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Write the picture of a frame and append what its numbers are."""
        self._categories.add(result)
        regions = result.regions()
        numbers = np.zeros(result.mask.shape, np.uint32)
        for number, region in enumerate(regions, start=1):
            x1, y1, x2, y2 = region.box
            numbers[y1:y2, x1:x2][region.crop] = number
        path = numbered(self._pattern, frame.index, frame.name)
        self._outputs.claim(path)
        write_picture(path, numbers.astype("<u4").view(np.uint8).reshape(*numbers.shape, 4)[..., 2::-1].copy())
        annotation = {
            "image_id": frame.index,
            "file_name": as_text(path.relative_to(self._pattern.parent).as_posix()),
            "segments_info": [
                {
                    "id": number,
                    "category_id": self._categories[region.name],
                    "area": region.area,
                    "bbox": xywh(region),
                    "iscrowd": 0,
                    "score": round(region.confidence, 4),
                }
                for number, region in enumerate(regions, start=1)
            ],
        }
        self.append(('{"annotations":[\n' if not self.begun else ",\n") + as_json(annotation))
        self._images.append(as_json(image_record(frame, result)))

    def tail(self) -> str:
        """Give the images and the categories."""
        images, categories = ",\n".join(self._images), as_json(self._categories.listed(isthing=1))
        return f'\n],\n"images":[\n{images}\n],\n"categories":{categories}}}\n'
