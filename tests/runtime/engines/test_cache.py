"""Engines on disk. Oracles: what was stored, how often something was built, and damage done on purpose."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from filelock import FileLock

from runtime.engines.cache import EngineCache, Identity, default_folder
from runtime.engines.profile import Profile, Range
from runtime.errors import EngineError

IDENTITY = Identity(
    graph_sha256="ab" * 32,
    precision="fp16",
    library="tensorrt 10.3.0",
    device="Orin",
    compute_capability="8.7",
    driver="CUDA 12.6, 540.4.0",
)
NARROW = Profile({"words": Range(1, 8, 16)})
WIDE = Profile({"words": Range(1, 32, 256)})
PLAN = bytes(range(256)) * 64


class Builder:
    """Counts builds, and keeps what it was told."""

    def __init__(self, plan: bytes = PLAN) -> None:
        self.plan, self.built, self.notes = plan, 0, []

    def __call__(self) -> bytes:
        self.built += 1
        return self.plan

    def obtain(
        self, cache: EngineCache, identity: Identity = IDENTITY, required: Profile = NARROW, bundle: str = "street"
    ) -> bytes:
        return cache.obtain(bundle, identity, required, WIDE, self, self.notes.append)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache" / "engines")


def test_an_engine_is_built_once(cache: EngineCache) -> None:
    builder = Builder()
    assert builder.obtain(cache) == builder.obtain(cache) == PLAN
    assert builder.built == 1
    assert builder.notes == [
        "building a TensorRT engine for street, which takes minutes once: there is none yet on this device"
    ]
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in cache.folder.iterdir()}
    assert modes == {".plan": 0o600, ".json": 0o600, ".lock": 0o600}
    ((_, record),) = cache.records()
    assert (record.bundle, record.identity, record.ranges) == ("street", IDENTITY, WIDE)


def test_a_record_says_when_and_how_long_it_was_built(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.engines.cache.monotonic", iter([100.0, 107.26]).__next__)
    begin = datetime.now(timezone.utc).replace(microsecond=0)
    Builder().obtain(cache)
    ((_, record),) = cache.records()
    assert record.build_s == 7.3
    assert begin <= datetime.fromisoformat(record.created) <= datetime.now(timezone.utc)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("graph_sha256", "cd" * 32, "the graph was abab.* is cdcd"),
        ("precision", "fp32", "the precision was fp16, is fp32"),
        ("library", "tensorrt 11.4.1", r"TensorRT was tensorrt 10\.3\.0, is tensorrt 11\.4\.1"),
        ("device", "Thor", "the GPU was Orin, is Thor"),
        ("compute_capability", "11.0", r"the compute capability was 8\.7, is 11\.0"),
        ("driver", "CUDA 13.0, 580.1", r"the driver was CUDA 12\.6, 540\.4\.0, is CUDA 13\.0"),
    ],
)
def test_whatever_differs_it_is_built_again_and_said_why(
    field: str, value: str, reason: str, cache: EngineCache
) -> None:
    first, second = Builder(), Builder(b"other")
    first.obtain(cache)
    other = IDENTITY.model_copy(update={field: value})
    assert second.obtain(cache, other) == b"other"
    assert second.built == 1
    (note,) = second.notes
    assert re.search(reason, note), note
    assert first.obtain(cache) == PLAN  # both are kept: containers of two versions may share a home
    assert first.built == 1


def test_what_is_nearest_to_an_engine_says_why_it_is_built(cache: EngineCache) -> None:
    """Oracle: by hand; engines of other graphs and other bundles explain nothing."""
    other_graph, newer = (
        IDENTITY.model_copy(update=change) for change in ({"graph_sha256": "cd" * 32}, {"driver": "9"})
    )
    for bundle, graph in (("indoor", "ab" * 32), ("warehouse", "ef" * 32)):
        Builder().obtain(cache, IDENTITY.model_copy(update={"graph_sha256": graph}), bundle=bundle)
    builder = Builder()
    builder.obtain(cache, other_graph)
    builder.obtain(cache, newer)  # of the graph that "indoor" has, and of the name that has another graph
    reasons = [note.partition(": ")[2] for note in builder.notes]
    assert reasons[0] == "there is none yet on this device"
    assert reasons[1] == "the driver was CUDA 12.6, 540.4.0, is 9"


def test_damage_explains_more_than_an_engine_that_takes_too_few_words(cache: EngineCache) -> None:
    """An engine for few words is passed over though it comes first, and named only while nothing is nearer."""
    cache.obtain("street", IDENTITY, NARROW, NARROW, lambda: b"few", lambda _: None)
    for suffix in (".plan", ".json"):
        next(cache.folder.glob(f"*{suffix}")).rename(cache.folder / f"0{suffix}")
    builder = Builder()
    for _ in range(2):
        builder.obtain(cache, required=WIDE)
    assert builder.built == 1
    assert "the one at hand does not suffice: it takes 1 to " in builder.notes[0]
    (wide,) = (path for path in cache.folder.glob("*.plan") if path.read_bytes() == PLAN)
    wide.write_bytes(b"damaged")
    builder.obtain(cache, required=WIDE)
    assert f"{wide} is not the engine that was built" in builder.notes[1]


def test_an_engine_for_fewer_words_does_not_do_and_one_for_more_does(cache: EngineCache) -> None:
    builder = Builder()
    builder.obtain(cache)
    builder.obtain(cache, required=WIDE)
    assert builder.built == 1
    builder.obtain(cache, required=Profile({"words": Range(1, 1, 257)}))
    assert builder.built == 2
    assert "it takes 1 to 256 words, needed are 1 to 257" in builder.notes[-1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: plan[:1000],
        lambda plan: b"",
        lambda plan: bytes([plan[0] ^ 1]) + plan[1:],
        lambda plan: plan + b"\0",
        lambda plan: plan[:-1] + bytes([plan[-1] ^ 128]),
    ],
)
def test_a_damaged_engine_is_never_returned(damage, cache: EngineCache) -> None:
    builder = Builder()
    builder.obtain(cache)
    (path,) = cache.folder.glob("*.plan")
    path.write_bytes(damage(PLAN))
    assert builder.obtain(cache) == PLAN
    assert builder.built == 2
    assert "is not the engine that was built, its hash differs" in builder.notes[-1]
    assert path.read_bytes() == PLAN


def test_an_engine_without_a_record_or_with_a_foreign_one_is_not_used(cache: EngineCache) -> None:
    builder = Builder()
    builder.obtain(cache)
    (sidecar,) = cache.folder.glob("*.json")
    record = json.loads(sidecar.read_text())
    changes = ({"extra": 1}, {"identity": record["identity"] | {"extra": 1}}, {"profile": {"words": [1]}})
    for text in ("", "{", "[]", *(json.dumps(record | change) for change in changes)):
        sidecar.write_text(text)
        built = builder.built
        builder.obtain(cache)
        assert builder.built == built + 1
    (cache.folder / "0.json").write_text("{")  # does not hide those after it
    built = builder.built
    builder.obtain(cache)
    assert builder.built == built
    sidecar.unlink()
    builder.obtain(cache)
    (plan,) = cache.folder.glob("*.plan")
    plan.unlink()
    builder.obtain(cache)
    assert "cannot be read: No such file" in builder.notes[-1]


def test_a_build_that_fails_or_is_interrupted_leaves_nothing(cache: EngineCache) -> None:
    def fails() -> bytes:
        raise EngineError("no memory")

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    for build, error in ((fails, EngineError), (interrupted, KeyboardInterrupt)):
        with pytest.raises(error):
            cache.obtain("street", IDENTITY, NARROW, WIDE, build, lambda _: None)
        assert {path.suffix for path in cache.folder.iterdir()} <= {".lock"}
    assert Builder().obtain(cache) == PLAN


def test_without_filelock_nothing_is_built(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    builder = Builder()
    with pytest.raises(EngineError, match="`pip install filelock`"):
        builder.obtain(cache)
    assert builder.built == 0


def test_a_folder_that_others_can_write_is_refused(cache: EngineCache) -> None:
    Builder().obtain(cache)
    cache.folder.chmod(0o777)
    with pytest.raises(EngineError, match=r"can be written by other users, and engines are executable: `chmod go-w"):
        Builder().obtain(cache)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_folder_of_somebody_else_is_refused(cache: EngineCache) -> None:
    Builder().obtain(cache)
    os.chown(cache.folder, 12345, -1)
    with pytest.raises(EngineError, match="can be written by other users"):
        Builder().obtain(cache)


def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    """The kernel's own refusal: the process may write files of 4,000 bytes only."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from runtime.engines.cache import EngineCache\n"
        "from runtime.errors import EngineError\n"
        "from tests_engine_cache import IDENTITY, NARROW, WIDE\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "cache = EngineCache(Path(sys.argv[1]))\n"
        "try: cache.obtain('street', IDENTITY, NARROW, WIDE, lambda: bytes(100_000), lambda _: None)\n"
        "except EngineError as error: print(error)\n"
    )
    done = in_another_process(code, tmp_path / "engines")
    assert "was built and could not be written to" in done.stdout
    assert "free some space there, or set TCL_EDGE_ENGINES" in done.stdout
    assert {path.suffix for path in (tmp_path / "engines").iterdir()} <= {".lock"}


DROP = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
assert libc.capset(header, nothing) == 0
"""


def in_another_process(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    loaded = f"import sys, importlib.util as u; s = u.spec_from_file_location('tests_engine_cache', {__file__!r})\n"
    loaded += "m = u.module_from_spec(s); sys.modules['tests_engine_cache'] = m; s.loader.exec_module(m)\n"
    command = [sys.executable, "-c", loaded + code, *map(str, arguments)]
    return subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False, timeout=120
    )


def test_a_read_only_folder_serves_what_it_has_and_refuses_builds_before_they_begin(
    cache: EngineCache, tmp_path: Path
) -> None:
    builder = Builder()
    builder.obtain(cache)
    code = (
        "from pathlib import Path; from runtime.engines.cache import EngineCache\n"
        "from runtime.errors import EngineError; from tests_engine_cache import IDENTITY, Builder\n"
        "builder, cache = Builder(), EngineCache(Path(sys.argv[1]))\n"
        "print(len(builder.obtain(cache)), builder.built)\n"
        "try: builder.obtain(cache, IDENTITY.model_copy(update={'device': 'Thor'}))\n"
        "except EngineError as error: print(error)\n"
        "print(builder.built)\n"
    )
    cache.folder.chmod(0o555)
    if os.getuid() == 0:  # to root nothing is read-only: give its powers over files away
        code = DROP + code
    done = in_another_process(code, cache.folder)
    cache.folder.chmod(0o700)
    lines = done.stdout.splitlines()
    assert lines[0] == f"{len(PLAN)} 0", done.stderr
    assert "engines cannot be kept in" in lines[1]
    assert "permission denied; set TCL_EDGE_ENGINES to a folder that can be written" in lines[1]
    assert lines[2] == "0"


def build_slowly(folder: str, marks: str, seconds: float) -> None:
    def build() -> bytes:
        with Path(marks).open("a") as log:
            log.write("begin\n")
        time.sleep(seconds)
        return PLAN

    plan = EngineCache(Path(folder)).obtain("street", IDENTITY, NARROW, WIDE, build, lambda _: None)
    assert plan == PLAN


def test_who_waits_for_another_builder_is_told(cache: EngineCache) -> None:
    """The lock is held here, and let go as soon as it is waited for."""
    Builder().obtain(cache)
    (path,) = cache.folder.glob("*.lock")
    next(cache.folder.glob("*.json")).unlink()
    lock, notes = FileLock(path), []

    def note(text: str) -> None:
        notes.append(text)
        lock.release()

    with lock:
        cache.obtain("street", IDENTITY, NARROW, WIDE, Builder(), note)
    assert notes[0] == "another process is building this engine: waiting for it"
    assert notes[1].startswith("building a TensorRT engine")


FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child builds, and ends


@FORKS
def test_of_two_builders_one_builds(cache: EngineCache, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    context = multiprocessing.get_context("fork")
    builders = [context.Process(target=build_slowly, args=(str(cache.folder), str(marks), 0.5)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert marks.read_text() == "begin\n"


@FORKS
@pytest.mark.parametrize("where", ["building", "writing"])
def test_a_builder_killed_with_9_leaves_a_lock_that_opens_and_no_half_engine(
    where: str, cache: EngineCache, tmp_path: Path
) -> None:
    """Killed while it builds, or between the bytes of the file and its name."""
    marks = tmp_path / "marks"

    def victim() -> None:
        if where == "writing":

            def stuck(self: Path, target: Path) -> Path:
                marks.write_text("begin\n")
                time.sleep(60)
                return target

            Path.replace = stuck  # type: ignore[method-assign] # in this process only
            Builder().obtain(cache)
        else:
            build_slowly(str(cache.folder), str(marks), 60)

    process = multiprocessing.get_context("fork").Process(target=victim)
    process.start()
    deadline = time.monotonic() + 30
    while not marks.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(cache.folder.glob("*.plan"))
    assert bool(list(cache.folder.glob(".*.partial"))) == (where == "writing")
    builder = Builder()
    assert builder.obtain(cache) == PLAN
    assert builder.built == 1
    assert not list(cache.folder.glob(".*.partial"))


def test_a_timing_cache_is_returned_only_undamaged(cache: EngineCache) -> None:
    timing = cache.timing("tensorrt 10.3.0", "Orin")
    assert timing.read() == b""
    timing.write(b"kernels")
    assert timing.read() == b"kernels"
    assert cache.timing("tensorrt 11.4.1", "Orin").read() == b""
    (path,) = cache.folder.glob("timing.*")
    assert path.stat().st_mode & 0o777 == 0o600
    for damaged in (b"", b"x" * 10, path.read_bytes()[:-1], b"\0" + path.read_bytes()[1:]):
        path.write_bytes(damaged)
        assert timing.read() == b""


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCL_EDGE_ENGINES", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.delenv("TCL_EDGE_ENGINES")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_folder() == Path("/cache/tcl-edge/engines")
