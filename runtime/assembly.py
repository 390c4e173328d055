"""Opens all that a run needs, in an order in which whatever is refused is refused before anything is touched."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2

from runtime.arguments import for_source
from runtime.bundle import Bundle
from runtime.closing import Closing
from runtime.engines.choice import Choice
from runtime.engines.open import open_chosen
from runtime.engines.profile import MOST_WORDS
from runtime.errors import SinkNameError, UsageError
from runtime.job import Job
from runtime.overlay import Look
from runtime.segmenter import Segmenter
from runtime.sensors import Sensors
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sinks.video import VIDEOS
from runtime.sources.loop import LoopSource
from runtime.sources.open import open_source, open_sources
from runtime.sources.source import Source
from runtime.stream.monitor import Monitor
from runtime.stream.schedule import Change, Schedule
from runtime.stream.stats import StatsLog
from runtime.systemd import Notifier
from runtime.temporal import Temporal

if TYPE_CHECKING:
    from runtime.serve.server import Server


@dataclass(frozen=True)
class Address:
    """Where the page is served."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `8080`, `0.0.0.0:8080` or `[::1]:8080`.

        Raises:
            UsageError: it is no such text.
        """
        try:
            parts = urlsplit(f"//{text}" if ":" in text else f"//127.0.0.1:{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or port is None or parts.path or parts.username is not None:
            raise UsageError(
                f"--serve {text!r} given, expected a port, or a host and a port, like 8080 or 0.0.0.0:8080"
            )
        return cls(host, port)


@dataclass(frozen=True)
class Wishes:
    """What the command was asked for; each as its option says.

    Attributes:
        sources: texts of each source by its name, which is empty where there is one.
        read: files that the options name, which no result may replace.
    """

    sources: Mapping[str, Sequence[str]]
    sinks: Sequence[str]
    bundle: str
    classes: str | None
    background: str
    threshold: float | None
    size: int | None
    provider: str
    threads: int | None
    refine: str | None
    temporal: float
    keyframe: int
    look: Look
    loop: bool
    address: Address | None
    token: str | None
    segment_s: float | None
    stats: str | None
    overwrite: bool
    changes: Sequence[Change] = ()
    read: Sequence[Path] = field(default_factory=list)


class Assembly(Closing):
    """Sources, segmenters and sinks of a run, as jobs; and what belongs to all of them.

    Raises:
        TclEdgeError: something cannot be opened. Then nothing is written.

    Attributes:
        jobs: one a source.
        provider: where the network runs, and why there.
        notifier: tells systemd.
        address: of the page, None without one.
    """

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self.provider: Choice | None = None
        self.address: str | None = None
        self._server: Server | None = None
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()

    def _open(self, stack: ExitStack) -> None:
        wishes = self._wishes
        if wishes.segment_s is not None and not any(Path(name).suffix.lower() in VIDEOS for name in wishes.sinks):
            raise UsageError("--segment cuts videos into pieces, and no result is one: name one, like out.mp4")
        if wishes.threads is not None:
            cv2.setNumThreads(wishes.threads)
        # Somebody who looks at a page sees that a camera is not there yet.
        wait = wishes.address is None and len(wishes.sources) == 1
        sources = {name: stack.enter_context(self._source(texts, wait)) for name, texts in wishes.sources.items()}
        inputs = [path for source in sources.values() for path in source.inputs]
        outputs = Outputs([*inputs, *wishes.read], wishes.overwrite)
        segmenters = self._segmenters(stack, list(sources))
        self.notifier = stack.enter_context(Notifier.from_environment())
        sensors = Sensors()
        self.jobs = [
            self._job(stack, name, source, segmenters[name], Monitor(source, sensors.read), outputs)
            for name, source in sources.items()
        ]
        if wishes.address is not None:
            self._server = stack.enter_context(self._serve(wishes.address))
        for job in self.jobs if wishes.stats is not None else ():  # last: a refused run touches no log
            path = Path(for_source(wishes.stats or "", job.name))
            job.stats = stack.enter_context(StatsLog(path, outputs, job.monitor))

    def _source(self, texts: Sequence[str], wait: bool) -> Source:
        if self._wishes.loop:
            return LoopSource(lambda: open_sources(texts))
        return open_source(texts[0], wait=wait) if len(texts) == 1 else open_sources(texts)

    def _segmenters(self, stack: ExitStack, names: Sequence[str]) -> dict[str, Segmenter]:
        """Open one a source, for each has frames before of its own; several share an engine."""
        wishes, bundle, engine = self._wishes, Bundle.open(self._wishes.bundle), None
        if len(names) > 1:
            engine, self.provider = open_chosen(
                bundle, size=wishes.size, provider=wishes.provider, threads=wishes.threads, words=MOST_WORDS
            )
            stack.enter_context(engine)
        segmenters = {}
        for name in names:
            remembers = wishes.temporal or wishes.keyframe > 1
            segmenters[name] = stack.enter_context(
                Segmenter(
                    bundle,
                    wishes.classes,
                    background=wishes.background,
                    threshold=wishes.threshold,
                    provider=wishes.provider if engine is None else None,
                    threads=wishes.threads,
                    size=wishes.size,
                    refine=wishes.refine,  # type: ignore[arg-type] # checked by the segmenter
                    temporal=Temporal(weight=wishes.temporal, keyframe=wishes.keyframe) if remembers else None,
                    engine=engine,
                )
            )
            self.provider = self.provider or segmenters[name].provider
            self._try_words(segmenters[name])
        return segmenters

    def _try_words(self, segmenter: Segmenter) -> None:
        """Refuse words before the first frame that would be refused when their time comes."""
        for change in self._wishes.changes:
            segmenter.set_classes(change.words)
        if self._wishes.changes:
            segmenter.set_classes(self._wishes.classes)

    def _job(
        self, stack: ExitStack, name: str, source: Source, segmenter: Segmenter, monitor: Monitor, outputs: Outputs
    ) -> Job:
        wishes = self._wishes
        job = Job(name, source, segmenter, monitor, wishes.look, beat=self.notifier.beat)
        for text in wishes.sinks:
            sink = open_sink(for_source(text, name), source, segmenter.names, outputs, segment_s=wishes.segment_s)
            stack.callback(sink.close, complete=False)  # nothing more happens where the stream has closed it
            job.sinks.append(sink)
            if wishes.changes and sink.one_word_list:
                raise SinkNameError(f"{text} is read with one list of words, which --classes-at changes: use out.jsonl")
        job.schedule = Schedule(wishes.changes, segmenter.set_classes)
        job.paced = wishes.address is not None and not source.live and not wishes.sinks
        return job

    def _serve(self, address: Address) -> "Server":
        try:
            from runtime.serve.channel import Channel
            from runtime.serve.server import Server
        except ModuleNotFoundError as error:
            raise UsageError(
                f'--serve needs a package that is not here ({error.name}): `pip install "tcl-edge[serve]"`'
            ) from None
        channels: dict[str, Channel] = {}
        for job in self.jobs:
            channels[job.name] = Channel(job.segmenter, job.monitor.status)
            job.sinks.append(channels[job.name])
        return Server(channels, address.host, address.port, self._wishes.token)

    def begin(self) -> None:
        """Serve the page.

        Raises:
            UsageError: it cannot be served there.
        """
        if self._server is not None:
            self._server.start()
            self.address = self._server.address

    def close(self) -> None:
        """Close everything."""
        self._stack.close()
