"""Which of the command's arguments are sources, and which are sinks."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import SinkNameError, UsageError
from runtime.sources.address import redacted

SOURCE = "{source}"
"""In the name of a sink: the name of its source."""
NAME = re.compile(r"[A-Za-z0-9_-]+")


def sources_and_sinks(
    source: str | None, sinks: list[str] | None, to: list[str] | None, named: list[str] | None, *, window: bool
) -> tuple[dict[str, list[str]], list[str]]:
    """Tell sources and sinks apart.

    Returns:
        The texts of each source by its name, which is empty where there is one; and the sinks.

    Raises:
        UsageError: there is no source, two have one name, or a sink cannot be for several.
    """
    arguments = [*([] if source is None else [source]), *(sinks or [])]
    if named:
        several = _named(named)
        names = [*arguments, *(to or [])]
        shared = [name for name in names if SOURCE not in name]
        if len(several) > 1 and shared:
            raise UsageError(
                f"{shared[0]} cannot be for {len(several)} sources: write {SOURCE} where the name of each belongs, "
                f"like '{SOURCE}.mp4'" + ("; what all of them show is on one page with --serve 8080" if window else "")
            )
        if len(several) > 1 and not names and window:
            raise UsageError("a window shows one source: use --serve 8080, sinks like '{source}.mp4', or --headless")
        return several, names or (["display"] if window else [])
    if not arguments:
        raise UsageError("no source given: the first argument is one, like street.mp4, 0 or rtsp://camera.local/stream")
    if to:
        return {"": arguments}, to
    return {"": arguments[:1]}, arguments[1:] or (["display"] if window else [])


def _named(texts: Sequence[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or not source or not NAME.fullmatch(name):
            raise UsageError(
                f"--source {redacted(text)!r} given, expected NAME=SOURCE with letters, digits, - and _ in the name, "
                "like -s front=0; a single source is the first argument: tcl-edge street.mp4 out.mp4"
            )
        if name in named:
            raise UsageError(f"two sources are named {name}: each needs its own name")
        named[name] = [source]
    return named


def for_source(text: str, name: str) -> str:
    """Put the name of a source into the name of a sink; there is none where there is one source."""
    return text.replace(SOURCE, name) if name else text


def refuse_sources_as_sinks(source: str, sinks: Sequence[str], overwrite: bool) -> None:
    """Tell what the shell makes of *.jpg: the second file and all that follow are no results."""
    kind = Path(source).suffix.lower()
    there = [sink for sink in sinks if kind and Path(sink).suffix.lower() == kind and os.path.isfile(sink)]  # noqa: PTH113
    if len(there) > 1 or (there and len(sinks) > 1 and not overwrite):
        raise SinkNameError(
            f"results would replace {', '.join(there[:3])}{', …' * (len(there) > 3)}. If these are sources, too, quote "
            f"the pattern ('*{kind}'), or name the results by --to: tcl-edge *{kind} --to out/"
        )


def files_among(*texts: str | None) -> list[Path]:
    """Find those options that name a file."""
    return [Path(text.strip()) for text in texts if text and os.path.isfile(text.strip())]  # noqa: PTH113 - of any text
