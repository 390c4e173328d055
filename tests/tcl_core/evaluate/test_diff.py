"""Two measurements against each other: what was changed is named, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tcl_core.errors import ConfigError
from tcl_core.evaluate import __main__ as command
from tcl_core.evaluate.bootstrap import paired_difference
from tcl_core.evaluate.diff import compare, differences_of
from tcl_core.evaluate.evaluation import Evaluation, evaluate
from tcl_core.evaluate.folder import open_folder
from tcl_core.evaluate.records import Record, confusions, record_of
from tcl_core.evaluate.soft_masks import Segment, SoftMasks

CLASSES = "sky\ngrass\nroad\nbackground\n"
ABOUT: dict[str, Any] = {
    "model": "m",
    "protocol": {"window": 448, "pamr": "off"},
    "system": {"key_axis": "positions"},
    "files": {"a.pt": "1" * 64},
    "data_sha256": "2" * 64,
}


def seeded(seed: int) -> Segment:
    def segment(image: Image.Image) -> SoftMasks:
        generator = torch.Generator().manual_seed(seed + int(np.asarray(image, np.int64).sum()))
        return SoftMasks(
            torch.rand(3, image.height, image.width, generator=generator), torch.full((image.height, image.width), 0.4)
        )

    return segment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    (folder / "classes.txt").write_text(CLASSES)
    for number in range(4):
        Image.fromarray(random.integers(0, 256, (8, 9, 3), np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(random.choice(np.array([0, 1, 3, 255], np.uint8), (8, 9))).save(
            folder / "masks" / f"{number}.png"
        )
    return folder


@pytest.fixture(scope="module")
def evaluations(folder: Path) -> tuple[Evaluation, Evaluation]:
    benchmark = open_folder(folder)
    return evaluate(seeded(0), benchmark), evaluate(seeded(1), benchmark)


def saved(path: Path, record: dict[str, Any]) -> Record:
    path.write_text(json.dumps(record))
    return Record.load(path)


def test_a_record_keeps_the_counts(evaluations: tuple[Evaluation, Evaluation], tmp_path: Path) -> None:
    """Oracle: the counts themselves, picture by picture; a class that occurs nowhere stays zero."""
    for evaluation in evaluations:
        counts = saved(tmp_path / "a.json", record_of(evaluation, ABOUT)).counts
        for name in ("intersection", "prediction", "label"):
            assert torch.equal(getattr(counts, name), getattr(evaluation.counts, name))


def test_confusions_by_hand() -> None:
    """By hand: 6 of the 10 pixels of `b` are called `a`, and 1 of the 4 of `a` is called `b`; the rest is right."""
    confusion = torch.tensor([[3, 1, 0], [6, 4, 0], [0, 0, 0]])
    found = confusions(confusion, ("a", "b"))
    assert [(pair["truth"], pair["found"], pair["pixels"], pair["share_of_truth"]) for pair in found] == [
        ("b", "a", 6, 0.6),
        ("a", "b", 1, 0.25),
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda record: None, []),
        (lambda record: record["protocol"].update(window=224), [("settings", "protocol.window", 448, 224)]),
        (lambda record: record["system"].update(key_axis="c"), [("settings", "system.key_axis", "positions", "c")]),
        (lambda record: record["protocol"].pop("pamr"), [("settings", "protocol.pamr", "off", "not told")]),
        (lambda record: record["words"].update(sky=["sky", "air"]), [("names", "words.sky", ["sky"], ["sky", "air"])]),
        (lambda record: record["files"].update({"a.pt": "3"}), [("files", "files.a.pt", "1" * 64, "3")]),
        (lambda record: record.update(data_sha256="4"), [("files", "data_sha256", "2" * 64, "4")]),
        (lambda record: record.update(opencv="9"), [("versions", "opencv", None, "9")]),
        (
            lambda record: record["pictures"].pop(0),
            [("files", "pictures", "1 that the other lacks, 0 first", "0 that the other lacks")],
        ),
    ],
)
def test_exactly_what_was_changed_is_named(
    change: Callable[[dict[str, Any]], object],
    expected: list[tuple[Any, ...]],
    evaluations: tuple[Evaluation, Evaluation],
    tmp_path: Path,
) -> None:
    """Oracle: the change, made by hand."""
    record = record_of(evaluations[0], ABOUT)
    changed = json.loads(json.dumps(record))
    change(changed)
    found = differences_of(saved(tmp_path / "a.json", record), saved(tmp_path / "b.json", changed))
    expected = [
        (kind, name, record[name] if first is None else first, second) for kind, name, first, second in expected
    ]
    assert [(one.kind, one.name, one.first, one.second) for one in found] == expected


def test_results_are_compared_in_pairs(evaluations: tuple[Evaluation, Evaluation], tmp_path: Path) -> None:
    """Oracle: the paired bootstrap on counts that were never written, whatever the order of the pictures."""
    one, other = (record_of(evaluation, ABOUT) for evaluation in evaluations)
    other["pictures"].reverse()
    found = compare(saved(tmp_path / "a.json", one), saved(tmp_path / "b.json", other))
    assert found.gain == paired_difference(evaluations[1].counts, evaluations[0].counts)
    assert (found.num_common, found.differences) == (4, ())
    before = dict(zip(one["classes"], evaluations[0].counts.summed().iou.tolist(), strict=True))
    assert all(row[1] == pytest.approx(before[row[0]]) for row in found.classes)


def test_other_classes_are_not_subtracted(evaluations: tuple[Evaluation, Evaluation], tmp_path: Path) -> None:
    record = record_of(evaluations[0], ABOUT)
    renamed = record | {"classes": ["air", *record["classes"][1:]]}
    assert compare(saved(tmp_path / "a.json", record), saved(tmp_path / "b.json", renamed)).gain is None


def test_the_command(folder: Path, tmp_path: Path) -> None:
    """Oracle: the option that was changed between two runs of the shipped model; nothing else is told."""
    for name, option in (("a", "--no-pamr"), ("b", "--pamr")):
        arguments = ["tiny", "--data", str(folder), "--report", str(tmp_path / name), "--pictures", "0", option]
        result = CliRunner().invoke(command.app, arguments)
        assert result.exit_code == 0, result.output
    result = CliRunner().invoke(command.app, ["diff", *(str(tmp_path / name / "report.json") for name in "ab")])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[lines.index("settings:") + 1].startswith("  protocol.pamr: off -> runtime")
    changed = [line.split(":")[0].strip() for line in lines[1 : lines.index("names: the same")]]
    assert set(changed) <= {"protocol.pamr", "protocol.threshold"}
    assert {"names: the same", "files: the same", "versions: the same"} <= set(lines)
    assert "on 4 common pictures" in result.output


def test_what_cannot_be_compared(evaluations: tuple[Evaluation, Evaluation], tmp_path: Path) -> None:
    record = record_of(evaluations[0], ABOUT)
    path = tmp_path / "a.json"
    with pytest.raises(ConfigError, match=r"a\.json cannot be read"):
        Record.load(path)
    path.write_text("<html>")
    with pytest.raises(ConfigError, match=r"a\.json is no JSON"):
        Record.load(path)
    for broken in ([], {"pictures": []}, record | {"pictures": [{"name": "0"}]}):
        path.write_text(json.dumps(broken))
        with pytest.raises(ConfigError, match=r"a\.json is no measurement with counts"):
            Record.load(path)
    path.write_text('{"results": []}')
    with pytest.raises(ConfigError, match="is a whole table: name one of its measurements"):
        Record.load(path)
    strange = record | {"pictures": [picture | {"name": "x"} for picture in record["pictures"][:1]]}
    with pytest.raises(ConfigError, match="share no picture"):
        compare(saved(tmp_path / "b.json", record), saved(path, strange))
