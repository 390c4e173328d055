"""Whether a window can be opened. Oracles: environments and distributions made for the test; what pip would be told."""

import pytest

from runtime.errors import SinkError
from runtime.sinks import screen
from runtime.sinks.display import DisplaySink
from runtime.sources.open import open_source


@pytest.fixture
def without_interface(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """OpenCV as opencv-python-headless is built."""
    monkeypatch.setattr(screen.cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    return monkeypatch


@pytest.mark.parametrize("installed", [["opencv-python-headless"], ["opencv-contrib-python-headless", "opencv-python"]])
def test_without_a_user_interface_one_command_brings_it(
    installed: list[str], without_interface: pytest.MonkeyPatch
) -> None:
    """What is there goes first, all of it: the distributions overwrite each other's files."""
    without_interface.setattr(screen, "packages_distributions", lambda: {"cv2": installed[::-1]})
    without_interface.setattr(screen, "_loads", lambda library: True)
    command = f"pip uninstall -y {' '.join(installed)} && pip install --force-reinstall --no-deps opencv-python"
    assert screen.window_problem() == screen.NoWindow("this OpenCV has no user interface", f"run `{command}`")
    with pytest.raises(SinkError, match=r"no window can be opened: this OpenCV has no user interface; run `pip unins"):
        DisplaySink(open_source("test://pattern"))


def test_where_libraries_of_a_desktop_are_missing_they_come_first(without_interface: pytest.MonkeyPatch) -> None:
    without_interface.setattr(screen.sys, "platform", "linux")
    without_interface.setattr(screen, "LIBRARIES", ("libthere-is-none.so.1",))
    problem = screen.window_problem()
    assert problem is not None
    assert problem.advice.startswith("run `sudo apt-get install -y libgl1 libglib2.0-0 libsm6 && pip uninstall -y ")


def test_without_a_screen_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen.cv2, "getBuildInformation", lambda: "  GUI:                           GTK3\n")
    monkeypatch.setattr(screen.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match=r"OpenCV has GTK3, but there is no screen \(DISPLAY.*export DISPLAY.*headless"):
        DisplaySink(open_source("test://pattern"))
    for elsewhere in ("darwin", "win32"):
        monkeypatch.setattr(screen.sys, "platform", elsewhere)
        assert screen.window_problem() is None
