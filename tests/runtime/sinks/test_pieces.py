"""What the pieces of a recording are called. Oracle: names and numbers by hand, the bytes of what was there."""

from functools import partial
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner

from runtime.__main__ import app
from runtime.errors import SinkNameError
from runtime.sinks.output import Outputs
from runtime.sinks.pieces import Pieces


def named(
    folder: Path, name: str, *, segmented: bool, live: bool, overwrite: bool = False, count: int = 3
) -> list[str]:
    pieces = Pieces(folder / name, Outputs(overwrite=overwrite), segmented=segmented, live=live)
    return [pieces.next().name for _ in range(count)]


@pytest.mark.parametrize("live", [False, True])
def test_pieces_are_numbered(live: bool, tmp_path: Path) -> None:
    assert named(tmp_path, "v.mp4", segmented=True, live=live) == ["v-000.mp4", "v-001.mp4", "v-002.mp4"]
    assert named(tmp_path, "v%d_x.mp4", segmented=True, live=live) == ["v0_x.mp4", "v1_x.mp4", "v2_x.mp4"]
    assert named(tmp_path, "%05d.mp4", segmented=True, live=live) == ["00000.mp4", "00001.mp4", "00002.mp4"]
    assert named(tmp_path, "100%.a{name}.mp4", segmented=True, live=live)[0] == "100%.a{name}-000.mp4"
    assert named(tmp_path, "v.mp4", segmented=False, live=live, count=1) == ["v.mp4"]


def test_a_live_recording_goes_on_where_it_must(tmp_path: Path) -> None:
    assert named(tmp_path, "v%d.mp4", segmented=False, live=True) == ["v%d.mp4", "v%d-001.mp4", "v%d-002.mp4"]
    assert not Pieces(tmp_path / "v.mp4", Outputs(), segmented=False, live=False).more


def test_a_recorder_that_is_started_again_goes_on_after_what_is_there(tmp_path: Path) -> None:
    for name in ("v-000.mp4", "v-007.mp4", "v-012.partial-2.mp4", "v-099.mkv", "v-abc.mp4", "w-500.mp4", "v-50x.mp4"):
        (tmp_path / name).write_text("there")
    assert named(tmp_path, "v.mp4", segmented=True, live=True, count=2) == ["v-013.mp4", "v-014.mp4"]
    assert named(tmp_path, "v.mp4", segmented=True, live=True, overwrite=True, count=2) == ["v-000.mp4", "v-001.mp4"]
    with pytest.raises(SinkNameError, match=r"v-000\.mp4 exists"):
        named(tmp_path, "v.mp4", segmented=True, live=False)
    assert named(tmp_path, "v.mp4", segmented=True, live=False, overwrite=True, count=1) == ["v-000.mp4"]
    assert (tmp_path / "v-000.mp4").read_text() == "there"


def test_what_appears_meanwhile_is_passed_by_live_and_told_otherwise(tmp_path: Path) -> None:
    for live in (True, False):
        pieces = Pieces(tmp_path / f"{live}.mp4", Outputs(), segmented=True, live=live)
        (tmp_path / f"{live}-000.mp4").write_text("there")
        if live:
            assert pieces.next().name == "True-001.mp4"
        else:
            with pytest.raises(SinkNameError, match=r"False-000\.mp4 exists"):
                pieces.next()


@pytest.mark.parametrize("live", [False, True])
def test_a_source_is_no_piece_and_no_two_recordings_share_theirs(live: bool, tmp_path: Path) -> None:
    (tmp_path / "v-000.mp4").write_text("the source")
    outputs = Outputs([tmp_path / "v-000.mp4"], overwrite=True)
    with pytest.raises(SinkNameError, match="is the source itself"):
        Pieces(tmp_path / "v.mp4", outputs, segmented=True, live=live).next()
    outputs = Outputs()
    Pieces(tmp_path / "w.mp4", outputs, segmented=True, live=live)
    with pytest.raises(SinkNameError, match="two results would be written"):
        Pieces(tmp_path / "w-%03d.mp4", outputs, segmented=True, live=live)


def test_the_command_cuts_videos_and_nothing_else(tmp_path: Path) -> None:
    """Oracle: FFmpeg's reader."""
    source = ["test://pattern?frames=30&fps=10&size=64x48", "--classes", "car", "--refine", "none", "--imgsz", "64"]
    run = partial(CliRunner().invoke, app, env={"COLUMNS": "200"})
    done = run([*source, "--to", str(tmp_path / "v.mp4"), "--to", str(tmp_path / "v.jsonl"), "--segment", "2s"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v-000.mp4", "v-001.mp4", "v.jsonl"]
    for name, frames in (("v-000.mp4", 20), ("v-001.mp4", 10)):
        with av.open(str(tmp_path / name)) as container:
            assert len(list(container.decode(video=0))) == frames
    for arguments in (["--to", str(tmp_path / "w.jsonl"), "--segment", "2s"], ["--headless", "--segment", "2s"]):
        done = run([*source, *arguments])
        assert (done.exit_code, "no result is one" in done.output) == (2, True)
