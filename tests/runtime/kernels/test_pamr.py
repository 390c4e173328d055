"""PAMR in C++.

Oracles: the PyTorch form, evaluated in double precision, within 1e-5 of masks in [0, 1] (in single precision the
PyTorch form itself is off by more); and closed forms.
"""

import subprocess
import sys

import numpy as np
import pytest

from runtime.kernels.labels import LabelRule
from runtime.kernels.pamr import contenders, enlarged, pamr, refined


def picture(rng, height, width):
    image = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:height, :width]
    return (image + rng.integers(-3, 4, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("count", "size", "image_size"),
    [
        (1, (1, 1), (1, 1)),
        (2, (5, 7), (40, 30)),
        (4, (56, 56), (224, 200)),
        (5, (17, 33), (17, 33)),
        (9, (30, 50), (7, 5)),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_pytorch_form(count, size, image_size, threads):
    torch = pytest.importorskip("torch")
    from tcl_core.pamr import refine

    rng = np.random.default_rng(count)
    masks, image = rng.random((count, *size), np.float32), picture(rng, *image_size)
    expected = refine(
        torch.from_numpy(image.transpose(2, 0, 1).astype(float))[None], torch.from_numpy(masks)[None].double()
    )
    np.testing.assert_allclose(pamr(masks, image, threads=threads), expected[0], atol=1e-5)


def test_other_dilations_and_iterations_equal_the_pytorch_form():
    torch = pytest.importorskip("torch")
    from tcl_core.pamr import refine

    rng = np.random.default_rng(0)
    masks, image = rng.random((3, 20, 21), np.float32), picture(rng, 40, 42)
    expected = refine(
        torch.from_numpy(image.transpose(2, 0, 1).astype(float))[None],
        torch.from_numpy(masks)[None].double(),
        dilations=(1, 3),
        num_iterations=4,
    )
    np.testing.assert_allclose(pamr(masks, image, dilations=(1, 3), iterations=4), expected[0], atol=1e-5)


def test_constant_masks_and_zero_iterations_change_nothing():
    rng = np.random.default_rng(0)
    image = picture(rng, 50, 60)
    np.testing.assert_allclose(pamr(np.full((2, 12, 14), 0.7, np.float32), image), 0.7, atol=1e-5)
    masks = rng.random((2, 12, 14)).astype(np.float16)
    np.testing.assert_array_equal(pamr(masks, image, iterations=0), masks)


def test_masks_move_to_the_edges_of_the_picture():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    masks = np.zeros((1, 32, 32), np.float32)
    masks[0, :, 19:] = 1  # three pixels too far to the right
    refined = pamr(masks, image)[0]
    assert refined[:, 16:19].mean() > 0.5
    assert refined[:, :16].mean() < 0.1


@pytest.mark.parametrize("background", [None, 0.4])
def test_refining_the_contenders_gives_the_same_labels(background):
    rng = np.random.default_rng(0)
    masks = rng.random((12, 24, 24), np.float32)
    masks[6:] *= 0.3  # below the background
    masks[3] = masks[2] * 0.5 - 0.1  # below another mask
    image = picture(rng, 48, 48)
    chosen = contenders(masks, background=background)
    assert not chosen[3]
    assert chosen[6:].any() == (background is None)
    full, partial = pamr(masks, image), pamr(masks, image, contenders=chosen)
    np.testing.assert_array_equal(full.argmax(0), partial.argmax(0))
    np.testing.assert_array_equal(full[chosen], partial[chosen])
    if background is not None:
        np.testing.assert_array_equal(full.max(0) > background, partial.max(0) > background)


def test_no_contenders_is_fine():
    masks = np.zeros((2, 5, 5), np.float32)
    chosen = contenders(masks, background=1.0)
    assert not chosen.any()
    np.testing.assert_array_equal(pamr(masks, np.zeros((5, 5, 3), np.uint8), contenders=chosen), masks)


MASKS, IMAGE = np.zeros((2, 4, 4), np.float32), np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"masks": MASKS.astype(int)}, TypeError, "masks: int64 array given, expected a float32 or float16 array"),
        ({"masks": MASKS[0]}, ValueError, r"masks of shape \(4, 4\) given, expected \(N, h, w\)"),
        ({"masks": MASKS[:0]}, ValueError, r"masks of shape \(0, 4, 4\) given"),
        ({"image": IMAGE[..., 0]}, ValueError, r"image of shape \(8, 8\) given, expected \(H, W, 3\)"),
        ({"image": IMAGE.astype(complex)}, TypeError, "image: complex128 array given"),
        ({"dilations": ()}, ValueError, "expected at least one, of 1 to 1024 each"),
        ({"dilations": (0,)}, ValueError, "expected at least one, of 1 to 1024 each"),
        ({"iterations": -1}, ValueError, "iterations -1 given, expected 0 or more"),
        ({"threads": 0}, ValueError, "threads 0 given, expected at least 1"),
        ({"contenders": np.ones(3, bool)}, ValueError, r"expected \(2,\) bool"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        pamr(**{"masks": MASKS, "image": IMAGE, **arguments})


def test_memory_that_cannot_be_had_is_a_memory_error():
    """In a process of its own with 2 GB of addresses: the weights alone take 1.7."""
    pytest.importorskip("resource")
    code = (
        "import resource, numpy as np\n"
        "from runtime.kernels.pamr import pamr\n"
        "masks, image = np.zeros((1, 3000, 3000), np.float32), np.zeros((2, 2, 3), np.uint8)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "try:\n"
        "    pamr(masks, image)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr


def test_masks_are_enlarged_to_a_quarter_of_the_input_and_never_made_smaller():
    """Oracle: shapes by hand; a ramp stays a ramp."""
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (2, 4, 8))
    larger = enlarged(ramp, (64, 128))
    assert larger.shape == (2, 16, 32)
    np.testing.assert_allclose(np.diff(larger[:, :, 2:-2], axis=2), 0.25, atol=1e-6)
    assert enlarged(ramp, (16, 32)) is ramp
    assert enlarged(ramp, (32, 16)).shape == (2, 8, 8)


def test_refinement_leaves_out_what_cannot_win_unless_masks_have_thresholds():
    """Oracle: the parts, one after the other."""
    rng = np.random.default_rng(0)
    masks, image = rng.random((4, 8, 8), np.float32), picture(rng, 64, 64)
    masks[3] = 0.1
    larger = enlarged(masks, (64, 64))
    chosen = contenders(larger, background=0.5)
    assert chosen.tolist() == [True, True, True, False]
    expected = pamr(larger, image, contenders=chosen)
    assert np.array_equal(refined(masks, image, (64, 64), LabelRule(0.5)), expected)
    limits = np.full(4, 0.5, np.float32)
    assert np.array_equal(refined(masks, image, (64, 64), LabelRule(0.5, limits)), pamr(larger, image))
