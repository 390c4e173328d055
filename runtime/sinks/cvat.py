"""CVAT's annotations of images."""

import re
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from runtime.errors import SinkError
from runtime.frame import BGR
from runtime.regions import Region, box_counts
from runtime.segmentation import Segmentation
from runtime.sinks.output import Outputs
from runtime.sinks.record import RecordSink, file_name
from runtime.sources.source import Frame, Source

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class CvatSink(RecordSink):
    """What CVAT calls "CVAT for images 1.1": a mask a region, to the pixel, holes included.

    Upload it to a task that has the source's pictures, and the words as labels. A file has one list of words, for it
    begins with them.
    """

    one_word_list = True

    def __init__(self, path: Path, source: Source, words: tuple[str, ...], outputs: Outputs) -> None:
        super().__init__(path, outputs)
        self._words = words

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Append the masks of a frame."""
        if result.names != self._words:
            raise SinkError("the words changed while annotations for CVAT were written: begin a new file for new words")
        height, width = result.mask.shape
        name = quoteattr(_legal(file_name(frame)))
        head = "" if self.begun else self._head(result)
        masks = "".join(map(_mask, result.regions()))
        image = f'  <image id="{frame.index}" name={name} width="{width}" height="{height}">\n{masks}  </image>\n'
        self.append(head + image)

    def _head(self, result: Segmentation) -> str:
        words = [word for index, word in enumerate(result.names) if index != result.unpainted]
        labels = "".join(f"        <label><name>{escape(_legal(word))}</name></label>\n" for word in words)
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
            f"      <mode>annotation</mode>\n      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
        )

    def tail(self) -> str:
        """Close the document."""
        return "</annotations>\n"


def _mask(region: Region) -> str:
    x1, y1, x2, y2 = region.box
    runs = ", ".join(map(str, box_counts(region)))
    return (
        f'    <mask label={quoteattr(_legal(region.name))} source="auto" occluded="0" rle="{runs}" left="{x1}" '
        f'top="{y1}" width="{x2 - x1}" height="{y2 - y1}" z_order="0"></mask>\n'
    )


def _legal(text: str) -> str:
    """Write what XML has no place for as its number."""
    return NO_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
