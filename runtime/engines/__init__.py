"""What runs a graph: ONNX Runtime, TensorRT, or what a test says."""

from runtime.engines.base import Engine
from runtime.engines.fake import FakeEngine
from runtime.engines.open import open_engine

__all__ = ["Engine", "FakeEngine", "open_engine"]
