"""What a source's name stands for. Oracle: the messages."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import SourceError
from runtime.sources.open import open_source
from runtime.sources.source import Source


def test_a_missing_source_says_what_was_expected() -> None:
    with pytest.raises(SourceError, match=r"'nowhere\.mp4' does not exist: expected a video file"):
        open_source("nowhere.mp4")
    with pytest.raises(SourceError, match=r"gopher://x' is of a kind that is not supported"):
        open_source("gopher://x")
    with pytest.raises(SourceError, match="no picture in"):
        open_source("nothing-*.jpg")


def test_a_source_that_yields_nothing_says_so() -> None:
    with pytest.raises(TypeError, match="Source does not yield frames"):
        iter(Source())


@pytest.mark.skipif(sys.platform != "linux", reason="links to devices as Linux has them")
@pytest.mark.parametrize("device", ["/dev/null", "link"])
def test_a_device_that_is_no_camera_is_one_that_is_there(device: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(SourceError, match="is a device .*, but no camera"):
        open_source(device if device.startswith("/") else str(tmp_path / device))


@pytest.mark.parametrize(
    "name", ["/dev/video93", "93", "v4l2:///dev/video93", "v4l2:///dev/v4l/by-id/gone", "/dev/v4l/by-id/gone"]
)
def test_a_camera_that_is_not_there_is_looked_for(name: str) -> None:
    with pytest.raises(SourceError, match="cannot be opened"):
        open_source(name)


def test_a_folder_is_one_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("2024", "a [1]"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a[1].png"), np.zeros((4, 4, 3), np.uint8))
        assert [frame.name for frame in open_source(folder)] == ["a[1]"]
    assert [frame.name for frame in open_source("2024/a[1].png")] == ["a[1]"]
    assert [frame.name for frame in open_source((tmp_path / "a [1]" / "a[1].png").as_uri())] == ["a[1]"]


def test_a_broken_link_says_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to("gone.mp4")
    with pytest.raises(SourceError, match=r"is a link to gone\.mp4, which does not exist"):
        open_source(str(tmp_path / "link.mp4"))
