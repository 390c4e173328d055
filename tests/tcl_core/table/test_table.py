"""The table from the command line: all rows on miniatures, killed and resumed, with weights missing and wrong."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from tcl_core.baselines.maskclip import PLAIN, maskclip
from tcl_core.evaluate import __main__ as command
from tcl_core.evaluate.evaluation import evaluate
from tcl_core.evaluate.layouts import KEYS, LAYOUTS, open_benchmark
from tcl_core.evaluate.published import AVERAGE, published
from tcl_core.evaluate.records import Record
from tcl_core.evaluate.runs_page import choose
from tcl_core.evaluate.sliding import slide
from tcl_core.evaluate.soft_masks import SoftMasks
from tcl_core.table import run as running
from tcl_core.table.baseline_rows import UNIFIED

SMALL = ("--set", "short_side=32", "--set", "window=32", "--set", "stride=16")
PAPER = ("GroupViT (YFCC)", "GroupViT (RedCaps)", "MaskCLIP†", "MaskCLIP", "ReCo", "TCL", "TCL without PAMR")


def table(weights: Path, data: Path, out: Path, *options: str) -> Result:
    paths = ("--weights", str(weights), "--data", str(data), "--report", str(out))
    return CliRunner().invoke(command.app, ["table", *paths, *options])


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def whole(small_weights: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Every row, on a benchmark with a background and one without."""
    out = tmp_path_factory.mktemp("table")
    return out, table(small_weights, small_data, out, "--benchmark", "voc", "--benchmark", "cityscapes", *SMALL)


class TestWholeTable:
    def test_every_row_is_measured(self, whole: tuple[Path, Result]) -> None:
        out, result = whole
        assert result.exit_code == 0, result.output
        summary = json.loads((out / "report.json").read_text())
        measured = [(entry["row"], entry["benchmark"]) for entry in summary["results"] if "mean_iou" in entry]
        assert measured == [(row, key) for row in (*PAPER, "tiny") for key in ("voc", "cityscapes")]
        assert {entry["row"]: entry["paper_mean_iou_percent"] for entry in summary["results"]}["TCL"] == 24.0
        assert all(value is None for value in summary["averages_percent"].values())  # of two benchmarks: none
        for entry in summary["results"]:
            record = Record.load(out / entry["file"])
            assert record.figures["protocol"]["short_side"] == 32
            assert record.figures["fingerprint"] == entry["fingerprint"]

    def test_figures_are_those_of_the_network_alone(
        self, whole: tuple[Path, Result], small_weights: Path, small_data: Path
    ) -> None:
        """Oracle: MaskCLIP† by hand, without the table: cosines of windows, averaged; the largest wins."""
        benchmark = open_benchmark(small_data, "cityscapes")
        network = maskclip(
            str(small_weights / "ViT-B-16.pt"), [word.name for word in benchmark.words], refinement=PLAIN
        )
        protocol = replace(UNIFIED, short_side=32, window=32, stride=16)

        def segment(image: Image.Image) -> SoftMasks:
            scores = slide(image, network, protocol)
            return SoftMasks(scores, torch.full(scores.shape[1:], -1.0))

        expected = evaluate(segment, benchmark).counts
        counts = Record.load(whole[0] / "results" / "maskclip_plain" / "cityscapes.json").counts
        assert torch.equal(counts.label, expected.label)
        assert (counts.prediction - expected.prediction).abs().sum() <= 4  # a softmax may merge what nearly ties

    def test_label_maps_are_what_was_counted(self, whole: tuple[Path, Result], small_data: Path) -> None:
        """Oracle: counting the maps that were kept against the masks."""
        from tcl_core.evaluate.runs_page import Run, labels_of

        benchmark = open_benchmark(small_data, "voc")
        record = Record.load(whole[0] / "results" / "reco" / "voc.json")
        run = Run("ReCo", record, whole[0] / "results" / "reco" / "voc.zip")
        for index, picture in enumerate(benchmark.pictures):
            truth, labels = benchmark.truth(picture), labels_of(run, picture.name)
            right = [int(((truth == label) & (labels == label)).sum()) for label in range(len(benchmark.names))]
            assert record.counts.intersection[index].tolist() == right

    def test_the_page(self, whole: tuple[Path, Result]) -> None:
        """Nothing is loaded from elsewhere; every system, setting and note is told, the paper's figures beside."""
        page = (whole[0] / "report.html").read_text()
        assert not re.search(r'(src|href)\s*=\s*"(?!data:)|url\(|<script|@import', page)
        for name in (*PAPER, "tiny"):
            assert page.count(name) >= 4
        assert "(55.0)" in page
        assert "background_rule = softmax(100 cosine), ours" in page
        assert "are called" in page
        assert "Trident" in page  # what is doubtful about ReCo's figures
        assert page.count("data:image/jpeg;base64,") >= 2 * (2 + len(PAPER) + 1)
        assert "most different" in page
        assert "voc: 3 pictures of 1449" in page  # so nothing is averaged, or held against the paper
        assert str(Path(__file__).parent) not in page

    def test_a_row_for_a_readme(self, whole: tuple[Path, Result]) -> None:
        lines = [line for line in (whole[0] / "table.md").read_text().splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1
        own = json.loads((whole[0] / "results" / "tcl" / "voc.json").read_text())["benchmark"]["mean_iou"]
        (row,) = (line for line in lines if line.startswith("| TCL |"))
        assert row.startswith(f"| TCL | {round(100 * own, 2):.1f} (55.0) |")
        assert row.endswith("| – (37.2) |")

    def test_two_results_are_compared(self, whole: tuple[Path, Result]) -> None:
        """Oracle: what the rows TCL and TCL without PAMR differ in."""
        files = [str(whole[0] / "results" / slug / "voc.json") for slug in ("tcl", "tcl_without_pamr")]
        result = CliRunner().invoke(command.app, ["diff", *files])
        lines = result.output.splitlines()
        assert [line.split(":")[0].strip() for line in lines[1 : lines.index("names: the same")]] == [
            "protocol.threshold",
            "protocol.pamr",
        ]


def copied(weights: Path, to: Path, *names: str) -> Path:
    to.mkdir()
    for name in names:
        (to / name).symlink_to(weights / name)
    return to


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "seconds_per_picture"}


CITY = ("--benchmark", "cityscapes", "--benchmark", "voc20", "--row", "MaskCLIP†", "--pictures", "0", *SMALL)
CITY = (*CITY, "--set", "templates=simple", "--limit", "2")


def test_a_killed_run_goes_on(
    small_weights: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: a run that was never stopped; what was there is not measured again, and the same to the last byte."""
    table(small_weights, small_data, tmp_path / "whole", *CITY)
    measured, real = [], running.evaluate

    def dying(segment: Any, benchmark: Any, *rest: Any) -> Any:
        measured.append(benchmark.name)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(segment, benchmark, *rest)

    monkeypatch.setattr(running, "evaluate", dying)
    assert table(small_weights, small_data, tmp_path / "out", *CITY).exit_code == 130
    first = tmp_path / "out" / "results" / "maskclip_plain" / "cityscapes.json"
    before = first.read_bytes()
    assert not first.with_name("voc20.json").exists()
    assert table(small_weights, small_data, tmp_path / "out", *CITY).exit_code == 0
    assert measured == ["cityscapes", "voc20", "voc20"]
    assert first.read_bytes() == before
    for key in ("cityscapes", "voc20"):
        one, other = (
            json.loads((tmp_path / out / "results" / "maskclip_plain" / f"{key}.json").read_text())
            for out in ("whole", "out")
        )
        assert without_time(one) == without_time(other)

    first.with_suffix(".zip").write_bytes(b"damaged")
    assert table(small_weights, small_data, tmp_path / "out", *CITY).exit_code == 0
    assert measured[3:] == ["cityscapes"]
    result = table(small_weights, small_data, tmp_path / "out", *CITY, "--set", "stride=32")
    assert result.exit_code == 2
    assert "cityscapes.json was measured with other protocol" in flat(result.output)
    assert table(small_weights, small_data, tmp_path / "out", *CITY, "--set", "stride=32", "--overwrite").exit_code == 0
    assert measured[4:] == ["cityscapes", "voc20"]


def test_what_is_missing_is_told(small_data: Path, tmp_path: Path) -> None:
    """Oracle: the documented names, and where their authors put them; of data what `evaluate data` says."""
    (tmp_path / "weights").mkdir()
    data = tmp_path / "data"
    shutil.copytree(small_data / "ade", data / "ade")
    result = table(tmp_path / "weights", data, tmp_path / "out", "--pictures", "0", *SMALL)
    assert result.exit_code == 0, result.output
    told = flat(result.output)
    for line in (
        "GroupViT (YFCC) is not measured: no group_vit_gcc_yfcc_30e-879422e0.pth, expected from",
        "MaskCLIP† is not measured: no ViT-B-16.pt, expected from OpenAI's CLIP",
        "ReCo is not measured: no deit_s_sin.pth",
        "TCL is not measured: no ViT-B-16.pt",
        "no tcl.pth, expected from its authors (the releases of github.com/kakaobrain/tcl)",
        f"voc is not there: expected {LAYOUTS['voc'].obtain}",
    ):
        assert line in told
    summary = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [entry["row"] for entry in summary["results"] if "missing" not in entry] == ["tiny"]
    assert set(summary["missing_benchmarks"]) == set(KEYS) - {"ade20k"}


def test_wrong_weights_are_refused(small_weights: Path, small_data: Path, tmp_path: Path) -> None:
    """RedCaps' snapshot under YFCC's name, TCL's checkpoint on another CLIP; the rest is measured all the same."""
    weights = copied(small_weights, tmp_path / "weights", "tcl.pth")
    shutil.copytree(small_weights / "nvidia" / "groupvit-gcc-redcaps", weights / "groupvit-gcc-yfcc")
    config = weights / "groupvit-gcc-yfcc" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_name_or_path": "nvidia/groupvit-gcc-redcaps"}))
    clip = torch.load(small_weights / "ViT-B-16.pt", weights_only=True)
    clip["token_embedding.weight"] += 1
    torch.save(clip, weights / "ViT-B-16.pt")
    rows = [item for name in ("GroupViT (YFCC)", "TCL", "tiny") for item in ("--row", name)]
    result = table(weights, small_data, tmp_path / "out", "--benchmark", "cityscapes", "--pictures", "0", *rows, *SMALL)
    assert result.exit_code == 1
    told = flat(result.output)
    assert "GroupViT (YFCC) was refused" in told
    assert "are the weights of GroupViT (RedCaps)" in told
    assert "TCL was refused" in told
    assert "was trained on another CLIP than" in told
    summary = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [("refused" in entry, "mean_iou" in entry) for entry in summary["results"]] == [
        (True, False),
        (True, False),
        (False, True),
    ]


@pytest.mark.filterwarnings("ignore:the model only spells")  # "swivel" is the benchmark's word
def test_names_in_the_page_are_escaped(small_data: Path, tmp_path: Path) -> None:
    """A bundle's file and a picture may be called anything."""
    (tmp_path / "weights").mkdir()
    data = tmp_path / "data"
    shutil.copytree(small_data / "ade", data / "ade")
    for path in [*data.rglob("a.jpg"), *data.rglob("a.png")]:
        path.rename(path.with_name(f"<script>alert(1)<b>{path.suffix}".replace("/", "")))
    bundle = Path(__file__).parents[3] / "runtime" / "models" / "tiny.tclb"
    (tmp_path / "weights" / "<i>mine.tclb").symlink_to(bundle)
    result = table(tmp_path / "weights", data, tmp_path / "out", "--row", "<i>mine.tclb")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;b&gt;" in page
    assert "&lt;i&gt;mine.tclb" in page
    assert "<script" not in page
    assert "<i>mine" not in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--row", "CLIP"), "no row 'CLIP': expected one of GroupViT (YFCC), "),
        (("--benchmark", "ade"), "no benchmark 'ade'"),
        (("--weights", "nowhere"), "no folder nowhere: expected one for --weights"),
        (("--set", "windows=3"), "no setting 'windows=3'"),
        (("--data", "."), "none of voc, voc20"),
    ],
)
def test_what_cannot_be_asked_for(
    options: tuple[str, ...], message: str, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = table(tmp_path, small_data, tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in flat(result.output)
    assert not (tmp_path / "out").exists()


def test_the_papers_figures_average_as_printed() -> None:
    """Oracle: each row's own average, to its last digit and half a digit of what was rounded before."""
    for name, row in published().rows.items():
        assert set(row) == {*KEYS, AVERAGE}, name
        assert np.mean([row[key] for key in KEYS]) == pytest.approx(row[AVERAGE], abs=0.1), name


def test_pictures_are_chosen_by_the_rule() -> None:
    """By hand: means .5, .2, .9, .4, unknown, .6; the two systems differ most on the fourth."""
    one = [0.5, 0.2, 0.9, 0.1, float("nan"), 0.6]
    other = [0.5, 0.2, 0.9, 0.7, 0.3, 0.6]
    found = [(chosen.index, chosen.why) for chosen in choose([one, other], 1)]
    assert found == [(2, "best"), (0, "median"), (1, "worst"), (3, "most different")]
    assert [chosen.why for chosen in choose([[0.5]], 2)] == ["best, median, worst"]
    assert choose([[float("nan")]], 3) == []
