"""Engines given as text. Oracle: the engines themselves, opened by hand."""

import numpy as np
import pytest

from runtime import Bundle, open_engine
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.errors import EngineError


def test_the_cpu_runs_the_bundle_s_segmenter(tiny: Bundle) -> None:
    random, spec = np.random.default_rng(0), tiny.manifest.segmenter
    inputs = {"image": random.random((1, 3, 64, 96), np.float32), "text": np.eye(3, 256, dtype=np.float32)}
    with open_engine(tiny, threads=1) as engine, OnnxRuntimeEngine(tiny.read(spec.file), spec, threads=1) as expected:
        assert engine.most_words is None
        assert np.array_equal(engine.infer(inputs)["masks"], expected.infer(inputs)["masks"])


def test_what_cannot_be_opened_is_explained(tiny: Bundle) -> None:
    with pytest.raises(EngineError, match="provider 'tpu' given, expected one of auto, cpu, cuda, tensorrt"):
        open_engine(tiny, provider="tpu")
    with pytest.raises(EngineError, match="network size 3 given, expected 32 to 4096"):
        open_engine(tiny, size=3)
