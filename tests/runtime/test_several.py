"""Several sources in one run, words at a time, and a source over again. Oracle: runs of one source each."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.__main__ import app
from runtime.sinks.masks import read_mask

PATTERN = "test://pattern?frames=5&size=64x48"
WORDS = ["--classes", "disc, sky", "--refine", "none", "--imgsz", "64"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_each_source_has_its_results(folder: Path) -> None:
    other = "test://pattern?frames=3&size=48x64"
    several = ["-s", f"left={PATTERN}", "-s", f"right={other}"]
    code, said = run(*several, "{source}/masks", "--stats", "{source}.jsonl", *WORDS)
    assert code == 0, said
    for name, source, count in (("left", PATTERN, 5), ("right", other, 3)):
        assert run(source, f"alone-{name}/masks", *WORDS)[0] == 0
        results = sorted((folder / name / "masks").glob("*.png"))
        assert len(results) == len((folder / f"{name}.jsonl").read_text().splitlines()) == count
        for path in results:
            assert (read_mask(path) == read_mask(folder / f"alone-{name}" / "masks" / path.name)).all()
        assert f"{name}: wrote {name}/masks" in said


def test_one_that_fails_leaves_the_others_alone(folder: Path) -> None:
    (folder / "bad").mkdir()
    (folder / "bad" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, said = run("-s", f"good={PATTERN}", "-s", "bad=bad", "{source}.json", *WORDS)
    assert code == 1
    assert "good: wrote good.json" in said
    assert len(json.loads((folder / "good.json").read_text())["images"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-s", "a=0", "-s", "a=1"], "two sources are named a"),
        (["-s", "0"], "expected NAME=SOURCE"),
        (["-s", "a/b=0"], "expected NAME=SOURCE"),
        (["-s", f"a={PATTERN}", "-s", f"b={PATTERN}", "out.mp4"], "cannot be for 2 sources"),
        (["-s", f"a={PATTERN}", "-s", f"b={PATTERN}", "display"], "on one page with --serve"),
        (["-s", f"a={PATTERN}", "-s", f"b={PATTERN}"], "a window shows one source"),
        ([], "no source given"),
        ([PATTERN, "o.mp4", "--classes-at", "car"], "expected a time and words"),
        ([PATTERN, "o.mp4", "--classes-at", "1s=🐕"], "does not know the word"),
        ([PATTERN, "masks/", "--classes-at", "1s=car"], "is read with one list of words"),
        ([PATTERN, "o.mp4", "--segment", "often"], "expected a number and a unit"),
        (["test://pattern", "o.mp4", "--loop"], "never ends"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_frame(arguments: list[str], message: str, folder: Path) -> None:
    code, said = run(*arguments, "--refine", "none")
    assert code == (1 if "--loop" in arguments else 2), said
    assert message in said
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_words_change_at_their_time(folder: Path) -> None:
    code, said = run(PATTERN, "o.jsonl", *WORDS, "--classes-at", "0.1s=sun, hill, tree")
    assert code == 0, said
    records = [json.loads(line) for line in (folder / "o.jsonl").read_text().splitlines()]
    words = [[word for word in record["coverage"] if word != "background"] for record in records]
    before = sum(record["time_s"] < 0.1 for record in records)
    assert 0 < before < 5
    assert words == [["disc", "sky"]] * before + [["sun", "hill", "tree"]] * (5 - before)
