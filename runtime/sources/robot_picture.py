"""The picture in a robot's message."""

from typing import Any

import cv2
import numpy as np

from runtime.errors import FrameError, SourceError
from runtime.frame import BGR, as_bgr
from runtime.ros.encoding import NUMBERS
from runtime.ros.message import CompressedImage, Image
from runtime.sources.picture_header import HEAD_BYTES, declared_size, kind_of
from runtime.sources.pictures import MOST_PIXELS


def picture_of(message: Image | CompressedImage) -> BGR:
    """Decode a message: BGR (H,W,3) uint8, which may lie in it.

    What compressed data are, they say themselves. EXIF does not turn the picture, as ROS does not.

    Raises:
        SourceError: it is no picture, or damaged.
    """
    if isinstance(message, Image):
        return message.picture()
    form, data = message.format, np.frombuffer(message.data, np.uint8)
    if "compressedDepth" in form or NUMBERS.match(form.strip()):
        raise SourceError(
            f"compressed images as {form!r} hold distances, no colours: name the topic of the camera's colour picture"
        )
    if not data.size:
        raise SourceError(f"a compressed image as {form!r} without data given")
    kind = kind_of(data[:HEAD_BYTES].tobytes())
    size = declared_size(kind, data.tobytes()) if kind is not None else None
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise SourceError(
            f"a compressed image as {form!r} announces {size[1]} x {size[0]} pixels, expected {MOST_PIXELS} at most"
        )
    try:
        image: Any = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if image is not None:
            return as_bgr(image)
    except (cv2.error, FrameError) as error:
        raise SourceError(f"a compressed image as {form!r} cannot be decoded: {error}") from None
    raise SourceError(
        f"a compressed image as {form!r} of {data.size} bytes cannot be decoded: expected an intact JPEG or PNG"
    )
