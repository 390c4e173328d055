"""Masks over time.

Oracles: the average and the warp written as loops; a texture that is moved by known pixels, with which its mask must
move; counts of how often the network is asked.
"""

import cv2
import numpy as np
import pytest

from runtime.errors import EngineError
from runtime.temporal import DenseInverseSearch, Keyframes, MovingAverage, SceneCut, Temporal, small_grey, warp


def texture(rng, height, width):
    """Blobs of a few pixels: something to hold on to everywhere."""
    noise = rng.integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


class Network:
    """Gives the masks it is told, and counts how often it is asked."""

    def __init__(self, masks):
        self.masks, self.calls = masks, 0

    def __call__(self):
        self.calls += 1
        return self.masks


def no_flow(now, then):
    return np.zeros((*now.shape, 2), np.float32)


def never(small):
    return False


def test_the_average_is_the_recursion():
    rng = np.random.default_rng(0)
    frames = rng.random((9, 3, 4, 5), np.float32)
    average, expected = MovingAverage(0.7), frames[0].astype(float)
    for i, masks in enumerate(frames):
        if i:
            expected = 0.7 * expected + 0.3 * masks
        given = masks.copy()
        np.testing.assert_allclose(average(masks), expected, atol=1e-6)
        np.testing.assert_array_equal(masks, given)
    average.reset()
    np.testing.assert_array_equal(average(frames[0]), frames[0])
    for masks in frames:
        np.testing.assert_array_equal(MovingAverage(0.0)(masks), masks)


def test_what_was_given_out_never_changes():
    rng = np.random.default_rng(0)
    temporal = Temporal(weight=0.5, keyframe=2, flow=no_flow, is_cut=never)
    frame, given = texture(rng, 64, 64), []
    for _ in range(5):
        masks = temporal(frame, None, Network(rng.random((2, 4, 4), np.float32)))
        given.append((masks, masks.copy()))
    for masks, copy in given:
        np.testing.assert_array_equal(masks, copy)


def test_warped_masks_are_looked_up_where_the_flow_leads():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 6, 7), np.float32)
    flow = rng.uniform(-20, 20, (6, 7, 2)).astype(np.float32)  # in nodes, for it has the grid's size
    moved = warp(masks, flow)
    for y in range(6):
        for x in range(7):
            down, right = np.clip(y + flow[y, x, 1], 0, 5), np.clip(x + flow[y, x, 0], 0, 6)
            top, left = int(down), int(right)
            bottom, end, f, g = min(top + 1, 5), min(left + 1, 6), down - top, right - left
            upper = (1 - g) * masks[:, top, left] + g * masks[:, top, end]
            lower = (1 - g) * masks[:, bottom, left] + g * masks[:, bottom, end]
            # OpenCV looks at 1/32 of a node.
            np.testing.assert_allclose(moved[:, y, x], (1 - f) * upper + f * lower, atol=0.07)
    np.testing.assert_array_equal(warp(masks, np.zeros((60, 70, 2), np.float32)), masks)


def test_a_way_of_whole_nodes_moves_masks_by_whole_nodes():
    masks = np.random.default_rng(0).random((2, 8, 10), np.float32)
    flow = np.zeros((80, 50, 2), np.float32)  # 10 pixels a node down, 5 to the right
    flow[...] = (-5, 20)
    np.testing.assert_allclose(warp(masks, flow)[:, :6, 1:], masks[:, 2:, :9], atol=1e-6)


def test_masks_of_a_still_picture_stay():
    rng = np.random.default_rng(0)
    frame = texture(rng, 240, 320)
    masks = rng.random((4, 15, 20), np.float32)
    network, temporal = Network(masks), Temporal(weight=0.6, keyframe=4)
    for _ in range(9):
        np.testing.assert_allclose(temporal(frame, None, network), masks, atol=1e-6)
    assert network.calls == 3  # frames 0, 4 and 8


@pytest.mark.parametrize(("right", "down"), [(32, 0), (-16, 16), (8, -24)])
def test_masks_move_with_the_texture(right, down):
    """A frame of 512 x 384 over a grid of 32 x 24: 16 pixels a node."""
    rng = np.random.default_rng(1)
    scene = texture(rng, 512, 640)
    y, x = np.mgrid[0:24, 0:32].astype(np.float32)

    def blob(y0, x0):
        return np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 16)[None]

    here, there = blob(12, 16), blob(12 + down / 16, 16 + right / 16)
    temporal, network = Temporal(keyframe=9), Network(here)
    steps = 4
    for step in range(steps + 1):  # the camera moves, so that the scene moves to the right and down
        top, left = 64 - down * step // steps, 64 - right * step // steps
        masks = temporal(scene[top : top + 384, left : left + 512], None, network)
    assert network.calls == 1
    assert np.abs(here - there).max() > 0.25
    np.testing.assert_allclose(masks, there, atol=0.05)


def test_a_cut_and_other_words_ask_the_network_and_forget():
    rng = np.random.default_rng(0)
    dark, bright = texture(rng, 120, 160) // 4, texture(rng, 120, 160) // 4 + 150
    network, temporal = Network(np.zeros((1, 3, 4), np.float32)), Temporal(weight=0.9, keyframe=100)
    words = object()
    for _ in range(3):
        temporal(dark, words, network)
    assert network.calls == 1
    network.masks = np.ones((1, 3, 4), np.float32)
    np.testing.assert_array_equal(temporal(bright, words, network), network.masks)
    assert network.calls == 2
    network.masks = np.full((2, 3, 4), 0.5, np.float32)
    np.testing.assert_array_equal(temporal(bright, object(), network), network.masks)
    network.masks = np.full((2, 6, 4), 0.5, np.float32)
    np.testing.assert_array_equal(temporal(bright[:, :80], words, network), network.masks)
    assert network.calls == 4
    temporal.reset()
    temporal(bright[:, :80], words, network)
    assert network.calls == 5


def test_after_a_failure_the_next_frame_is_a_key_frame():
    frame, network = np.zeros((64, 64, 3), np.uint8), Network(np.zeros((1, 4, 4), np.float32))
    temporal = Temporal(keyframe=3, flow=no_flow, is_cut=never)

    def fails():
        raise EngineError("no network")

    for _ in range(3):
        temporal(frame, None, network)
    with pytest.raises(EngineError, match="no network"):
        temporal(frame, None, fails)
    temporal(frame, None, network)
    assert network.calls == 2


def test_flow_leads_from_every_frame_to_the_last_key_frame():
    asked = []

    def flow(now, then):
        asked.append((int(now[0, 0]), int(then[0, 0])))
        return no_flow(now, then)

    keyframes, network = Keyframes(3, flow), Network(np.zeros((1, 2, 2), np.float32))
    for i in range(8):
        keyframes(np.full((64, 64), i, np.uint8), network)
    assert asked == [(1, 0), (2, 0), (4, 3), (5, 3), (7, 6)]
    assert network.calls == 3


def test_scenes_are_told_from_motion():
    rng = np.random.default_rng(0)
    scene, is_cut = texture(rng, 300, 400), SceneCut()
    cuts = [is_cut(small_grey(scene[i : i + 200, 2 * i : 2 * i + 300])) for i in range(0, 50, 5)]
    assert cuts == [True] + [False] * 9
    assert is_cut(small_grey(255 - scene // 3))


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 5), (70, 4000), (480, 640)])
def test_frames_of_any_shape_have_a_flow(size):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    small = small_grey(frame)
    assert max(small.shape) == 256
    assert min(small.shape) >= 64
    assert DenseInverseSearch()(small, small).shape == (*small.shape, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 1.0}, r"temporal weight 1.0 given, expected 0 \(no smoothing\) to below 1"),
        ({"weight": -0.1}, "temporal weight -0.1 given"),
        ({"weight": float("nan")}, "temporal weight nan given"),
        ({"keyframe": 0}, r"key frame interval 0 given, expected 1 \(every frame\) or more"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(EngineError, match=message):
        Temporal(**arguments)
