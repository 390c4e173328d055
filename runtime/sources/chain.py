"""Several sources, one after the other."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from runtime.errors import SourceError
from runtime.sources.address import redacted
from runtime.sources.source import Frame, Source

USUAL_STEP_S = 1 / 25
"""From the last frame of a source without a rate to the first of the next."""


class ChainSource(Source):
    """Several sources, one after the other: frames are numbered on, their times go on, and names begin with a source's.

    Each is opened when its turn comes. What one of them lacks is a problem, not the end.

    Args:
        sources: as text, at least one; each has an end.
        open_one: opens one of them.
        inputs: every file and folder that they read.
    """

    def __init__(self, sources: Sequence[str], open_one: Callable[[str], Source], inputs: Sequence[Path]) -> None:
        super().__init__()
        self._sources, self._open, self.inputs = sources, open_one, inputs

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames of one source after the other.

        Raises:
            SourceError: none of them has any.
        """
        index, begin_s = 0, 0.0
        for source, prefix in zip(self._sources, _prefixes(self._sources), strict=True):
            end_s = begin_s
            try:
                with self._open(source) as part:
                    if not part.ends:
                        raise SourceError("it never ends: give it alone")
                    self.left_out = [*self.left_out, *part.left_out]
                    step_s = 1 / part.fps if part.fps else USUAL_STEP_S
                    try:
                        for frame in part:
                            time_s = begin_s + frame.time_s
                            yield replace(frame, index=index, time_s=time_s, name=f"{prefix}/{frame.name}")
                            index, end_s = index + 1, time_s + step_s
                    finally:
                        self.problems += part.problems
            except SourceError as error:
                self.problems.append(f"{redacted(source)}: {error}")
            begin_s = end_s
        if index == 0:
            raise SourceError(f"none of {len(self._sources)} sources could be read; {self.problems[0]}")


def name_of(source: str) -> str:
    """Name a source after its file or folder, whatever way leads there."""
    if source.startswith("bag:"):
        source = source.removeprefix("bag:").rpartition("?topic=")[0] or source.removeprefix("bag:")
    if "://" in source:
        place = redacted(source).partition("://")[2].partition("?")[0]
        return Path(place).stem.rpartition("@")[2] or "source"
    return Path(os.path.abspath(source)).stem or "source"  # noqa: PTH100 - of a name, which may hold a pattern


def _prefixes(sources: Sequence[str]) -> list[str]:
    """Name each source after its file, with a number where that is not enough."""
    names: list[str] = []
    for source in sources:
        stem = name_of(source)
        taken = {name.casefold() for name in names}
        name = next(
            n for n in (stem, *(f"{stem}-{i}" for i in range(2, len(sources) + 2))) if n.casefold() not in taken
        )
        names.append(name)
    return names
