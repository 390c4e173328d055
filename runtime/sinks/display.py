"""A window."""

import os
import re
import sys

import cv2

from runtime.errors import SinkError
from runtime.frame import BGR
from runtime.segmentation import Segmentation
from runtime.sinks.sink import Sink
from runtime.sources.source import Frame


class DisplaySink(Sink):
    """A window; closing it, or the key q or Esc, ends the stream."""

    TITLE = "TCL Edge"

    def __init__(self) -> None:
        if not has_window():
            raise SinkError(
                "no window can be opened: this OpenCV has no user interface (`pip uninstall opencv-python-headless && "
                "pip install opencv-python` brings one) or there is no screen; use --headless or a file as sink"
            )
        cv2.namedWindow(self.TITLE, cv2.WINDOW_NORMAL)

    def write(self, result: Segmentation, frame: Frame, picture: BGR) -> None:
        """Show a frame."""
        cv2.imshow(self.TITLE, picture)
        key = cv2.waitKey(1) & 0xFF
        self.finished = key in (ord("q"), 27) or cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) < 1

    def close(self, *, complete: bool) -> None:
        """Close the window."""
        cv2.destroyAllWindows()


def has_window() -> bool:
    """Tell whether this OpenCV can open a window on this machine."""
    return has_screen() and user_interface() is not None


def has_screen() -> bool:
    """Tell whether there is a screen to open a window on, which elsewhere than on Linux there always is."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def user_interface() -> str | None:
    """Name what this OpenCV opens windows with, as QT5 or GTK3; None if it cannot."""
    built = re.search(r"GUI:\s+(\S+)", cv2.getBuildInformation())
    return None if built is None or built[1] == "NONE" else built[1]
