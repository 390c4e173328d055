"""The files that a pattern like `shots/**/*.jpg` means."""

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

_BELOW = re.compile(r"(?:^|(?<=/))\*\*(?:/+|$)")


def expanded(pattern: str) -> Iterator[str]:
    """Yield the names that a pattern means, in no order; what several ways lead to may come several times.

    They are those of `glob.glob`, `**` for any folders below, save that a folder below is looked into once, however
    many links lead there. A link may lead back up: `glob.glob` goes round forty times, and with two of them for ever.
    """
    below = _BELOW.search(pattern)
    if below is None:
        yield from glob.iglob(pattern)
        return
    begin, rest = pattern[: below.start()], pattern[below.end() :] or "*"
    for top in glob.iglob(begin) if begin else [""]:
        for folder in _folders(top):
            yield from expanded(glob.escape(folder) + rest)


def _folders(top: str) -> Iterator[str]:
    """Yield a folder and those below that are not hidden, each with a stroke at its end, or empty for this one."""
    seen = {os.path.realpath(top)}
    for folder, inside, _ in os.walk(top or os.curdir, followlinks=True):
        name = folder if top else folder.removeprefix(os.curdir).removeprefix(os.sep)
        yield f"{name.rstrip(os.sep)}{os.sep}" if name else ""
        below = sorted(name for name in inside if not name.startswith("."))
        inside.clear()
        for name in below:
            real = os.path.realpath(Path(folder, name))
            if real not in seen:
                seen.add(real)
                inside.append(name)
