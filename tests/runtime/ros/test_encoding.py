"""Pixels of image messages. Oracles: loops over pixels, the definitions of mosaics and YUV, `as_bgr`."""

import itertools

import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.frame import as_bgr
from runtime.ros.encoding import LAYOUTS, Buffer, decode_image


def decoded(
    data: Buffer,
    encoding: str,
    size: tuple[int, int] = (2, 3),
    *,
    step: int | None = None,
    big_endian: bool = False,
) -> np.ndarray:
    height, width = size
    step = len(data) // height if step is None else step
    return decode_image(height=height, width=width, encoding=encoding, big_endian=big_endian, step=step, data=data)


ORDERS = {"rgb": "rgb", "bgr": "bgr", "rgba": "rgba", "bgra": "bgra", "8UC3": "bgr", "8UC4": "bgra"}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "8UC3", "8UC4", "mono8", "8UC1"])
def test_every_pixel_of_eight_bits(encoding: str, padding: int) -> None:
    """Pixel by pixel, from the bytes, in the order that the name says."""
    order = ORDERS.get(encoding, ORDERS.get(encoding[:-1], "y"))
    height, width, channels = 4, 5, len(order)
    step = width * channels + padding
    data = np.random.default_rng(0).integers(0, 256, height * step, np.uint8).tobytes()
    picture = decoded(data, encoding, (height, width), step=step)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
    for y, x, (channel, colour) in itertools.product(range(height), range(width), enumerate("bgr")):
        place = order.index(colour) if order != "y" else 0
        assert picture[y, x, channel] == data[y * step + x * channels + place]
    bare = data[: len(data) - padding]  # the last row may lack its padding
    np.testing.assert_array_equal(decoded(bare, encoding, (height, width), step=step), picture)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "16UC3", "bgr16"])
def test_sixteen_bits_become_eight_as_in_every_other_picture(encoding: str, big_endian: bool) -> None:
    channels = LAYOUTS[encoding].channels
    values = np.random.default_rng(1).integers(0, 2**16, (4, 5, channels), np.uint16)
    data = values.astype(">u2" if big_endian else "<u2").tobytes()
    np.testing.assert_array_equal(decoded(data, encoding, (4, 5), big_endian=big_endian), as_bgr(values))


def test_a_picture_that_is_bgr_is_not_copied() -> None:
    data = bytes(range(18))
    assert np.shares_memory(decoded(data, "bgr8"), np.frombuffer(data, np.uint8))


COLOUR = {"b": 30, "g": 110, "r": 220}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_of_one_colour_is_that_colour(pattern: str, bits: int) -> None:
    """ROS names the first two rows from left to right."""
    tile = np.array([COLOUR[letter] for letter in pattern]).reshape(2, 2)
    mosaic = np.tile(tile, (4, 4)).astype(np.uint8) if bits == 8 else np.tile(tile << 8, (4, 4)).astype("<u2")
    picture = decoded(mosaic.tobytes(), f"bayer_{pattern}{bits}", (8, 8))
    np.testing.assert_array_equal(picture, np.broadcast_to([30, 110, 220], (8, 8, 3)))


def bt601(y: float, u: float, v: float) -> list[float]:
    """Blue, green, red of video's range, by the standard."""
    light, u, v = 255 / 219 * (y - 16), 255 / 224 * (u - 128), 255 / 224 * (v - 128)
    return [light + 1.772 * u, light - 0.344136 * u - 0.714136 * v, light + 1.402 * v]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("yuv422", [100, 80, 150, 140] * 2),
        ("uyvy", [100, 80, 150, 140] * 2),
        ("yuv422_yuy2", [80, 100, 140, 150] * 2),
        ("yuyv", [80, 100, 140, 150] * 2),
        ("nv21", [80, 140, 80, 140, 150, 100]),
    ],
)
def test_yuv(encoding: str, data: list[int]) -> None:
    """Light 80 and 140, u 100, v 150, in two rows."""
    picture = decoded(bytes(data), encoding, (2, 2), step=2 if encoding == "nv21" else 4)
    expected = np.array([[bt601(80, 100, 150), bt601(140, 100, 150)]] * 2)
    np.testing.assert_allclose(picture, expected, atol=1.5)


@pytest.mark.parametrize(
    ("size", "encoding", "step", "length", "match"),
    [
        ((2, 3), "bgr8", 9, 17, r"3 x 2 pixels as bgr8 with 9 bytes a row .* brings 17 bytes, expected 18"),
        ((2, 3), "bgr8", 9, 19, "brings 19 bytes, expected 18"),
        ((2, 3), "bgr8", 9, 0, "brings 0 bytes"),
        ((2, 3), "bgr8", 8, 18, r"has 8 bytes a row \(`step`\), expected 9 or more"),
        ((2, 3), "mono16", 3, 6, "has 3 bytes a row"),
        ((0, 3), "bgr8", 9, 0, "3 x 0 pixels given, expected 1 to 32767 a side"),
        ((2, 0), "bgr8", 0, 0, "0 x 2 pixels given"),
        ((2**32 - 1, 2**32 - 1), "bgr8", 2**32 - 1, 18, "4294967295 x 4294967295 pixels given"),
        ((30_000, 30_000), "mono8", 2**32 - 1, 18, "brings 18 bytes"),
        ((2, 3), "yuv422", 6, 12, "3 x 2 pixels as yuv422 cannot be converted"),
        ((3, 2), "nv21", 2, 8, "2 x 3 pixels as nv21 given, expected an even number of both"),
        ((2, 2), "nv21", 2, 5, "brings 5 bytes, expected 6"),
        ((2, 3), "32FC1", 12, 24, "32FC1 hold distances or other numbers"),
        ((2, 3), "16SC1", 6, 12, "16SC1 hold distances or other numbers"),
        ((2, 3), "", 9, 18, "images as '' are not supported: expected mono8, "),
        ((2, 3), "nv24", 3, 18, "'nv24' are not supported"),
    ],
)
def test_what_does_not_fit_is_told(size: tuple[int, int], encoding: str, step: int, length: int, match: str) -> None:
    with pytest.raises(SourceError, match=match):
        decoded(bytes(length), encoding, size, step=step)


@pytest.mark.parametrize("encoding", sorted(LAYOUTS))
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 3)])
def test_the_smallest_pictures_are_shown_or_refused(encoding: str, size: tuple[int, int]) -> None:
    layout = LAYOUTS[encoding]
    data = bytes(size[0] * size[1] * layout.channels * layout.bits // 8)
    try:
        assert decoded(data, encoding, size).shape == (*size, 3)
    except SourceError as error:
        assert "cannot be converted" in str(error)  # noqa: PT017 - either will do
        assert layout.conversion is not None
