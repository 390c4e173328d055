"""Pixel-adaptive mask refinement."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tcl_core.pamr import affinity, neighbours, refine


def test_ten_iterations_of_the_reference(golden: Mapping[str, Tensor]) -> None:
    """Oracle: recorded output of the reference, which resizes masks to the image with aligned corners; 1e-5."""
    image = golden["pamr_image"]
    masks = F.interpolate(golden["pamr_in"], size=image.shape[-2:], mode="bilinear", align_corners=True)
    torch.testing.assert_close(refine(image, masks), golden["pamr_out_10it"], rtol=0, atol=1e-5)


def test_classes_do_not_mix(golden: Mapping[str, Tensor]) -> None:
    """Oracle: all classes refined at once; exact."""
    image, masks = golden["pamr_image"], golden["pamr_in"]
    assert torch.equal(refine(image, masks)[:, 1:3], refine(image, masks[:, 1:3]))


def test_neighbours_replicate_borders() -> None:
    """Oracle: indices clamped to the image, pixel by pixel; exact."""
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    shifts = [(y * d, x * d) for d in (1, 24) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    found = list(neighbours(image, (1, 24)))
    assert len(found) == 16
    for (down, right), shifted in zip(shifts, found, strict=True):
        for row in range(3):
            for column in range(4):
                expected = image[0, 0, min(max(row + down, 0), 2), min(max(column + right, 0), 3)]
                assert shifted[0, 0, row, column] == expected


def test_weights_against_a_loop() -> None:
    """Oracle: the definition, for one pixel, in plain Python; 1e-6."""
    image = torch.randn(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    row, column, logits = 2, 3, []
    offsets = [(y * d, x * d) for d in (1, 2) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    at = [image[0, :, min(max(row + y, 0), 4), min(max(column + x, 0), 5)] for y, x in offsets]
    deviation = torch.stack(at).std(dim=0)  # the centre counts once a dilation
    for (y, x), colour in zip(offsets, at, strict=True):
        if (y, x) != (0, 0):
            logits.append(-((colour - image[0, :, row, column]).abs() / (1e-8 + 0.1 * deviation)).mean())
    weights = affinity(image, (1, 2))
    torch.testing.assert_close(weights[0, :, row, column], torch.stack(logits).softmax(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(1, 5, 6))


def test_uniform_image_keeps_a_constant_mask() -> None:
    """Oracle: an average of equal numbers; 1e-6. The colours have no deviation to divide by."""
    masks = torch.full((1, 2, 4, 4), 0.7)
    torch.testing.assert_close(refine(torch.zeros(1, 3, 16, 16), masks), masks, rtol=0, atol=1e-6)
