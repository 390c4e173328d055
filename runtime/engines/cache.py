"""Engines that were built on this device: found by what they were built from, hashed before anything reads them.

An engine is executable. So it is kept in a private folder of the user, never inside a bundle that may be copied, and
whatever differs from the record written beside it is not used.

    KEY.plan    the engine            KEY.json    what it is, and its hash
    KEY.lock    who builds now        timing.*    TensorRT's timing cache
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic

from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.atomic_file import write_atomically
from runtime.bundle import FileRecord
from runtime.engines.profile import Profile, Range
from runtime.errors import EngineError, WriteError

FOLDER_VARIABLE = "TCL_EDGE_ENGINES"
DIGEST_BYTES = 32


class Identity(BaseModel):
    """What an engine depends on. Any difference makes it another engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph_sha256: str
    precision: str
    library: str
    device: str
    compute_capability: str
    driver: str


class EngineRecord(BaseModel):
    """What is written beside an engine: `profile` holds least, usual and most of every free dimension."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str
    identity: Identity
    profile: dict[str, tuple[int, int, int]]
    plan: FileRecord
    created: str
    build_s: float

    @property
    def ranges(self) -> Profile:
        """The profile that the engine was built for."""
        return Profile({name: Range(*sizes) for name, sizes in self.profile.items()})


def default_folder() -> Path:
    """Where engines are kept: $TCL_EDGE_ENGINES, or the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("tcl-edge") / "engines"


class EngineCache:
    """A folder of engines.

    Args:
        folder: private to its owner; made when the first engine is built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def obtain(
        self,
        bundle: str,
        identity: Identity,
        required: Profile,
        profile: Profile,
        build: Callable[[], bytes],
        note: Callable[[str], None],
    ) -> bytes:
        """Return an engine, building it if none fits. Of several processes one builds, the others wait for it.

        Args:
            bundle: name of the bundle, for the record.
            identity: what the engine has to be built from.
            required: the sizes that it must take.
            profile: the sizes that a new one is built for.
            build: makes the engine; whatever it raises leaves the folder as it was.
            note: told why an engine is built, and whether another process is waited for.

        Raises:
            EngineError: the folder is not private or cannot be written.
        """
        found, _ = self.find(bundle, identity, required)
        if found is not None:
            return found
        self._require_writable()
        key = _key(identity, profile)
        with self._lock(key, note):
            found, reason = self.find(bundle, identity, required)
            if found is not None:
                return found
            note(f"building a TensorRT engine for {bundle}, which takes minutes once: {reason}")
            begin = monotonic()
            plan = build()
            record = EngineRecord(
                bundle=bundle,
                identity=identity,
                profile={name: (r.least, r.usual, r.most) for name, r in profile.ranges.items()},
                plan=FileRecord(sha256=hashlib.sha256(plan).hexdigest(), bytes=len(plan)),
                created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                build_s=round(monotonic() - begin, 1),
            )
            self._store(key, plan, record)
        return plan

    def records(self) -> Iterator[tuple[str, EngineRecord]]:
        """Yield key and record of every complete engine."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                yield path.stem, EngineRecord.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue  # not ours, or of another version: as good as absent

    def timing(self, library: str, device: str) -> "TimingFile":
        """Give the timing cache of a version of TensorRT on a device."""
        return TimingFile(self.folder / f"timing.{hashlib.sha256(f'{library} {device}'.encode()).hexdigest()[:16]}")

    def find(self, bundle: str, identity: Identity, required: Profile) -> tuple[bytes | None, str]:
        """Return a fitting engine, or why there is none; builds nothing.

        Raises:
            EngineError: the folder is not private.
        """
        if not self.folder.exists():
            return None, "there is none yet on this device"
        self._require_private()
        reasons: list[tuple[int, str]] = []
        for key, record in self.records():
            different = _differences(record.identity, identity)
            if different:
                if record.bundle == bundle or record.identity.graph_sha256 == identity.graph_sha256:
                    reasons.append((len(different), "; ".join(different)))
                continue
            if lacking := record.ranges.lacking(required):
                reasons.append((0, f"the one at hand does not suffice: {lacking}"))
                continue
            plan, problem = self._read(key, record)
            if plan is not None:
                return plan, ""
            reasons.append((-1, problem))
        return None, min(reasons)[1] if reasons else "there is none yet on this device"

    def _read(self, key: str, record: EngineRecord) -> tuple[bytes | None, str]:
        path = self.folder / f"{key}.plan"
        try:
            plan = path.read_bytes()
        except OSError as error:
            return None, f"{path} cannot be read: {error.strerror}"
        if len(plan) != record.plan.bytes or hashlib.sha256(plan).hexdigest() != record.plan.sha256:
            return None, f"{path} is not the engine that was built, its hash differs"
        return plan, ""

    def _store(self, key: str, plan: bytes, record: EngineRecord) -> None:
        for left in self.folder.glob(f".{key}.*.partial"):  # of a process that was killed; we hold its lock
            left.unlink(missing_ok=True)
        path = self.folder / f"{key}.plan"
        sidecar = path.with_suffix(".json")
        sidecar.unlink(missing_ok=True)  # never an old record beside a new engine
        try:
            write_atomically(path, plan, private=True)
            write_atomically(sidecar, record.model_dump_json(indent=2).encode() + b"\n", private=True)
        except WriteError as error:
            path.unlink(missing_ok=True)
            raise EngineError(
                f"the engine of {len(plan) / 1e6:.0f} MB was built and could not be written to {self.folder}: "
                f"{error.reason}; free some space there, or set {FOLDER_VARIABLE} to another folder"
            ) from error

    @contextmanager
    def _lock(self, key: str, note: Callable[[str], None]) -> Iterator[None]:
        try:
            from filelock import FileLock, Timeout
        except ImportError as error:
            raise EngineError(
                f"building an engine needs the package filelock ({error}): `pip install filelock`"
            ) from None
        lock = FileLock(self.folder / f"{key}.lock", mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            note("another process is building this engine: waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _require_private(self) -> None:
        """Refuse a folder into which somebody else could put an engine."""
        if os.name != "posix":
            return
        status = self.folder.stat()
        if status.st_uid not in (0, os.getuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EngineError(
                f"{self.folder} can be written by other users, and engines are executable: "
                f"`chmod go-w {self.folder}`, or set {FOLDER_VARIABLE} to a folder of your own"
            )

    def _require_writable(self) -> None:
        """Find out before minutes are spent on a build."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            problem = "" if os.access(self.folder, os.W_OK | os.X_OK) else "permission denied"
        except OSError as error:
            problem = str(error.strerror).lower()
        if problem:
            raise EngineError(
                f"engines cannot be kept in {self.folder}: {problem}; set {FOLDER_VARIABLE} to a folder that can be "
                "written"
            )
        self._require_private()


class TimingFile:
    """How fast TensorRT found its kernels: makes the next build faster. Its hash stands before its content."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes:
        """Return the content; empty if there is none or it is damaged."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return b""
        digest, content = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        return content if hashlib.sha256(content).digest() == digest else b""

    def write(self, content: bytes) -> None:
        """Keep the content.

        Raises:
            WriteError: the folder cannot be written.
        """
        write_atomically(self._path, hashlib.sha256(content).digest() + content, private=True)


def _key(identity: Identity, profile: Profile) -> str:
    described = f"{identity.model_dump_json()} {sorted((name, *sizes) for name, sizes in profile.ranges.items())}"
    return hashlib.sha256(described.encode()).hexdigest()[:32]


NOUNS = {
    "graph_sha256": "the graph",
    "precision": "the precision",
    "library": "TensorRT",
    "device": "the GPU",
    "compute_capability": "the compute capability",
    "driver": "the driver",
}


def _differences(had: Identity, has: Identity) -> list[str]:
    different = []
    for field, noun in NOUNS.items():
        old, new = str(getattr(had, field)), str(getattr(has, field))
        if old != new:
            different.append(f"{noun} was {old[:40]}, is {new[:40]}")
    return different
