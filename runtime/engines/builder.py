"""A graph becomes a TensorRT engine, on the device that will run it.

Written for TensorRT 10 and 11, whose difference is small: from 11 on every network is strongly typed, in 10 that is
asked for. So the precision is the graph's own in both. TensorRT for RTX has the same interface.
"""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from runtime.bundle import GraphSpec
from runtime.engines.profile import Profile
from runtime.errors import EngineError

OLDEST = 10
"""Major version of TensorRT. Older ones cannot build strongly typed networks."""


class BuildProgress(Protocol):
    """Is told how a build goes on, from threads of TensorRT."""

    def begin(self, phase: str, parent: str | None, steps: int) -> None:
        """Tell that a phase of so many steps begins, within another one."""

    def step(self, phase: str, step: int) -> None:
        """Tell that a step of a phase is done."""

    def finish(self, phase: str) -> None:
        """Tell that a phase is over."""


class ProgressBars:
    """A bar for each phase that is going on; nothing where nobody watches.

    Args:
        console: to draw on.
    """

    def __init__(self, console: Console) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._depths: dict[str | None, int] = {None: -1}

    def __enter__(self) -> "ProgressBars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, phase: str, parent: str | None, steps: int) -> None:
        """Add a bar."""
        self._depths[phase] = self._depths.get(parent, -1) + 1
        self._tasks[phase] = self._progress.add_task("  " * self._depths[phase] + phase, total=steps)

    def step(self, phase: str, step: int) -> None:
        """Move a bar on."""
        if phase in self._tasks:
            self._progress.update(self._tasks[phase], completed=step + 1)

    def finish(self, phase: str) -> None:
        """Take a bar away."""
        if phase in self._tasks:
            self._progress.remove_task(self._tasks.pop(phase))


@dataclass(frozen=True)
class Built:
    """A serialised engine, and the timing cache that the next build starts from (empty where there is none)."""

    plan: bytes
    timing: bytes


def check_version(trt: Any) -> None:
    """Check that this TensorRT can build strongly typed networks.

    Raises:
        EngineError: it is too old.
    """
    is_rtx = str(trt.__name__).startswith("tensorrt_rtx")
    if not is_rtx and int(trt.__version__.split(".")[0]) < OLDEST:
        raise EngineError(
            f"TensorRT {trt.__version__} is installed, expected {OLDEST} or later: on a Jetson, install JetPack 6 or 7"
        )


def build_plan(
    trt: Any, graph: bytes, spec: GraphSpec, profile: Profile, *, progress: BuildProgress, timing: bytes | None = None
) -> Built:
    """Build an engine. Ctrl-C ends the build at its next step and raises KeyboardInterrupt.

    Args:
        trt: the module `tensorrt`.
        graph: bytes of a hashed ONNX file.
        spec: its inputs and outputs.
        profile: the sizes that the engine will take.
        progress: told how it goes on.
        timing: timing cache of an earlier build, maybe empty; None to do without one.

    Raises:
        EngineError: TensorRT is too old, cannot parse the graph, or cannot build it.
    """
    check_version(trt)
    outcome: list[Built | BaseException] = []
    stop = threading.Event()

    def work() -> None:
        try:
            outcome.append(_build(trt, graph, spec, profile, progress, stop, timing))
        except BaseException as error:  # raised again where the caller waits
            # The frames hold TensorRT's builder. Left to the garbage collector, it could be destroyed while TensorRT
            # calls the log of a later build, with the lock taken that its destruction needs.
            traceback.clear_frames(error.__traceback__)
            outcome.append(error)

    # In a thread of its own, because Python acts on Ctrl-C only outside of TensorRT's call.
    builder = threading.Thread(target=work, name="TensorRT builder", daemon=True)
    builder.start()
    try:
        while builder.is_alive():
            builder.join(0.1)
    except KeyboardInterrupt:
        stop.set()
        builder.join()
        raise
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _build(
    trt: Any,
    graph: bytes,
    spec: GraphSpec,
    profile: Profile,
    progress: BuildProgress,
    stop: threading.Event,
    timing: bytes | None,
) -> Built:
    logger = _error_log(trt)
    builder = trt.Builder(logger)
    if builder is None:
        raise EngineError(f"TensorRT {trt.__version__} does not start: {logger.said()}")
    network = _parse(trt, builder, logger, graph, spec)
    config = builder.create_builder_config()
    config.add_optimization_profile(_optimization_profile(builder, spec, profile))
    config.progress_monitor = _monitor(trt, progress, stop)
    if timing is not None:
        _use_timing(config, timing)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        if stop.is_set():
            raise KeyboardInterrupt
        raise EngineError(f"TensorRT {trt.__version__} cannot build {spec.file}: {logger.said()}")
    cache = None if timing is None else config.get_timing_cache()
    return Built(bytes(plan), b"" if cache is None else bytes(cache.serialize()))


def _use_timing(config: Any, timing: bytes) -> None:
    """Start from known timings; from none where they are of another version or device, which TensorRT refuses."""
    for known in (timing, b""):
        cache = config.create_timing_cache(known)
        if cache is not None and config.set_timing_cache(cache, False):
            return


def _parse(trt: Any, builder: Any, logger: Any, graph: bytes, spec: GraphSpec) -> Any:
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        said = "; ".join(f"{error.node_operator()} {error.node_name()}: {error.desc()}" for error in errors)
        raise EngineError(f"TensorRT {trt.__version__} cannot parse {spec.file}: {said or logger.said()}")
    names = {network.get_input(i).name for i in range(network.num_inputs)}
    if names != set(spec.inputs):
        raise EngineError(f"{spec.file} takes {sorted(names)}, its manifest says {sorted(spec.inputs)}: export again")
    return network


def _optimization_profile(builder: Any, spec: GraphSpec, profile: Profile) -> Any:
    given = builder.create_optimization_profile()
    for name, (least, usual, most) in profile.shapes(spec).items():
        given.set_shape(name, least, usual, most)
    return given


def _error_log(trt: Any) -> Any:
    class ErrorLog(trt.ILogger):  # type: ignore[misc] # the module is passed in
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

        def said(self) -> str:
            return "; ".join(self.errors[-3:]) or "without a reason"

    return ErrorLog()


def _monitor(trt: Any, progress: BuildProgress, stop: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            _quietly(lambda: progress.begin(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            _quietly(lambda: progress.step(phase_name, step))
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            _quietly(lambda: progress.finish(phase_name))

    return Monitor()


def _quietly(tell: Callable[[], None]) -> None:
    """A bar that cannot be drawn must not end a build: an exception would cross TensorRT's own threads."""
    try:
        tell()
    except Exception:
        return
