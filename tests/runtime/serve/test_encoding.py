"""What goes over the network. Oracles: Pillow's decoder, the rule of the nearest pixel written out, `plot`."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.overlay import Look
from runtime.serve.encoding import encoded_labels, masks, note, packet, painted, painted_jpeg, snapshot


def decoded(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


def nearest(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.floor((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return mask[rows[:, None], columns]


@pytest.fixture
def shot(stream: Any) -> Any:
    with stream.channel.watching():
        stream.step()
    return stream.channel.newest


@pytest.mark.parametrize("size", [(1, 1), (37, 512), (512, 3)])
def test_labels_of_a_small_frame_are_the_mask(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).integers(0, 256, size).astype(np.uint8)
    assert np.array_equal(decoded(encoded_labels(mask)), mask)


@pytest.mark.parametrize("size", [(432, 768), (1080, 1920), (2000, 33), (513, 512)])
def test_larger_labels_are_the_nearest(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).integers(0, 256, size).astype(np.uint8)
    labels = decoded(encoded_labels(mask))
    assert max(labels.shape) == 512
    assert labels.shape[0] / labels.shape[1] == pytest.approx(size[0] / size[1], rel=0.07)
    assert np.array_equal(labels, nearest(mask, *labels.shape))


def test_many_indices_are_red_and_green() -> None:
    mask = np.random.default_rng(1).integers(0, 65535, (50, 600)).astype(np.uint16)
    labels = decoded(encoded_labels(mask)).astype(int)
    assert labels.shape[2] == 3
    assert np.array_equal(labels[..., 0] + 256 * labels[..., 1], nearest(mask, *labels.shape[:2]))
    assert not labels[..., 2].any()


def test_a_packet_holds_frame_labels_and_coverage(shot: Any) -> None:
    sent = packet(shot)
    jpeg = decoded(sent.jpeg)[..., ::-1].astype(int)
    assert jpeg.shape == shot.result.frame.shape
    assert np.abs(jpeg - shot.result.frame).mean() < 4  # a JPEG is near, and not painted
    assert np.array_equal(decoded(sent.labels), nearest(shot.result.mask, *decoded(sent.labels).shape))
    assert sent.coverage == pytest.approx(list(shot.result.coverage().values()), abs=1e-4)


def test_a_large_frame_is_sent_smaller(shot: Any) -> None:
    for given, sent in (((1080, 1920), (1080, 1920)), ((1080, 1922), (540, 961)), ((4320, 7680), (1080, 1920))):
        large = replace(shot.result, frame=np.zeros((*given, 3), np.uint8), mask=np.zeros(given, np.uint8))
        assert decoded(packet(replace(shot, result=large)).jpeg).shape[:2] == sent


def test_a_live_picture_is_painted_as_files_are(shot: Any, stream: Any) -> None:
    look, status = Look(alpha=0.3, legend=False), stream.status()
    expected = shot.result.plot(alpha=0.3, legend=False)
    assert np.array_equal(painted(shot, look, status), expected)
    assert np.array_equal(decoded(snapshot(shot, look, status))[..., ::-1], expected)
    assert np.abs(decoded(painted_jpeg(shot, look, status))[..., ::-1].astype(int) - expected).mean() < 4


@pytest.mark.parametrize("state", ["stale", "reconnecting", "failed", "ended"])
def test_an_old_picture_never_looks_live(shot: Any, stream: Any, state: Any) -> None:
    status = replace(stream.status(), state=state, age_ms=4200.0)
    picture = painted(shot, Look(), status)
    assert np.ptp(picture, axis=-1).max() == 0  # grey
    assert note(status) == ("ended" if state == "ended" else f"{state}, last frame 4 s ago")
    assert (picture != painted(shot, Look(), replace(status, age_ms=9000.0))).any() == (state != "ended")


def test_masks_are_those_of_the_sink(shot: Any) -> None:
    image = Image.open(io.BytesIO(masks(shot)))
    assert image.mode == "P"
    assert np.array_equal(np.array(image), shot.result.mask)
    palette = np.array(image.getpalette()).reshape(-1, 3)[:3, ::-1]
    assert np.array_equal(palette, shot.result.colours)
