"""A log of what a stream does: `--stats`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TextIO

from runtime.closing import Closing
from runtime.errors import WriteError
from runtime.sinks.output import Outputs
from runtime.stream.latency import STAGES
from runtime.stream.monitor import Monitor
from runtime.stream.outlet import Work


class StatsLog(Closing):
    """A line of JSON a frame, as soon as it has reached every sink, and one whenever a live source is lost.

    `frame` (its number), `time_s`, `age_ms` (since it came in; null for what does not age), `state`, `coverage` (share
    of the frame by word), `speed` (milliseconds by stage), `dropped` and `reconnects` until then. A line that tells of
    a loss (`stale`, `reconnecting`, `failed`) has number and time of the last frame, and no coverage and speed.

    The file is written in place: whoever follows it reads it while it grows, and each line is whole.

    Args:
        path: of the file.
        outputs: where it is claimed.
        monitor: of the stream.
    """

    def __init__(self, path: Path, outputs: Outputs, monitor: Monitor) -> None:
        outputs.claim(path)
        self._path = path
        self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)
        self._monitor = monitor
        self._state, self._frame, self._time_s = "live", -1, 0.0
        self._lock = Lock()

    def done(self, work: Work) -> None:
        """Write the line of a frame.

        Raises:
            WriteError: the system refused, such as a full disk.
        """
        frame, stages_ms = work.frame, work.stages_ms
        self._frame, self._time_s = frame.index, frame.time_s
        record = {
            "frame": frame.index,
            "time_s": round(frame.time_s, 6),
            "age_ms": None if frame.arrived_s is None else round(stages_ms["end to end"], 3),
            "state": self._monitor.state,
            "coverage": {word: round(share, 6) for word, share in work.result.coverage().items()},
            "speed": {stage: round(stages_ms.get(stage, 0.0), 3) for stage in STAGES},
            "dropped": self._monitor.dropped,
            "reconnects": self._monitor.reconnects,
        }
        self._state = "live"
        self._write(record)

    def look(self) -> None:
        """Write a line if the source is lost, and was not before.

        Raises:
            WriteError: the system refused.
        """
        state = self._monitor.state
        if state in (self._state, "live", "ended"):
            return
        self._state = state
        age_ms = self._monitor.status().age_ms
        self._write(
            {
                "frame": self._frame,
                "time_s": round(self._time_s, 6),
                "age_ms": None if age_ms is None else round(age_ms, 3),
                "state": state,
                "coverage": {},
                "speed": {},
                "dropped": self._monitor.dropped,
                "reconnects": self._monitor.reconnects,
            }
        )

    def _write(self, record: Mapping[str, object]) -> None:
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with self._lock, self._named():
            if not self._file.closed:
                self._file.write(line)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file in what goes wrong: the system does not."""
        try:
            yield
        except OSError as error:
            raise WriteError(self._path, error.strerror or str(error)) from error

    def close(self) -> None:
        """Close the file.

        Raises:
            WriteError: the system refused.
        """
        with self._lock, self._named():
            self._file.close()
