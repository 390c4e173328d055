"""An engine for tests: answers what it is told, at once, and checks what it is given like a real one.

    bundle = Bundle.open("tiny")
    left, right = np.zeros((2, 10, 16), np.float32)
    left[:, :8] = right[:, 8:] = 1
    engine = FakeEngine([left, right], bundle.manifest.segmenter)
    with Segmenter(bundle, "cat, dog", background=None, refine="none", engine=engine) as segmenter:
        mask = segmenter(np.zeros((100, 160, 3), np.uint8)).mask
    assert (mask[:, :80] == 0).all()
    assert (mask[:, 80:] == 1).all()

Words, preprocessing and everything after the network are the real ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.bundle import GraphSpec
from runtime.closing import Closing
from runtime.engines.base import Arrays, check_inputs, closed
from runtime.errors import EngineError

Masks = npt.NDArray[np.float32]


class FakeEngine(Closing):
    """Soft masks that are given, or that a function makes of the inputs, in place of a network.

    Args:
        answer: masks (N,h,w) for every picture, one for each row of text, background words first; or a function that
            takes the inputs, `image` (B,3,H,W) and `text` (N,C), both float32, and returns masks (B,N,h,w). A function
            has to bear being called by several threads at the same time if the segmenter is.
        spec: the graph that it stands in for, `bundle.manifest.segmenter`.
        most_words: rows of text that it takes at most; None for any number.
    """

    def __init__(
        self,
        answer: Masks | Sequence[Masks] | Callable[[Arrays], Masks],
        spec: GraphSpec,
        *,
        most_words: int | None = None,
    ) -> None:
        self.most_words = most_words
        self._answer = answer if callable(answer) else _always(np.array(answer, np.float32))
        self._spec = spec
        self._closed = False

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Answer.

        Raises:
            EngineError: an input is missing, unknown, not float32, or of the wrong shape; there are more rows of text
                than `most_words`; the answer has not one mask for each row; or the engine is closed.
        """
        if self._closed:
            raise closed(self._spec)
        check_inputs(inputs, self._spec)
        for name, array in inputs.items():
            if array.dtype != np.float32:
                raise EngineError(f"{self._spec.file} takes {name} as float32, got {array.dtype}")
        rows = len(inputs["text"]) if "text" in inputs else None  # None where the words are inside
        if rows is not None and self.most_words is not None and rows > self.most_words:
            raise EngineError(f"this engine takes at most {self.most_words} rows of text, got {rows}")
        masks = self._answer(inputs)
        batch = len(inputs["image"])
        if masks.ndim != 4 or len(masks) != batch or masks.shape[1] != (rows or masks.shape[1]):
            raise EngineError(
                f"this fake engine answers with masks of shape {masks.shape}, expected ({batch}, {rows or 'N'}, h, w)"
            )
        return {"masks": masks}

    def close(self) -> None:
        """Answer no more."""
        self._closed = True


def _always(masks: Masks) -> Callable[[Arrays], Masks]:
    """Answer with copies of masks (N,h,w), one for each picture."""
    return lambda inputs: np.stack([masks] * len(inputs["image"]))
