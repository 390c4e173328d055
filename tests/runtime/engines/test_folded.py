"""A graph with its words inside. Oracles: masks that are given, by the row of each word."""

import numpy as np
import pytest

from runtime.bundle import GraphSpec
from runtime.engines import FakeEngine
from runtime.engines.folded import FoldedWords
from runtime.errors import EngineError, VocabularyError

SPEC = GraphSpec(
    file="g.onnx",
    precision="fp32",
    opset=20,
    inputs={"image": (1, 3, "height", "width")},
    outputs={"masks": (1, 3, "mask_height", "mask_width")},
)
ROWS = np.eye(3, 8, dtype=np.float32)
MASKS = np.random.default_rng(0).random((3, 4, 5), np.float32)
IMAGE = np.zeros((1, 3, 32, 64), np.float32)


def test_each_row_gets_the_mask_of_its_word() -> None:
    inside = FakeEngine(MASKS, SPEC)
    with FoldedWords(inside, ROWS) as engine:
        assert engine.most_words is None
        for order in ([0, 1, 2], [2, 0], [1, 1, 1, 1]):
            masks = engine.infer({"image": IMAGE, "text": ROWS[order]})["masks"]
            assert np.array_equal(masks, MASKS[None, order])
    with pytest.raises(EngineError, match="is closed"):
        inside.infer({"image": IMAGE})


def test_other_words_and_other_inputs_are_refused() -> None:
    engine = FoldedWords(FakeEngine(MASKS, SPEC), ROWS)
    with pytest.raises(VocabularyError, match="a word is not in the graph"):
        engine.infer({"image": IMAGE, "text": np.eye(8, dtype=np.float32)[3:4]})
    with pytest.raises(EngineError, match=r"takes \['image', 'text'\], got \['image'\]"):
        engine.infer({"image": IMAGE})
