"""Where results go: video files, overlay pictures, class-index masks, robots, a window."""

from runtime.sinks.open import open_sink
from runtime.sinks.sink import Sink

__all__ = ["Sink", "open_sink"]
