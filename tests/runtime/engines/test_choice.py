"""Which provider `auto` takes. Oracle: what each was told to be; of the real ones, the CPU's masks."""

from collections.abc import Callable

import numpy as np
import pytest
from typer.testing import CliRunner

from runtime import Bundle, Engine, FakeEngine, Segmenter, open_engine
from runtime.__main__ import app
from runtime.engines.choice import Candidate, Choice, first_that_works
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.engines.open import open_chosen
from runtime.errors import BundleCorruptError, EngineError, EngineOptionError


def candidate(
    tiny: Bundle, provider: str, opened: list[str], raises: Exception | None = None, missing: str = ""
) -> Candidate:
    def open_() -> Engine:
        opened.append(provider)
        if raises is not None:
            raise raises
        return FakeEngine([np.zeros((2, 2), np.float32)], tiny.manifest.segmenter)

    return Candidate(provider, lambda: missing, open_)


def test_the_first_that_works_is_taken_and_the_rest_is_not_touched(tiny: Bundle) -> None:
    opened: list[str] = []
    candidates = [
        candidate(tiny, "a", opened, missing="not installed"),
        candidate(tiny, "b", opened, EngineError("no GPU:\n  error 100")),
        candidate(tiny, "c", opened, OSError()),
        candidate(tiny, "d", opened),
        candidate(tiny, "e", opened),
    ]
    engine, choice = first_that_works(candidates)
    assert opened == ["b", "c", "d"]
    assert isinstance(engine, FakeEngine)
    assert choice == Choice("d", (("a", "not installed"), ("b", "no GPU: error 100"), ("c", "OSError")))
    assert str(choice) == "d (a: not installed; b: no GPU: error 100; c: OSError)"
    assert str(Choice("cpu")) == "cpu"
    with pytest.raises(EngineError, match="a: not installed; b: no GPU"):
        first_that_works(candidates[:2])


@pytest.mark.parametrize("error", [EngineOptionError("size 3"), BundleCorruptError("damaged")])
def test_what_no_provider_can_do_is_an_error(tiny: Bundle, error: Exception) -> None:
    opened: list[str] = []
    with pytest.raises(type(error)):
        first_that_works([candidate(tiny, "a", opened, error), candidate(tiny, "b", opened)])
    assert opened == ["a"]
    with pytest.raises(EngineOptionError, match="network size 3"):
        open_engine(tiny, provider="auto", size=3)


def masks_of(error: float) -> Callable[[Bundle], FakeEngine]:
    """A GPU that gives the CPU's masks, up to an error."""

    def engine(tiny: Bundle) -> FakeEngine:
        cpu = OnnxRuntimeEngine(tiny.read(tiny.manifest.segmenter.file), tiny.manifest.segmenter, threads=1)
        return FakeEngine(lambda inputs: cpu.infer(inputs)["masks"] + np.float32(error), tiny.manifest.segmenter)

    return engine


@pytest.mark.parametrize(("error", "provider"), [(0.0, "cuda"), (0.1, "cpu"), (float("nan"), "cpu")])
def test_cuda_is_held_to_the_cpu(tiny: Bundle, error: float, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus: list[FakeEngine] = []

    def opened(*arguments: object, provider: str, threads: int | None) -> Engine:
        if provider == "cpu":
            return OnnxRuntimeEngine(*arguments, provider=provider, threads=1)  # type: ignore[arg-type]
        gpus.append(masks_of(error)(tiny))
        return gpus[-1]

    monkeypatch.setattr("runtime.engines.open.OnnxRuntimeEngine", opened)
    monkeypatch.setattr("runtime.engines.open._cuda_missing", lambda: "")
    monkeypatch.setattr("runtime.engines.open._tensorrt_missing", lambda: "not installed")
    engine, choice = open_chosen(tiny, size=64, words=4)
    assert choice.provider == provider
    assert (engine is gpus[0]) == (provider == "cuda")
    assert gpus[0]._closed == (provider == "cpu"), "a refused engine is closed"
    if provider == "cpu":
        assert "doctor" in dict(choice.refused)["cuda"] or "finite" in dict(choice.refused)["cuda"]


def test_the_segmenter_says_what_it_runs_on(tiny: Bundle) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with Segmenter(tiny, "car", provider="auto") as segmenter:
        assert segmenter.provider is not None
        assert segmenter.provider.provider == "cpu"
        assert ("cuda", "this ONNX Runtime has no CUDAExecutionProvider") in segmenter.provider.refused
    with Segmenter(tiny, "car") as segmenter:
        assert segmenter.provider == Choice("cpu")
    fake = FakeEngine([np.zeros((2, 2), np.float32)], tiny.manifest.segmenter)
    with Segmenter(tiny, "car", background=None, engine=fake) as segmenter:
        assert segmenter.provider is None


def test_the_command_says_what_it_runs_on() -> None:
    """One that is asked for by its name needs no telling."""
    arguments = ["test://pattern?frames=1&size=64x48", "--headless", "--classes", "car", "--refine", "none"]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert "provider: cpu (tensorrt: " in done.output or "provider: cuda" in done.output
    assert "provider:" not in CliRunner().invoke(app, [*arguments, "--provider", "cpu"]).output
