"""Where results go. Oracles: the files read back with OpenCV and Pillow-free byte checks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SinkError
from runtime.segmentation import Segmentation
from runtime.sinks.arrays import ArraySink
from runtime.sinks.coco import CocoSink
from runtime.sinks.cvat import CvatSink
from runtime.sinks.jsonl import JsonLinesSink
from runtime.sinks.label_studio import LabelStudioSink
from runtime.sinks.masks import MaskSink, read_mask
from runtime.sinks.open import open_sink as open_any
from runtime.sinks.output import Outputs
from runtime.sinks.panoptic import PanopticSink
from runtime.sinks.pictures import OverlaySink, PictureSink
from runtime.sinks.sink import Sink
from runtime.sinks.video import VideoSink
from runtime.sources.source import Frame, Source


def result(mask: np.ndarray, names: tuple[str, ...] = ("a", "b")) -> tuple[Segmentation, Frame, np.ndarray]:
    """Make a result, its frame, and a picture whose grey value is the largest index."""
    image = np.full((*mask.shape, 3), int(mask.max()) % 256, np.uint8)
    colours = np.zeros((len(names), 3), np.uint8)
    soft = np.zeros((len(names), 1, 1), np.float32)
    return Segmentation(mask, names, image, soft, None, colours, None, {}), Frame(image, 7, 0.0, "cat"), image


def open_sink(sink: str | Path, *, fps: float | None = None, **about: object) -> Sink:
    """Open a sink for a source of which only this is known."""
    source = Source()
    source.fps = fps
    words = about.pop("words", ("a", "b"))
    outputs = about.pop("outputs", None) or Outputs()
    for name, value in about.items():
        setattr(source, name, value)
    return open_any(str(sink), source, words, outputs)


@contextmanager
def whole(sink: Sink) -> Iterator[Sink]:
    """Close a sink that got everything."""
    complete = False
    try:
        yield sink
        complete = True
    finally:
        sink.close(complete=complete)


MASK = np.array([[0, 1, 1, 0], [0, 0, 1, 1]], np.uint8)


@pytest.mark.parametrize(
    ("sink", "kind"),
    [
        ("a.mp4", VideoSink),
        ("a.png", PictureSink),
        ("o/%06d.png", OverlaySink),
        ("o/{name}.jpg", OverlaySink),
        ("o", OverlaySink),
        ("masks/%d.png", MaskSink),
        ("x/masks", MaskSink),
        ("masks.npz", ArraySink),
        ("a.json", CocoSink),
        ("a.JSON", CocoSink),
        ("a.jsonl", JsonLinesSink),
        ("a.panoptic", PanopticSink),
        ("a.panoptic/", PanopticSink),
        ("a.labelstudio.json", LabelStudioSink),
        ("a.b.cvat.xml", CvatSink),
        ("a.json/", OverlaySink),
    ],
)
def test_the_text_of_a_sink_says_its_kind(sink: str, kind: type, tmp_path: Path) -> None:
    assert type(open_sink(f"{tmp_path}/{sink}", fps=25)) is kind


@pytest.mark.parametrize("sink", ["a.gif", "a.xml", "rtmp://x", "masks/%d.jpg"])
def test_bad_sinks_are_explained(sink: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SinkError, match="expected|written as PNG"):
        open_sink(sink, fps=25)
    assert list(tmp_path.iterdir()) == []


def test_masks_are_class_indices_with_their_words(tmp_path: Path) -> None:
    with whole(open_sink(str(tmp_path / "masks"), fps=None)) as sink:
        sink.write(*result(MASK))
    assert np.array_equal(read_mask(tmp_path / "masks/cat.png"), MASK)
    assert (tmp_path / "masks/classes.txt").read_text() == "a\nb\n"


def test_16_bit_masks_keep_their_indices(tmp_path: Path) -> None:
    mask = np.array([[0, 300]], np.uint16)
    with whole(open_sink(str(tmp_path / "masks/%04d.png"), words=tuple(map(str, range(301))))) as sink:
        sink.write(*result(mask, tuple(map(str, range(301)))))
    assert np.array_equal(cv2.imread(str(tmp_path / "masks/0007.png"), cv2.IMREAD_UNCHANGED), mask)


def test_masks_of_other_words_need_another_folder(tmp_path: Path) -> None:
    with whole(open_sink(str(tmp_path / "masks"), fps=None)) as sink:
        sink.write(*result(MASK))
        with pytest.raises(SinkError, match="words changed"):
            sink.write(*result(MASK, ("a", "c")))


def test_one_picture_is_that_of_the_most_even_frame(tmp_path: Path) -> None:
    with whole(open_sink(str(tmp_path / "best.png"), fps=None)) as sink:
        sink.write(*result(np.zeros((4, 4), np.uint8)))
        sink.write(*result(MASK))
        sink.write(*result(np.full((4, 4), 1, np.uint8)))
        assert not (tmp_path / "best.png").exists()
    assert cv2.imread(str(tmp_path / "best.png")).shape == (2, 4, 3)


def video_frame(size: tuple[int, int], grey: int, time_s: float = 0.0) -> tuple[Segmentation, Frame, np.ndarray]:
    segmentation, frame, _ = result(np.zeros(size, np.uint8))
    return segmentation, replace(frame, time_s=time_s), np.full((*size, 3), grey, np.uint8)


def test_a_video_holds_the_frames_in_order(tmp_path: Path) -> None:
    with whole(open_sink(str(tmp_path / "v.mp4"), fps=10)) as sink:
        for number, grey in enumerate((20, 120, 220)):
            sink.write(*video_frame((48, 64), grey, number / 10))
        assert not (tmp_path / "v.mp4").exists()
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    means = [capture.read()[1].mean() for _ in range(3)]
    assert not capture.read()[0]
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    assert np.allclose(means, (20, 120, 220), atol=4)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_an_interrupted_video_does_not_take_the_name(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_text("an earlier result")
    sink = open_sink(str(tmp_path / "v.mp4"), fps=10, outputs=Outputs(overwrite=True))
    with pytest.raises(RuntimeError), whole(sink):
        sink.write(*video_frame((48, 64), 20))
        raise RuntimeError
    assert (tmp_path / "v.mp4").read_text() == "an earlier result"
    assert sink.partial == tmp_path / "v.partial.mp4"
    assert cv2.VideoCapture(str(sink.partial)).read()[0]


def test_a_video_refuses_another_frame_size(tmp_path: Path) -> None:
    with (
        pytest.raises(SinkError, match="is 32 x 48, the video .* began with 64 x 48"),
        whole(open_sink(str(tmp_path / "v.mp4"), fps=10)) as sink,
    ):
        sink.write(*video_frame((48, 64), 20))
        sink.write(*video_frame((48, 32), 20))


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be made: "):
        open_sink(str(tmp_path / "file" / "v.mp4"), fps=10)
