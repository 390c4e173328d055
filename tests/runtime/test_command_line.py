"""Habits from elsewhere, and options from a file. Oracle: what the message advises runs; the same given by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.__main__ import app
from runtime.command_line import ELSEWHERE

PATTERN = "test://pattern?frames=2&size=64x48"


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.mp4", "o.mp4", "--classes", "car", "person", "road", "--refine", "none"],
        ["a.mp4", "--classes", "car,", "person"],
        ["a.mp4", "o.mp4", "--classes=car", "person"],
        ["--refine", "none", "a.mp4", "--background", "wall", "floor"],
    ],
)
def test_words_without_quotes_are_no_folders(arguments: list[str], tmp_path: Path) -> None:
    code, said = run(*arguments)
    assert code == 2
    assert 'words are written --classes "car, person' in said or 'written --background "wall, floor"' in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--classes", "car", PATTERN, "out"],
        [PATTERN, "--classes", "car", "out/"],
        [PATTERN, "out", "--classes", "car", "--refine", "none"],
    ],
)
def test_results_after_words_are_results(arguments: list[str], tmp_path: Path) -> None:
    code, said = run(*arguments)
    assert code == 0, said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000000.png", "000001.png"]


def test_options_of_other_tools_are_answered_by_ours() -> None:
    known = {name for parameter in _parameters() for name in parameter.opts}
    for option, advice in ELSEWHERE.items():
        code, said = run(PATTERN, "o.mp4", option, "1")
        assert code == 2
        assert advice in said
        ours = {word.strip(",:;`") for word in advice.split() if word.startswith("--")} - {"--fp16"}
        assert ours <= known, advice


def _parameters():
    import typer

    return typer.main.get_command(app).params


def test_options_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "street.yaml").write_text(
        f"source: {PATTERN}\nto: [o.mp4, o]\nclasses: [disc, sky]\nbackground: none\nrefine: none\nlegend: false\n"
    )
    code, said = run("--config", "street.yaml", "--stats", "s.jsonl")
    assert code == 0, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o", "o.mp4", "s.jsonl", "street.yaml"]


def test_what_is_given_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "street.yaml").write_text(f"source: {PATTERN}\nheadless: true\nclasses: disc\nthreshold: 0.3\n")
    code, said = run("--config", "street.yaml", "--threshold", "7")
    assert code == 2
    assert "--threshold" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clases: car", "the key 'clases', which is no option: did you mean classes?"),
        ("car, road", "holds no options"),
        ("a: [", "is no YAML"),
        ("threshold:", "gives 'threshold' the value None"),
        ("classes: {car: 1}", "gives 'classes' the value {'car': 1}"),
        ("threshold: high", "--threshold"),
        ("classes: [car, on]", "gives 'classes' yes or no as YAML reads it (['car', True]"),
        ("classes: [car, null]", "gives 'classes' the value ['car', None]"),
        ("config: other.yaml", "which is no option"),
        (None, "cannot be read: No such file"),
    ],
)
def test_bad_files_are_explained(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "street.yaml").write_text(content)
    code, said = run(PATTERN, "--headless", "--config", "street.yaml")
    assert code == 2
    assert message in said


@pytest.mark.parametrize(
    ("words", "expected"), [("tcl-edge --prov", "--provider"), ("tcl-edge words --templ", "--template")]
)
def test_the_shell_completes_options(words: str, expected: str) -> None:
    """Oracle: the protocol that the installed script speaks with the shell."""
    env = {
        **os.environ,
        "_TCL_EDGE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    code = "import sys; sys.argv = ['tcl-edge']; from runtime.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert expected in done.stdout.split(), done.stderr
