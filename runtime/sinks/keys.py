"""What the keys of the window do. Knows nothing of a window: a key and how things are give how they are then."""

from dataclasses import dataclass, replace

from runtime.overlay import Look

HELP = (
    ("h", "help"),
    ("space", "pause, or go on"),
    ("n, right", "next picture, or next frame of a paused video"),
    ("l", "legend"),
    ("o", "outlines"),
    ("+ -", "opacity of the colours"),
    ("w", "other words: type them, then Enter"),
    ("s", "save what is seen as a picture"),
    ("q, Esc", "quit"),
)

RIGHT = {0xFF53, 0x270000, 0xF703}
"""The arrow to the right: with Qt and GTK, on Windows, and on macOS."""
ESCAPE = 27
ENTER = {10, 13, 0xFF8D}
BACKSPACE = {8, 127, 0xFF08}
STEP = 0.1


@dataclass(frozen=True)
class View:
    """How the window shows results.

    Attributes:
        look: how they are painted.
        help: whether the keys are explained.
        paused: the frame stays until a key says otherwise.
        onward: what stays may go: the next picture is wanted.
        typed: the words that are being typed; None while nobody types.
        words: what was typed is wanted.
        save: a picture of what is seen is wanted.
        quit: nothing more is wanted.
    """

    look: Look
    help: bool = False
    paused: bool = False
    onward: bool = False
    typed: str | None = None
    words: bool = False
    save: bool = False
    quit: bool = False

    def after(self, key: int, *, still: bool, words: str = "") -> "View":
        """Give the view after a key.

        Args:
            key: its code as OpenCV gives it; others than those of `HELP`, and -1 for none, change nothing.
            still: the source is pictures, which stay by themselves: there, space is for the next one.
            words: of now, which who types begins with.
        """
        if self.typed is not None:
            return self._typing(key, self.typed)
        look = self.look
        letter = chr(key).lower() if 0 < key < 128 else ""
        if key == ESCAPE or letter == "q":
            return replace(self, quit=True)
        if key in RIGHT or letter == "n" or (still and letter == " "):
            return replace(self, onward=True)
        if letter == " ":
            return replace(self, paused=not self.paused)
        if letter == "w":
            return replace(self, typed=words)
        if letter == "s":
            return replace(self, save=True)
        if letter in ("h", "?"):
            return replace(self, help=not self.help)
        if letter == "l":
            return replace(self, look=replace(look, legend=not look.legend))
        if letter == "o":
            return replace(self, look=replace(look, outline=not look.outline))
        if letter and letter in "+=-_":
            alpha = look.alpha + (STEP if letter in "+=" else -STEP)
            return replace(self, look=replace(look, alpha=min(max(round(alpha, 2), 0.0), 1.0)))
        return self

    def _typing(self, key: int, typed: str) -> "View":
        if key == ESCAPE:
            return replace(self, typed=None)
        if key in ENTER:
            return replace(self, words=True)
        if key in BACKSPACE:
            return replace(self, typed=typed[:-1])
        return replace(self, typed=typed + chr(key)) if 32 <= key < 127 else self
