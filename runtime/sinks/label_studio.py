"""Label Studio's tasks, with the regions as predictions to begin from."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from runtime.frame import BGR
from runtime.regions import Region, row_counts
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.record import RecordSink, as_json, file_name
from runtime.sources.source import Frame, Source
from runtime.version import __version__

FOLDER = "/data/local-files/?d="
"""Where Label Studio serves the pictures of its local storage."""

FROM, TO = "words", "image"
"""Names of the brush and of the picture in the labelling configuration."""


class LabelStudioSink(RecordSink):
    """A list of tasks to import, one a frame; each region is a brush stroke, to the pixel, holes included.

    The project's configuration has to name its parts as the predictions do, and list the words:

        <View>
          <Image name="image" value="$image"/>
          <BrushLabels name="words" toName="image"><Label value="car"/><Label value="road"/></BrushLabels>
        </View>

    Pictures are looked for in the local storage, whose root is the folder of the source's pictures.
    """

    def __init__(self, path: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> None:
        super().__init__(path, outputs)

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Append the task of a frame."""
        regions = result.regions()
        task = {
            "data": {"image": FOLDER + quote(file_name(frame))},
            "predictions": [
                {
                    "model_version": f"TCL Edge {__version__}",
                    "result": [_stroke(region, f"{frame.index}-{n}") for n, region in enumerate(regions)],
                }
            ],
        }
        self.append(("[\n" if not self.begun else ",\n") + as_json(task))

    def tail(self) -> str:
        """Close the list."""
        return "\n]\n"


def _stroke(region: Region, identity: str) -> dict[str, Any]:
    height, width = region.size
    return {
        "id": identity,
        "type": "brushlabels",
        "from_name": FROM,
        "to_name": TO,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": list(brush(region)), "brushlabels": [region.name]},
        "score": round(region.confidence, 4),
    }


LONGEST_RUN = 1 << 16


def brush(region: Region) -> bytes:
    """Pack a region as Label Studio's brush does: runs of equal bytes of an RGBA picture, 255 in it and 0 elsewhere.

    A header of 53 bits: number of bytes (32), bits of a value less 1 (5), and four widths of run lengths less 1 (4
    each). Then for each run 27 bits: 1, the index of the width (2, here always the last), the length less 1 (16), the
    value (8). Longer runs are split.
    """
    counts = 4 * row_counts(region)  # outside and inside by turns
    pieces = -(-counts // LONGEST_RUN)
    lengths = np.full(pieces.sum(), LONGEST_RUN, np.int64)
    lengths[np.cumsum(pieces)[pieces > 0] - 1] = (counts - (pieces - 1) * LONGEST_RUN)[pieces > 0]
    values = np.repeat(np.where(np.arange(len(counts)) % 2, 255, 0), pieces)
    header = [(region.size[0] * region.size[1] * 4, 32), (7, 5), (15, 4), (15, 4), (15, 4), (15, 4)]
    bits = [_bits(np.array([value]), width) for value, width in header]
    bits.append(_bits((0b111 << 24) | ((lengths - 1) << 8) | values, 27))
    return np.packbits(np.concatenate(bits)).tobytes()


def _bits(values: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.uint8]:
    """Write numbers below 2**width one after the other, the highest bit first."""
    four = values.astype(">u4").view(np.uint8).reshape(-1, 4)
    return np.unpackbits(four, axis=1)[:, 32 - width :].ravel()
