"""The command. Oracles: its own JSON read again, the command line that it prints, a real signal."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from runtime import Bundle, Engine, FakeEngine
from runtime.benchmark.command import command_line, plan_of
from runtime.benchmark.command import run as run_benchmark
from runtime.benchmark.machine import describe_machine
from runtime.benchmark.measure import WARM_UP, Plan
from runtime.engines.base import Arrays
from runtime.engines.choice import Choice
from runtime.errors import UsageError
from runtime.tools import tools

REAL = ("--sizes", "64", "--words", "2,3", "--frames", "2", "--threads", "1", "--source", "test://pattern?size=64x48")


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(tools, ["benchmark", *arguments], env={"COLUMNS": "80"})
    return done.exit_code, done.output


def test_tiny_is_measured(tmp_path: Path, tiny: Bundle) -> None:
    output = tmp_path / "b.json"
    code, said = run("tiny", *REAL, "--providers", "cpu", "--refine", "none", "--json", str(output))
    assert code == 0, said
    report = json.loads(output.read_text())
    assert report["complete"] is True
    assert report["bundle"]["segmenter_sha256"] == tiny.manifest.files["segmenter.onnx"].sha256
    assert (report["frame"]["height"], report["frame"]["width"], report["frame"]["different"]) == (48, 64, 5)
    assert report["machine"]["cores"] == len(os.sched_getaffinity(0))
    first, second = report["results"]
    assert (first["asked"]["words"], second["asked"]["words"]) == (2, 3)
    assert second["rows"] == first["rows"] + 1
    for result in report["results"]:
        assert (result["provider"], result["refinement"], result["error"]) == ("cpu", "none", "")
        pre, infer, post, total = (result["ms"][stage]["p50"] for stage in ("pre", "infer", "post", "total"))
        assert min(pre, infer, post) > 0
        assert total >= max(pre, infer, post)
        for percentiles in result["ms"].values():
            assert percentiles["p50"] <= percentiles["p90"] <= percentiles["p99"]
        assert f"{result['fps']:.1f}" in said
    again = shlex.split(report["command"])
    assert again[:5] == ["python", "-m", "runtime", "benchmark", "tiny"]
    code, said = run(*again[4:], "--json", str(output))
    assert (code, "exists: choose another name" in " ".join(said.split())) == (2, True)


def test_json_on_standard_output_is_nothing_but_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runtime", "benchmark", *REAL, "--words", "2", "--providers", "cpu", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["complete"] is True
    assert "p99" in done.stderr


def test_a_provider_that_is_not_here_fails_and_the_rest_is_measured() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    code, said = run(*REAL, "--providers", "cuda,auto", "--refine", "none")
    assert code == 1
    assert "failed: cuda, 2 of 4 combinations: provider 'cuda' was asked for" in " ".join(said.split())
    assert "provider: cpu (" in said


def test_what_is_measured_when_it_is_interrupted_is_printed_and_written(
    tmp_path: Path, tiny: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in the midst of the second combination."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    calls: list[None] = []

    def answer(inputs: Arrays) -> np.ndarray:
        calls.append(None)
        if len(calls) == WARM_UP + 4 + 2:
            signal.raise_signal(signal.SIGINT)
        return np.zeros((1, len(inputs["text"]), 3, 4), np.float32)

    def opened(*_: object, **__: object) -> tuple[Engine, Choice]:
        return FakeEngine(answer, tiny.manifest.segmenter), Choice("cpu")

    output, plan = tmp_path / "b.json", Plan(("cpu",), sizes=(64,), words=(2, 3), frames=4)
    try:
        with pytest.raises(KeyboardInterrupt):
            told = Console(stderr=True)
            run_benchmark("tiny", plan, source="test://pattern", output=str(output), console=told, open_engine=opened)
    finally:
        signal.signal(signal.SIGINT, before)
    report = json.loads(output.read_text())
    assert report["complete"] is False
    assert [result["asked"]["words"] for result in report["results"]] == [2]
    said = capsys.readouterr()
    assert "p99" in said.out
    assert "stopped after 1 of 2 combinations" in said.err


def test_the_command_line_is_the_plan() -> None:
    """Oracle: read again, it is the same plan."""
    plan = Plan(["cpu", "auto"], (None, 2), (64, None), (None, "edge"), [3, 7], 9)
    _, _, _, _, bundle, *options = shlex.split(command_line("my bundle.tclb", "a b.mp4", plan))
    assert bundle == "my bundle.tclb"
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert given.pop("--source") == "a b.mp4"
    read = {name.removeprefix("--"): value for name, value in given.items()}
    frames = int(read.pop("frames"))
    assert plan_of(**read, frames=frames).cases() == plan.cases()


@pytest.mark.parametrize(
    ("option", "value"),
    [("words", "many"), ("words", "default"), ("sizes", "64;128"), ("threads", "-1"), ("sizes", "")],
)
def test_lists_that_cannot_be_read_are_explained(option: str, value: str) -> None:
    options = {"sizes": "64", "words": "2", "providers": "cpu", "threads": "1", "refine": "none", option: value}
    with pytest.raises(UsageError, match=f"--{option} '{re.escape(value)}' given, expected numbers like"):
        plan_of(**options, frames=1)


def test_a_board_says_its_name(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:        7802880 kB\n")
    machine = describe_machine(tmp_path)
    assert (machine.board, machine.processor) == (
        "NVIDIA Jetson Orin Nano Developer Kit",
        "ARMv8 Processor rev 1 (v8l)",
    )
    assert machine.memory_gb == 8.0
    assert describe_machine(tmp_path / "nothing").board == ""
