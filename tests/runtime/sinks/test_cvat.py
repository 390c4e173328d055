"""CVAT for images 1.1. Oracle: the label map; run lengths decoded by pycocotools, which counts down the columns."""

from xml.etree import ElementTree

import numpy as np
import pytest
from pycocotools import mask as coco

from runtime.errors import SinkError

# pycocotools' own, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def decoded(mask: ElementTree.Element) -> np.ndarray:
    width, height = int(mask.attrib["width"]), int(mask.attrib["height"])
    counts = [int(count) for count in mask.attrib["rle"].split(",")]
    assert sum(counts) == width * height
    return coco.decode(coco.frPyObjects({"counts": counts, "size": [width, height]}, width, height)).T


# The example of CVAT's own description of the format.
EXAMPLE = (
    '<mask label="car" source="manual" occluded="0" rle="3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, '
    '1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3" left="707" top="888" width="13" height="15" z_order="0"></mask>'
)


def test_run_lengths_go_along_the_rows_of_the_box() -> None:
    """The example is a disc, the same from left and right."""
    disc = decoded(ElementTree.fromstring(EXAMPLE))
    assert disc.shape == (15, 13)
    assert disc[7].all()
    assert disc[0].sum() == 5


def test_masks_are_the_regions(write, frames, names) -> None:
    root = ElementTree.parse(write("out.cvat.xml", frames)).getroot()
    assert root.findtext("version") == "1.1"
    assert [e.text for e in root.findall("meta/task/labels/label/name")] == ["car", "road & <tree>"]
    images = root.findall("image")
    assert [image.attrib["name"] for image in images] == names
    for image, (result, frame) in zip(images, frames, strict=True):
        assert (int(image.attrib["height"]), int(image.attrib["width"])) == result.mask.shape
        assert int(image.attrib["id"]) == frame.index
        total = np.zeros(result.mask.shape, int)
        for mask in image.findall("mask"):
            top, left, pixels = int(mask.attrib["top"]), int(mask.attrib["left"]), decoded(mask)
            box = total[top : top + pixels.shape[0], left : left + pixels.shape[1]]
            box += result.names.index(mask.attrib["label"]) * pixels
        assert np.array_equal(total, result.mask)


def test_words_may_not_change(write, frames, renamed) -> None:
    with pytest.raises(SinkError, match="words changed while annotations"):
        write("out.cvat.xml", [frames[0], renamed(frames[1], ("background", "sky", "sea"))])


def test_names_that_xml_has_no_place_for(write, frames) -> None:
    result, frame = frames[0]
    object.__setattr__(frame, "name", 'a\x01"\n')
    root = ElementTree.parse(write("out.cvat.xml", [(result, frame)])).getroot()
    assert root.find("image").attrib["name"] == 'a\\x01"\n.png'


def test_a_stopped_one_is_a_whole_document(write, frames) -> None:
    path = write("out.cvat.xml", frames[:1], complete=False)
    assert path.name == "out.cvat.partial.xml"
    assert len(ElementTree.parse(path).getroot().findall("image")) == 1
