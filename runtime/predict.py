"""What people have becomes a source, and its results go to whoever asks for them, and into sinks.

Neither Pillow nor PyTorch is imported: whoever passes their objects has done so.
"""

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import FrameError, SourceError
from runtime.frame import BGR, as_bgr
from runtime.segmentation import Segmentation
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sources.chain import name_of
from runtime.sources.open import inputs_of, open_source
from runtime.sources.source import TICK_S, Frame, Source

TAKEN = (
    "a frame as a NumPy array (H,W,3) BGR or several (B,H,W,3), a Pillow picture, a PyTorch tensor (3,H,W) or "
    "(B,3,H,W) RGB, a path, a source as text, or a list or iterator of these, or the number of a camera"
)
FPS = 25
"""Frames a second of what has no time of its own."""

ROUNDING = 1e-3
"""How far a tensor's values may lie outside 0 to 1."""


def results(
    given: Any,
    segment: Callable[[BGR, bool], Segmentation],
    *,
    words: tuple[str, ...],
    rgb: bool = False,
    sinks: Sequence[str] = (),
    overwrite: bool = False,
) -> Iterator[Segmentation]:
    """Yield the result of every frame, each with memory of its own, once it is in every sink.

    Where nobody asks for the next, sinks are closed as `runtime.stream.loop` closes them when it is stopped.

    Args:
        given: see `Segmenter.predict`.
        segment: makes the result of a frame; the second argument says whether it will be painted.
        words: the word of each mask index.
        rgb: arrays are RGB, not BGR.
        sinks: as text, see `runtime.sinks.open`.
        overwrite: what is there may be replaced.

    Raises:
        TypeError: none of what is taken, at once.
        TclEdgeError: whatever source, segmenter or sinks raise.
    """
    camera = isinstance(given, int) and not isinstance(given, bool)
    if not camera:
        _check(given)
    return _results(str(given) if camera else given, segment, words, rgb, sinks, overwrite)


def _results(
    given: Any,
    segment: Callable[[BGR, bool], Segmentation],
    words: tuple[str, ...],
    rgb: bool,
    sinks: Sequence[str],
    overwrite: bool,
) -> Iterator[Segmentation]:
    with ExitStack() as stack:
        source = stack.enter_context(open_given(given, rgb=rgb))
        outputs = Outputs(source.inputs, overwrite)
        opened = [open_sink(sink, source, words, outputs) for sink in sinks]
        paint = any(sink.paints for sink in opened)
        complete = False
        for sink in opened:
            stack.callback(lambda sink: sink.close(complete=complete), sink)
        for frame in source.frames(TICK_S):
            if frame is None:
                for sink in opened:
                    sink.idle(source.state, source.age_s)
                if any(sink.finished for sink in opened):
                    break
                continue
            result = replace(segment(frame.image, paint), path=frame.path, index=frame.index, time_s=frame.time_s)
            if frame.arrived_s is not None:
                result = replace(result, age_ms=1000 * (monotonic() - frame.arrived_s))
            picture = result.plot() if paint else result.frame
            if frame.path is not None and opened:
                outputs.reads(frame.path)
            for sink in opened:
                sink.write(result, frame, picture)
            while any(sink.holds() for sink in opened) and not any(sink.finished for sink in opened):
                pass
            complete = not source.ends  # for as long as this waits
            yield result
            if any(sink.finished for sink in opened):
                break
            complete = False
        else:
            complete = True
    if source.problems:
        warnings.warn(f"skipped {len(source.problems)}: {'; '.join(source.problems)}", stacklevel=2)


def open_given(given: Any, *, rgb: bool = False) -> Source:
    """Make a source of what people have; see `Segmenter.predict`.

    Raises:
        SourceError: a source as text that cannot be opened.
    """
    if isinstance(given, Source):
        return given
    text = _source_text(given)
    return GivenSource(given, rgb=rgb) if text is None else open_source(text)


class GivenSource(Source):
    """Frames, paths and sources of every kind, one after the other, numbered and timed as one.

    Paths and text are opened when it is their turn. What has no time of its own is shown at 25 frames a second.

    Args:
        given: see `Segmenter.predict`.
        rgb: arrays are RGB, not BGR.
    """

    def __init__(self, given: Any, *, rgb: bool = False) -> None:
        super().__init__()
        self._given, self._rgb = given, rgb
        self._names: set[str] = set()
        items = given if isinstance(given, list | tuple) else [given]
        texts = [text for item in items if (text := _source_text(item)) is not None]
        self.inputs = [path for text in texts for path in inputs_of(text)]
        if _is_pillow(given) or (isinstance(given, np.ndarray) and given.ndim < 4):
            self.count = 1

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Raises:
            TypeError: an item is none of what is taken.
            FrameError: an array, tensor or picture that cannot be read.
            SourceError: a source that cannot be opened, or broke off.
        """
        index, begin_s = 0, 0.0
        for frames, period_s in self._parts(self._given):
            next_s = begin_s
            for frame in frames:
                time_s = begin_s + frame.time_s
                name = self._unique(frame.name or f"{index:06d}")
                yield replace(frame, index=index, time_s=time_s, name=name)
                index, next_s = index + 1, time_s + period_s
            begin_s = next_s

    def _parts(self, item: Any) -> Iterator[tuple[Iterable[Frame], float]]:
        """Yield the frames of each part, timed from its own beginning, and the time that one of them is shown."""
        _check(item)
        text = _source_text(item)
        if text is not None or isinstance(item, Source):
            source = item if text is None else open_source(text)
            yield self._frames_of(source, "" if text is None else text), 1 / (source.fps or FPS)
        elif _is_pillow(item):
            name = item.filename if isinstance(getattr(item, "filename", None), str) else ""
            path = Path(name) if name else None
            yield [Frame(_from_pillow(item), 0, 0.0, "" if path is None else path.stem, path)], 1 / FPS
        elif _is_tensor(item):
            for image in _from_tensor(item):
                yield [Frame(image, 0, 0.0, "")], 1 / FPS
        elif isinstance(item, np.ndarray):
            for array in item if item.ndim == 4 else [item]:
                image = as_bgr(array)
                yield [Frame(image[..., ::-1] if self._rgb else image, 0, 0.0, "")], 1 / FPS
        else:
            for number, part in enumerate(item):
                try:
                    yield from self._parts(part)
                except SourceError as error:
                    where = f"item {number} of the {type(item).__name__}: {error}"
                    raise type(error)(where) from error

    def _frames_of(self, source: Source, text: str) -> Iterator[Frame]:
        """Yield a source's frames, named after it where they are several."""
        with source:
            for frame in source:
                alone = source.count == 1 or not text
                yield replace(frame, name=frame.name if alone else f"{name_of(text)}/{frame.name}")
            self.problems += source.problems

    def _unique(self, name: str) -> str:
        free, number = name, 1
        while free in self._names:
            number += 1
            free = f"{name}-{number}"
        self._names.add(free)
        return free


def _check(given: Any) -> None:
    """Raise TypeError for what is not taken; iterators are not touched."""
    if isinstance(given, list | tuple):
        for item in given:
            _check(item)
        return
    refused = (bytes, bytearray, memoryview, Mapping, Set, io.IOBase)
    if isinstance(given, refused) or not (isinstance(given, Iterable | os.PathLike) or _is_pillow(given)):
        what = type(given).__name__ if given is not None else "None"
        hint = "; decode it first: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)"
        encoded = isinstance(given, bytes | bytearray | memoryview)
        raise TypeError(f"{what} given, expected {TAKEN}{hint if encoded else ''}")


def _source_text(given: Any) -> str | None:
    """Text that names a source; None for what is none. A path is never the number of a camera."""
    if isinstance(given, str):
        return given
    if isinstance(given, os.PathLike):
        path = os.fsdecode(given)
        return path if os.path.isabs(path) else os.path.join(os.curdir, path)  # noqa: PTH117, PTH118 - a Path drops "./"
    return None


def _is_pillow(given: Any) -> bool:
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(given, module.Image)


def _is_tensor(given: Any) -> bool:
    return hasattr(given, "detach") and hasattr(given, "is_floating_point")


def _from_pillow(picture: Any) -> BGR:
    """Turn a Pillow picture upright, and into BGR as `runtime.sources` reads the same file."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16 bits of grey, which Pillow itself would turn white
        grey = np.asarray(upright)
        if grey.min() < 0 or grey.max() > 65535:
            raise FrameError(f"picture of {grey.min()} to {grey.max()} given, expected 16 bits: 0 to 65535")
        return as_bgr(grey.astype(np.uint16))
    if upright.mode == "F":
        raise FrameError('picture of mode F given, whose black and white nobody knows: convert it to "L" or "RGB"')
    return as_bgr(np.asarray(upright.convert("RGB")))[..., ::-1]


def _from_tensor(tensor: Any) -> Iterator[BGR]:
    """Turn a tensor (C,H,W) or (B,C,H,W), RGB, grey or RGBA, 0 to 1 or uint8, into BGR pictures."""
    tensor = tensor.detach().cpu()
    values: npt.NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if values.ndim not in (3, 4) or values.shape[-3] not in (1, 3, 4) or values.dtype not in (np.float32, np.uint8):
        raise FrameError(
            f"tensor of shape {values.shape} and dtype {tensor.dtype} given, expected (3,H,W) or (B,3,H,W) RGB, uint8 "
            "or floating point from 0 to 1: `tensor.permute(2, 0, 1)` brings the channels to the front"
        )
    if values.dtype == np.float32 and values.size:
        if not (values.min() >= -ROUNDING and values.max() <= 1 + ROUNDING):  # not of NaN either
            raise FrameError(
                f"tensor of {values.min():g} to {values.max():g} given, expected 0 to 1: divide by 255, or undo a "
                "normalisation"
            )
        values = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    for image in values if values.ndim == 4 else [values]:
        yield as_bgr(np.moveaxis(image, 0, -1))[..., ::-1]
