"""What the masks of a frame owe to the frames before: smoothing, and optical flow where the network skips frames.

Both work on the soft masks of the grid, before anything is enlarged: those are few numbers, and they hold more than
labels do. Letters: K classes, h w mask grid, H W pixels of a frame, y x pixels of its small grey picture.
"""

from collections.abc import Callable
from threading import Lock
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from runtime.errors import EngineOptionError
from runtime.frame import BGR

Grey = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.float32]

LONG_SIDE, SHORT_SIDE = 256, 64
"""Pixels of the small picture: of its long side, and at least of its short one; OpenCV's flow crashes on a strip."""

THUMBNAIL = 16
"""Pixels a side of what scenes are compared by: coarse enough that motion changes little."""

CUT = 20.0
"""Mean difference of two thumbnails, of 255, from which on they show two scenes.

On the clips that were looked at, consecutive frames of one scene differ by 0.3 to 3.5, at most 16. A cut that is missed
costs smoothing across it until the average has forgotten; one that is seen in vain costs one run of the network.
"""


def small_grey(frame: BGR) -> Grey:
    """Shrink a frame (H,W,3) to the grey picture (y,x) in which motion is looked for."""
    height, width = frame.shape[:2]
    scale = LONG_SIDE / max(height, width)
    size_wh = (max(round(width * scale), SHORT_SIDE), max(round(height * scale), SHORT_SIDE))
    return np.asarray(
        cv2.cvtColor(cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY), np.uint8
    )


class SceneCut:
    """Tells frame by frame whether the picture differs from the one before so much that it shows another scene."""

    def __init__(self, limit: float = CUT) -> None:
        self._limit = limit
        self._before: npt.NDArray[np.float32] | None = None

    def __call__(self, small: Grey) -> bool:
        """Compare a picture (y,x) with the last one given. The first of all is a cut."""
        thumbnail = cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._before = self._before, thumbnail
        return before is None or float(np.abs(thumbnail - before).mean()) > self._limit


class OpticalFlow(Protocol):
    """Finds where things come from."""

    def __call__(self, now: Grey, then: Grey) -> npt.NDArray[np.float32]:
        """Give for each pixel of `now` (y,x) the way to where `then` (y,x) shows the same: (y,x,2), right and down."""


class DenseInverseSearch:
    """Optical flow by dense inverse search (Kroeger et al., ECCV 2016), OpenCV's."""

    def __init__(self) -> None:
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def __call__(self, now: Grey, then: Grey) -> npt.NDArray[np.float32]:
        """See `OpticalFlow`."""
        flow: npt.NDArray[np.float32] = self._search.calc(now, then, None)  # type: ignore[call-overload] # as documented
        return flow


def warp(masks: Masks, flow: npt.NDArray[np.float32]) -> Masks:
    """Move soft masks along with the picture.

    Args:
        masks: of the earlier frame (K,h,w) float32.
        flow: from the later frame to the earlier one, (y,x,2) in its own pixels, right and down; of any size.

    Returns:
        Masks of the later frame (K,h,w): each node takes the value from where it was, bilinear; what came in from
        outside the picture gets the value at the border.
    """
    height, width = masks.shape[1:]
    ways = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA)
    right = np.arange(width, dtype=np.float32) + ways[..., 0] * np.float32(width / flow.shape[1])
    down = np.arange(height, dtype=np.float32)[:, None] + ways[..., 1] * np.float32(height / flow.shape[0])
    moved = np.empty_like(masks)
    for mask, result in zip(masks, moved, strict=True):
        cv2.remap(mask, right, down, cv2.INTER_LINEAR, dst=result, borderMode=cv2.BORDER_REPLICATE)
    return moved


class Keyframes:
    """The network's masks every few frames, and warped ones in between.

    Flow leads from each frame straight to the last key frame, not from frame to frame, which would blur a little more
    every time.

    Args:
        interval: frames from one key frame to the next; 1 makes every frame one.
        flow: finds the motion in between.

    Raises:
        EngineOptionError: the interval is below 1.
    """

    def __init__(self, interval: int, flow: OpticalFlow) -> None:
        if interval < 1:
            raise EngineOptionError(f"key frame interval {interval} given, expected 1 (every frame) or more")
        self._interval, self._flow = interval, flow
        self.reset()

    def reset(self) -> None:
        """Make the next frame a key frame."""
        self._key: tuple[Grey, Masks] | None = None
        self._since = 0

    def __call__(self, small: Grey, network: Callable[[], Masks]) -> Masks:
        """Give the masks (K,h,w) of a frame, from the network if it is a key frame."""
        self._since += 1
        if self._key is None or self._since >= self._interval:
            masks = network()
            self._key, self._since = (small, masks), 0
            return masks
        then, masks = self._key
        return warp(masks, self._flow(small, then))


class MovingAverage:
    """Exponential moving average of masks: calmer, and late by `weight / (1 - weight)` frames.

    Args:
        weight: of what was before, 0 to below 1; 0 for no smoothing.

    Raises:
        EngineOptionError: another weight.
    """

    def __init__(self, weight: float) -> None:
        if not 0 <= weight < 1:
            raise EngineOptionError(f"temporal weight {weight} given, expected 0 (no smoothing) to below 1")
        self._weight = np.float32(weight)
        self.reset()

    def reset(self) -> None:
        """Forget the masks so far; the average starts anew with the next ones."""
        self._average: Masks | None = None

    def __call__(self, masks: Masks) -> Masks:
        """Average masks (K,h,w) into those before."""
        if self._average is not None and self._weight:
            masks = self._weight * self._average + (1 - self._weight) * masks
        self._average = masks
        return masks


class Temporal:
    """Masks of one stream of frames, each with the help of those before.

    Calls from several threads take turns: each frame has the one whose turn was before as its past. What several
    streams would make of each other's frames means nothing, so each needs its own.

    What is known of the past is forgotten where it says nothing about the frame: at a scene cut, when the words change,
    when frames or masks change their size, and on `reset`.

    Args:
        weight: of the past in the average, 0 to below 1.
        keyframe: the network looks at every so many frames; 1 for all of them.
        flow: finds the motion between frames; by default, `DenseInverseSearch`.
        is_cut: tells whether a small grey picture (y,x) begins a scene; by default, `SceneCut`.

    Raises:
        EngineOptionError: a number out of its range.
    """

    def __init__(
        self,
        *,
        weight: float = 0.0,
        keyframe: int = 1,
        flow: OpticalFlow | None = None,
        is_cut: Callable[[Grey], bool] | None = None,
    ) -> None:
        self._keyframes = Keyframes(keyframe, flow or DenseInverseSearch())
        self._average = MovingAverage(weight)
        self._is_cut = is_cut or SceneCut()
        self._turn = Lock()
        self.reset()

    def reset(self) -> None:
        """Forget the frames before: another stream begins."""
        with self._turn:
            self._scene: tuple[object, ...] | None = None

    def __call__(self, frame: BGR, words: object, network: Callable[[], Masks]) -> Masks:
        """Give the soft masks of the next frame.

        Args:
            frame: BGR (H,W,3) uint8.
            words: what the masks are for; masks of the last frame are used only if it equals that frame's.
            network: gives the network's masks of this frame (K,h,w) float32; not called where flow will do.
        """
        with self._turn:
            return self._next(frame, words, network)

    def _next(self, frame: BGR, words: object, network: Callable[[], Masks]) -> Masks:
        small = small_grey(frame)
        cut = self._is_cut(small)  # sees every frame
        scene = (frame.shape, words)
        if cut or scene != self._scene:
            self._keyframes.reset()
            self._average.reset()
        self._scene = None  # if the network fails, the next frame begins anew
        masks = self._average(self._keyframes(small, network))
        self._scene = scene
        return masks
