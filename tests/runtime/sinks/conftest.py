"""Two frames and what was found in them, and a sink that got them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.segmentation import Segmentation
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sinks.sink import Sink
from runtime.sources.source import Frame, Source

WORDS = ("background", "car", "road & <tree>")
COLOURS = np.array([[128, 128, 128], [10, 20, 250], [200, 100, 0]], np.uint8)

Found = tuple[Segmentation, Frame]


def found_in(mask: np.ndarray, frame: Frame) -> Found:
    soft = np.random.default_rng(2).random((3, 6, 8), np.float32)
    return Segmentation(mask, WORDS, frame.image, soft, None, COLOURS, 0, {}), frame


def blobs(seed: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """A label map (H,W) of three classes with dozens of regions, holes, and regions at every border."""
    noise = np.random.default_rng(seed).normal(size=(3, *size)).astype(np.float32)
    mask: np.ndarray = np.stack([cv2.GaussianBlur(layer, (0, 0), 2) for layer in noise]).argmax(axis=0)
    return mask.astype(np.uint8)


@pytest.fixture
def frames() -> list[Found]:
    """A picture in a folder, whose name is no UTF-8, and the frame of a video; of two sizes."""
    picture = Frame(np.zeros((60, 80, 3), np.uint8), 0, 0.0, "left/\udcff<1>", Path("left/\udcff<1>.jpg"))
    video = Frame(np.zeros((40, 70, 3), np.uint8), 1, 0.04, "000012", Path("clip.mp4"))
    return [found_in(blobs(1), picture), found_in(blobs(2, (40, 70)), video)]


@pytest.fixture
def names() -> list[str]:
    """What records call the frames' pictures."""
    return ["left/\\udcff<1>.jpg", "000012.png"]


def opened(path: Path, words: Sequence[str] = WORDS, *, overwrite: bool = False, **about: object) -> Sink:
    source = Source()
    for name, value in about.items():
        setattr(source, name, value)
    return open_sink(str(path), source, tuple(words), Outputs(overwrite=overwrite))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write frames into the sink of a name; its path, or that of what is left where it is not complete."""

    def writing(name: str, frames: Sequence[Found], *, complete: bool = True, words: Sequence[str] = WORDS) -> Path:
        sink = opened(tmp_path / name, words)
        assert not sink.paints
        try:
            for result, frame in frames:
                sink.write(result, frame, frame.image)
        except BaseException:
            sink.close(complete=False)
            raise
        sink.close(complete=complete)
        sink.close(complete=complete)
        assert (sink.partial is None) == complete
        return tmp_path / name if complete else sink.partial

    return writing


@pytest.fixture
def renamed() -> Callable[[Found, Sequence[str]], Found]:
    """The same result of other words."""
    return lambda found, words: (replace(found[0], names=tuple(words)), found[1])
