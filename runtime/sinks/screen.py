"""Whether a window can be opened here, and what to do where it cannot."""

import ctypes
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import packages_distributions

import cv2

LIBRARIES = ("libGL.so.1", "libxcb.so.1", "libX11.so.6", "libSM.so.6", "libgthread-2.0.so.0")
"""What `opencv-python` needs from a Linux and does not bring; setup.py has the same list."""

_TRIAL = "import cv2; cv2.namedWindow('TCL Edge'); cv2.destroyAllWindows()"


@dataclass(frozen=True)
class NoWindow:
    """Why no window can be opened.

    Attributes:
        reason: what is missing.
        advice: the exact thing to do.
    """

    reason: str
    advice: str


def user_interface() -> str | None:
    """Name what this OpenCV opens windows with, as QT5 or GTK3; None if it cannot."""
    built = re.search(r"GUI:\s+(\S+)", cv2.getBuildInformation())
    return None if built is None or built[1] == "NONE" else built[1]


def window_problem() -> NoWindow | None:
    """Find out whether a window can be opened; None if it can.

    On Linux this is tried in a process of its own: where no screen can be reached, Qt aborts the process that asks.
    """
    interface = user_interface()
    if interface is None:
        return NoWindow("this OpenCV has no user interface", f"run `{_installation()}`")
    if sys.platform != "linux":
        return None
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return NoWindow(f"OpenCV has {interface}, but there is no screen (DISPLAY is not set)", "`export DISPLAY=:0`")
    tried = subprocess.run(
        [sys.executable, "-c", _TRIAL], capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    if tried.returncode == 0:
        return None
    said = next((line for line in tried.stderr.splitlines() if line.strip()), f"status {tried.returncode}")
    return NoWindow(
        f"OpenCV's {interface} reaches no screen ({said.strip()})",
        "set DISPLAY to a screen that is there, as `export DISPLAY=:0`, and QT_QPA_PLATFORM to xcb or nothing",
    )


def _installation() -> str:
    """The one command that replaces the OpenCV that is installed by one that opens windows."""
    there = sorted(set(packages_distributions().get("cv2", ()))) or ["opencv-python-headless"]
    command = f"pip uninstall -y {' '.join(there)} && pip install --force-reinstall --no-deps opencv-python"
    if sys.platform == "linux" and not all(map(_loads, LIBRARIES)):
        command = f"sudo apt-get install -y libgl1 libglib2.0-0 libsm6 && {command}"
    return command


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
