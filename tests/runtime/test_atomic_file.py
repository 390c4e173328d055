"""Files that are complete or not there. Oracles: the folder before, an ordinary file's mode, real limits."""

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.atomic_file import GrowingFile, free_partial, take_name, write_atomically, write_directories
from runtime.errors import WriteError

PRELUDE = """
import os, resource, signal, sys
from pathlib import Path
from runtime.atomic_file import write_atomically, write_directories
from runtime.errors import WriteError
path = Path(sys.argv[1])
"""
ROOT = Path(__file__).parents[2]


def in_a_process(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRELUDE + code, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_mode_is_that_of_an_ordinary_file(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "ordinary").touch()
        (tmp_path / "folder").mkdir()
        write_atomically(tmp_path / "new" / "file", b"1")
        write_atomically(tmp_path / "private", b"1", private=True)
        write_directories({tmp_path / "written": {"a/b": b"1"}}, staging=tmp_path)
    finally:
        os.umask(before)
    for ours, ordinary in (("new/file", "ordinary"), ("written/a/b", "ordinary"), ("written", "folder")):
        assert (tmp_path / ours).stat().st_mode == (tmp_path / ordinary).stat().st_mode
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    for content in (b"old", b"", b"new\r\n\x00"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    write_directories({tmp_path / "d": {"x": b"1", "gone/y": b"2"}}, staging=tmp_path)
    write_directories({tmp_path / "d": {"x": b"3"}, tmp_path / "e": {"z": b"4"}}, staging=tmp_path)
    assert (names(tmp_path), names(tmp_path / "d"), names(tmp_path / "e")) == (["d", "e", "file"], ["x"], ["z"])
    assert (tmp_path / "d" / "x").read_bytes() == b"3"


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    """Oracle: the file system, which takes 255 bytes."""
    for name in ("n" * 255, "語" * 85):
        write_atomically(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"


FULL = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"before")
    done = in_a_process(
        FULL + "try: write_atomically(path, bytes(2000))\nexcept WriteError as error: print(error)", tmp_path / "file"
    )
    assert f"{tmp_path / 'file'} cannot be written (File too large): make room there" in done.stdout, done.stderr
    assert (tmp_path / "file").read_bytes() == b"before"
    assert names(tmp_path) == ["file"]


def test_of_several_directories_a_full_disk_writes_none(tmp_path: Path) -> None:
    write_directories({tmp_path / "a": {"x": b"before"}}, staging=tmp_path)
    code = "write_directories({path / 'a': {'x': b'after'}, path / 'b': {'y': bytes(2000)}}, staging=path)"
    done = in_a_process(FULL + code, tmp_path)
    assert "WriteError" in done.stderr
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "x").read_bytes() == b"before"


KILL = """
def killed(descriptor):
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = killed
"""


def test_a_kill_in_mid_write_keeps_what_was_there(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"before")
    done = in_a_process(KILL + "write_atomically(path, bytes(2000))", tmp_path / "file")
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_bytes() == b"before"
    (left,) = set(names(tmp_path)) - {"file"}
    assert left.startswith(".file.")
    assert left.endswith(".partial")


def test_every_byte_is_on_the_disk_before_anything_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: sizes of the files when they are synchronised; before that the bytes may lie in buffers alone."""
    synchronised: list[tuple[int, bool]] = []

    def seen(descriptor: int) -> None:
        named = (tmp_path / "file").exists() or (tmp_path / "d").exists()
        synchronised.append((os.fstat(descriptor).st_size, named))

    monkeypatch.setattr(os, "fsync", seen)
    write_directories({tmp_path / "d": {"x": bytes(10), "y/z": bytes(20)}}, staging=tmp_path)
    assert synchronised == [(10, False), (20, False)]
    shutil.rmtree(tmp_path / "d")
    write_atomically(tmp_path / "file", bytes(30))
    assert synchronised[2:] == [(30, False)]


@pytest.mark.parametrize("fails", [False, True])
def test_what_grows_reaches_the_disk_while_it_grows(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: sizes when they are synchronised, by a thread that is gone when the file is closed."""
    synchronised: list[int] = []
    enough = threading.Event()

    def seen(descriptor: int) -> None:
        synchronised.append(os.fstat(descriptor).st_size)
        if len(synchronised) >= 2 and synchronised[-1] == 10:
            enough.set()
        if fails:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", seen)
    before = threading.active_count()
    file = GrowingFile(tmp_path / "file", sync_s=0.001)
    file.write(bytes(10))
    assert enough.wait(20)
    assert file.close(complete=True) is None
    assert threading.active_count() == before
    assert (tmp_path / "file").read_bytes() == bytes(10)
    GrowingFile(tmp_path / "other", sync_s=60).discard()
    assert names(tmp_path) == ["file"]


def test_ctrl_c_in_mid_write_leaves_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "file", b"before")
    write_directories({tmp_path / "d": {"x": b"before"}}, staging=tmp_path)
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"after")
    with pytest.raises(KeyboardInterrupt):
        write_directories({tmp_path / "d": {"x": b"after"}}, staging=tmp_path)
    assert names(tmp_path) == ["d", "file"]
    assert (tmp_path / "file").read_bytes() == (tmp_path / "d" / "x").read_bytes() == b"before"


def test_a_directory_that_cannot_take_its_name_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of the two renames fails: the first is undone."""
    write_directories({tmp_path / "d": {"x": b"before"}}, staging=tmp_path)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == tmp_path / "d" and self.name == "0":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(WriteError, match="Permission denied"):
        write_directories({tmp_path / "d": {"x": b"after"}}, staging=tmp_path)
    assert names(tmp_path) == ["d"]
    assert (tmp_path / "d" / "x").read_bytes() == b"before"


def test_a_place_that_is_none_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match=r"file/x cannot be written \((File exists|Not a directory)\): make room"):
        write_atomically(tmp_path / "file" / "x", b"")
    with pytest.raises(WriteError, match=r"folder cannot be written \(Is a directory\)"):
        write_atomically(tmp_path / "folder", b"")
    assert names(tmp_path) == ["file", "folder"]


def test_what_another_library_wrote_takes_its_name(tmp_path: Path) -> None:
    partial = free_partial(tmp_path / "new" / "run.bag")
    assert partial == tmp_path / "new" / "run.partial.bag"
    partial.mkdir()
    (partial / "a").write_text("a")
    assert free_partial(tmp_path / "new" / "run.bag").name == "run.partial-2.bag"
    take_name(partial, tmp_path / "new" / "run.bag", replace=False)
    assert names(tmp_path / "new") == ["run.bag"]
    (tmp_path / "written").write_text("new")
    (tmp_path / "there").write_text("old")
    with pytest.raises(WriteError, match="written cannot be written .*"):
        take_name(tmp_path / "written", tmp_path / "there", replace=False)
    assert ((tmp_path / "there").read_text(), (tmp_path / "written").read_text()) == ("old", "new")
    take_name(tmp_path / "written", tmp_path / "there", replace=True)
    assert (names(tmp_path), (tmp_path / "there").read_text()) == (["new", "there"], "new")


def test_the_error_survives_the_way_between_processes() -> None:
    error = WriteError(Path("x"), "No space left on device")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.reason) == (str(error), error.path, error.reason)


def test_the_limits_are_of_other_processes() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
