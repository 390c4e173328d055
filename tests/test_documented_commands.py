"""Every command line of README and docs. Oracle: it runs, as it stands there, one page in one folder after the other.

What needs a network, a camera, a GPU, foreign weights or hours is not run, for the reason that `NOT_RUN` gives, but
read by the command line itself: every option has to exist, and to take that value.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from export import triton
from export.__main__ import app as export_app
from runtime.__main__ import app as stream_app
from runtime.sources.open import SHIPPED_CLIP
from runtime.tools import TOOLS, tools
from tcl_core import predict
from tcl_core.align import __main__ as align
from tcl_core.align import pack
from tcl_core.evaluate import __main__ as evaluate
from tcl_core.train import __main__ as train

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
APPS = {
    "runtime": stream_app,
    "export": export_app,
    "export.triton": triton.app,
    "tcl_core.align": align.app,
    "tcl_core.evaluate": evaluate.app,
    "tcl_core.pack": pack.app,
    "tcl_core.predict": predict.app,
    "tcl_core.train": train.app,
}

ELSEWHERE = {
    "apt-get": "changes the system",
    "cat": "a file of Jetson's system",
    "for": "the shell's",
    "git": "needs a network",
    "kill": "an example of what may happen",
    "make": "builds environments",
    "mkdir": "the shell's",
    "npm": "needs a network",
    "pip": "installs",
    "python3": "makes an environment",
    "sudo": "changes the system",
    "tail": "the shell's",
    "tests/csrc/campaign": "takes hours",
    "trtexec": "NVIDIA's",
    "wget": "needs a network",
    ".": "the shell's",
}
"""Programs that are not ours, and why they are not run."""

NOT_RUN = {
    "tcl-edge 0 ": "needs a camera",
    "tcl-edge --install-completion": "changes the user's shell",
    "tcl-edge ros2:/": "needs a robot",
    "tcl-edge rtsp://": "needs a camera",
    "tcl-edge words": "names a command",
    "python -m runtime": "names a command",
    "python -m runtime 0 ": "needs a camera",
    "python -m runtime csi://": "needs a Jetson's camera",
    "python -m runtime 'gst:rtspsrc ": "needs a Jetson",
    "python -m runtime benchmark street.tclb": "a bundle that the page exports elsewhere",
    "python -m runtime engine ": "needs a GPU",
    "python -m runtime words --live ": "needs a stream that runs; tests/runtime/serve/test_words_command.py has one",
    "tcl-edge words --live ": "the same",
    "python -m export --model ViT-B-16.pt ": "foreign weights",
    "python -m export --model MobileCLIP-S1 ": "foreign weights",
    "python -m export.triton NAME.tclb DIR": "a form; it is run in tests/export/test_triton.py",
    "python -m tcl_core.align ": "takes half an hour, and other packages",
    "python -m tcl_core.evaluate": "names a command",
    "python -m tcl_core.evaluate convert ": "data that is not shipped",
    "python -m tcl_core.evaluate data ": "data that is not shipped",
    "python -m tcl_core.evaluate diff ": "results of a table",
    "python -m tcl_core.evaluate table ": "foreign weights, and data that is not shipped",
    "python -m tcl_core.evaluate ViT-B-16.pt ": "foreign weights",
    "python -m tcl_core.evaluate tiny --data DIR ": "data that is not shipped",
    "python -m tcl_core.evaluate tiny --no-pamr --data out/held_out ": "data that is not shipped",
    "python -m tcl_core.pack ": "trainings of hours",
    "python -m tcl_core.predict ": "foreign weights",
    "python -m tcl_core.train": "names a command",
    "python -m tcl_core.train CONFIG.yaml ": "a form",
    "python -m tcl_core.train configs/tiny.yaml ": "data that is not shipped",
    "python -m pytest ": "a test, which this would nest",
    "python benchmarks/": "measures for minutes",
    "python examples/robot_loop.py": "run in tests/examples/test_robot_loop.py",
    "python examples/": "data that is not shipped",
    "torchrun ": "several processes, and data that is not shipped",
}
"""Ours that are not run, by how they begin (those without a space at the end: the whole line), and why."""

FEW_STEPS = {
    "python -m tcl_core.train configs/toy.yaml": (
        "steps=2 model.toy_steps=2 validation= tensorboard=false data.sources='[{kind: scenes, count: 64, size: 48}]'"
    ),
    "python -m runtime benchmark": "--sizes 64 --words 2 --frames 1",
    "python -m tcl_core.evaluate tiny ": "--size 64 --pictures 1",
    "python -m export --model out/toy/model": "",  # as it stands: a decoder, every rewriting, free sizes
    "python -m export ": "--rewrite exact --imgsz 64,96",  # traced once for all; in half the time for a fixed size
}
"""What is added, so that a line takes seconds."""


def lines_of(page: Path) -> list[str]:
    """Every line of a block of commands, then everything in backticks."""
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in fences if language in ("", "bash", "sh")]
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = r"(?:^    \S.*\n?)+"
    blocks += re.findall(indented, text, flags=re.MULTILINE)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    lines += re.findall(r"`([^`]+)`", re.sub(indented, "", text, flags=re.MULTILINE))
    return [" ".join(re.sub(r"\s{2,}#.*", "", line).split()) for line in lines]


def commands_of(page: Path) -> list[str]:
    programs = {"python", "tcl-edge", "torchrun", *ELSEWHERE}
    found = [line for line in lines_of(page) if line and line.split()[0] in programs]
    return list(dict.fromkeys(line for line in found if " " in line or line.startswith(("tcl-edge", "python"))))


def reason_not_to_run(command: str) -> str | None:
    if command.split()[0] in ELSEWHERE:
        return ELSEWHERE[command.split()[0]]
    beginnings = [b for b in NOT_RUN if (command.startswith(b) if b.endswith((" ", "/")) else command == b)]
    return NOT_RUN[max(beginnings, key=len)] if beginnings else None


EVERY = [(page, command) for page in PAGES for command in commands_of(page)]
READ = sorted({command for _, command in EVERY if reason_not_to_run(command) and command.split()[0] not in ELSEWHERE})


def test_the_tables_hold_what_is_there() -> None:
    assert len(EVERY) > 60
    used = {command.split()[0] for _, command in EVERY}
    assert set(ELSEWHERE) <= used
    for beginning in NOT_RUN:
        assert any(command.startswith(beginning.rstrip()) for command in READ), f"no page has {beginning!r}"


@dataclass(frozen=True)
class Call:
    """A command line of ours: its application and the arguments."""

    app: typer.Typer
    arguments: list[str]


def call_of(command: str) -> Call:
    words = shlex.split(command)
    if words[0] == "torchrun":
        words = ["python", *words[words.index("-m") :]]
    if words[0] == "tcl-edge":
        words = ["python", "-m", "runtime", *words[1:]]
    assert words[:2] == ["python", "-m"], command
    module, *arguments = words[2:]
    return Call(tools if module == "runtime" and arguments[:1] and arguments[0] in TOOLS else APPS[module], arguments)


@pytest.mark.parametrize("command", READ)
def test_what_is_not_run_is_understood(command: str) -> None:
    """Oracle: the command line's own parser; for scripts, the options that they add to theirs."""
    if command.startswith(("python benchmarks/", "python examples/", "python -m pytest")):
        words = shlex.split(re.sub(r"[\[\]]", "", command))
        if words[1] == "-m":
            assert (ROOT / words[-1]).is_file()
            return
        source = (ROOT / words[1]).read_text(encoding="utf-8") + (ROOT / "benchmarks/timing.py").read_text()
        for option in (word for word in words if word.startswith("--")):
            assert option in source or option[2:] in source, f"{words[1]} has no option {option}"
        return
    call = call_of(command)
    if len(call.arguments) < 2 or "CONFIG.yaml" in command:  # the name of a command, or the form of all its lines
        return
    for path in (word for word in call.arguments if word.startswith("configs/")):
        assert (ROOT / path).is_file()
    parser = typer.main.get_command(call.app)
    context = parser.make_context(command, call.arguments, resilient_parsing="--install-completion" in command)
    if call.app in (tools, evaluate.app):
        arguments = parser.named(call.arguments) if call.app is evaluate.app else call.arguments
        name, tool, rest = parser.resolve_command(context, arguments)
        tool.make_context(name, rest)


@pytest.fixture
def folder(tmp_path: Path, cache_home: Path, operators_read_once: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages take for granted: a short video, photographs, words, an evaluation set, the checkout's recipes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))  # what another page traced
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    capture = cv2.VideoCapture(str(SHIPPED_CLIP))
    picture = cv2.resize(capture.read()[1], (160, 90))
    shape = (picture.shape[1], picture.shape[0])
    writer = cv2.VideoWriter("street.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, shape)
    for _ in range(3):
        writer.write(picture)
    writer.release()
    for name in ("photos/a.jpg", "photos/b.jpg", "my_pictures/images/a.jpg", "a.jpg", "b.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, picture)
    Path("my_pictures/masks").mkdir()
    cv2.imwrite("my_pictures/masks/a.png", np.zeros(picture.shape[:2], np.uint8))
    Path("my_pictures/classes.txt").write_text("car\nroad\n")
    Path("words.txt").write_text("car\nroad\n")
    run('python -m runtime words tiny --classes "sofa, lamp" --output home.safetensors')
    return tmp_path


def run(command: str) -> None:
    """Run a command line as a shell would."""
    added = next((more for beginning, more in FEW_STEPS.items() if command.startswith(beginning)), "")
    call = call_of(f"{command} {added}".replace("test://cars", "street.mp4"))
    arguments = [
        path for word in call.arguments for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    done = CliRunner().invoke(call.app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0 or "doctor" in command, f"{command}\n{done.output}\n{done.exception!r}"
    assert done.exception is None or isinstance(done.exception, SystemExit), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_says_runs(page: Path, folder: Path) -> None:
    """Training comes first: what it writes, pages name before they say how."""
    commands = [command for command in commands_of(page) if reason_not_to_run(command) is None]
    for command in sorted(commands, key=lambda command: "tcl_core.train" not in command):
        run(command)
