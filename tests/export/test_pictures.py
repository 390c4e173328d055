"""Pictures that graphs are compared on. Oracle: each picture by itself."""

import numpy as np

from export.pictures import as_input, shipped_pictures
from runtime.bundle import Bundle


def test_a_batch_holds_every_picture(tiny: Bundle) -> None:
    pictures = shipped_pictures()[:3]
    batch = as_input(pictures, tiny.manifest.input, (64, 96))
    alone = [as_input([picture], tiny.manifest.input, (64, 96))[0] for picture in pictures]
    assert batch.shape == (3, 3, 64, 96)
    assert all(np.array_equal(a, b) for a, b in zip(batch, alone, strict=True))
    assert len({image.tobytes() for image in batch}) == 3
