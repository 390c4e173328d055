"""Pictures that graphs are compared on. Oracle: each picture by itself."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from export.errors import OptionError
from export.pictures import as_input, folder_pictures, shipped_pictures
from runtime.bundle import Bundle


def test_a_batch_holds_every_picture(tiny: Bundle) -> None:
    pictures = shipped_pictures()[:3]
    batch = as_input(pictures, tiny.manifest.input, (64, 96))
    alone = [as_input([picture], tiny.manifest.input, (64, 96))[0] for picture in pictures]
    assert batch.shape == (3, 3, 64, 96)
    assert all(np.array_equal(a, b) for a, b in zip(batch, alone, strict=True))
    assert len({image.tobytes() for image in batch}) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are no UTF-8")
def test_calibration_reads_what_the_runtime_reads(tmp_path: Path) -> None:
    """Oracle: the grey that each picture was written with, in the order that people count in."""
    (tmp_path / "more").mkdir()
    for number, name in enumerate(
        [b"1.png", b"2", b"10.jfif", b"caf\xe9.bmp", b"more/1.tif", b"more/2.JPG", b"z", b"z2"]
    ):
        kind = Path(os.fsdecode(name)).suffix.lower().replace(".jfif", ".jpg") or ".png"
        data = cv2.imencode(kind, np.full((16, 16, 3), 20 * number, np.uint8))[1]
        (tmp_path / os.fsdecode(name)).write_bytes(data.tobytes())
    for side in ("notes.txt", ".hidden.png", "more/labels.json", "clip.mp4"):
        (tmp_path / side).write_text("no picture")
    assert [int(picture.mean().round()) for picture in folder_pictures(tmp_path)] == [20 * i for i in range(8)]
    (tmp_path / "zz.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(OptionError, match=r"zz\.heic: a HEIC picture.*; take it out of the folder"):
        folder_pictures(tmp_path)
