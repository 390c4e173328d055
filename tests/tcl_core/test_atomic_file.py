"""Files that are complete or not there. Oracles: the folder before, an ordinary file's mode, real limits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tcl_core.atomic_file import write_atomically, write_together
from tcl_core.errors import WriteError

ROOT = Path(__file__).parents[2]
PRELUDE = """
import os, resource, signal, sys
from pathlib import Path
from tcl_core.atomic_file import write_atomically, write_together
from tcl_core.errors import WriteError
folder = Path(sys.argv[1])
"""
FULL = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"


def in_a_process(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRELUDE + code, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_mode_is_that_of_an_ordinary_file(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "ordinary").touch()
        write_atomically(tmp_path / "new" / "file", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    assert names(tmp_path / "new") == ["file"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    """Oracle: the file system, which takes 255 bytes."""
    for name in ("n" * 255, "語" * 85):
        write_atomically(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"


def test_of_files_that_belong_together_a_full_disk_writes_none(tmp_path: Path) -> None:
    """The second is too large: the first, complete by then, does not take its name either."""
    write_together({tmp_path / "a": b"before", tmp_path / "b": b"before"})
    code = (
        "try: write_together({folder / 'a': b'after', folder / 'b': bytes(2000)})\n"
        "except WriteError as error: print(error)"
    )
    done = in_a_process(FULL + code, tmp_path)
    assert f"{tmp_path / 'b'} cannot be written (File too large): make room there" in done.stdout, done.stderr
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"before"


@pytest.mark.parametrize("syncs", [1, 2])
def test_a_kill_in_mid_write_keeps_what_was_there(syncs: int, tmp_path: Path) -> None:
    write_together({tmp_path / "a": b"before", tmp_path / "b": b"before"})
    code = (
        f"left = {syncs}\n"
        "def sync(descriptor):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if not left: os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.fsync = sync\n"
        "write_together({folder / 'a': b'after', folder / 'b': b'after'})"
    )
    assert in_a_process(code, tmp_path).returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"before"
    left = set(names(tmp_path)) - {"a", "b"}
    assert len(left) == syncs
    assert all(name.startswith(".") and name.endswith(".partial") for name in left)


def test_ctrl_c_in_mid_write_leaves_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "file", b"before")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"after")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"


def test_a_place_that_is_none_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match=r"file/x cannot be written \((File exists|Not a directory)\): make room"):
        write_atomically(tmp_path / "file" / "x", b"")
    with pytest.raises(WriteError, match=r"folder cannot be written \(Is a directory\)"):
        write_atomically(tmp_path / "folder", b"")
    assert names(tmp_path) == ["file", "folder"]
