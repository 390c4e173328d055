"""Where frames come from: video files, pictures, cameras, robots, a test pattern.

Files keep every frame; a camera keeps the newest and counts what it drops.
"""

from runtime.sources.open import open_source
from runtime.sources.source import Frame, Source

__all__ = ["Frame", "Source", "open_source"]
