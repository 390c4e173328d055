"""Measuring masks: figures against loops in plain Python, the command and its report on pictures made here."""

import json
import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from runtime.bundle import Bundle
from runtime.frame import input_size
from runtime.sources.open import open_source
from tcl_core.errors import DataError
from tcl_core.evaluate import __main__ as command
from tcl_core.evaluate.benchmarks import VOID
from tcl_core.evaluate.bundle import bundle_segment, network_size
from tcl_core.evaluate.evaluation import PictureScore, evaluate
from tcl_core.evaluate.folder import open_folder
from tcl_core.evaluate.layouts import LAYOUTS, open_benchmark
from tcl_core.evaluate.metrics import Pointing, Tally, pixel_accuracy
from tcl_core.evaluate.protocols import RUNTIME, TCL
from tcl_core.evaluate.report import exemplary
from tcl_core.evaluate.soft_masks import Segment, SoftMasks, model_segment, resolved
from tcl_core.load.choice import ModelChoice
from tcl_core.load.model import load_model
from tcl_core.prompts import Word
from tcl_core.tiny.file import load_tiny

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def write_folder(path: Path, masks: list[np.ndarray], classes: str, names: list[str] | None = None) -> Path:
    """Pictures whose colours say what the masks should be: class k is colour k, everything else black."""
    for folder in ("images", "masks"):
        (path / folder).mkdir(parents=True)
    (path / "classes.txt").write_text(classes)
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(COLOURS)] = list(COLOURS.values())
    for number, mask in enumerate(masks):
        name = names[number] if names else f"p{number}"
        Image.fromarray(colours[mask]).save(path / "images" / f"{name}.png")
        Image.fromarray(mask).save(path / "masks" / f"{name}.png")
    return path


def random_masks(count: int, num_values: int, size: tuple[int, int] = (6, 9)) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    values = np.array([*range(num_values), VOID])
    return [random.choice(values, size).astype(np.uint8) for _ in range(count)]


def noisy(words: int) -> "object":
    """A model that says the same nonsense whenever it sees the same picture."""

    def segment(image: Image.Image) -> SoftMasks:
        generator = torch.Generator().manual_seed(int(np.asarray(image, np.int64).sum()))
        masks = torch.rand(words, image.height, image.width, generator=generator)
        return SoftMasks(masks, torch.full(masks.shape[1:], 0.6))

    return segment


def naive(benchmark, segment, *, present_only: bool, background: bool) -> tuple[list[float], float]:
    """Intersection over union of each class and pixel accuracy, pixel by pixel in Python."""
    num_words = len(benchmark.words)
    counts = {label: [0, 0] for label in range(num_words + 1)}  # intersection, union
    right = total = 0
    for picture in benchmark.pictures:
        truth = benchmark.truth(picture)
        masks = segment(Image.open(picture.image).convert("RGB"))
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                label = int(truth[y, x])
                if label == VOID or (label == num_words and not background):
                    continue
                words = [k for k in range(num_words) if not present_only or (truth == k).any()]
                guess = max(words, key=lambda k: float(masks.words[k, y, x]), default=num_words)
                if background and (not words or masks.words[guess, y, x] <= masks.background[y, x]):
                    guess = num_words
                total, right = total + 1, right + (guess == label)
                counts[label][1] += 1
                if guess == label:
                    counts[label][0] += 1
                else:
                    counts[guess][1] += 1
    iou = [both / either if either else math.nan for both, either in counts.values()]
    return iou, right / total


@pytest.mark.parametrize("has_background", [False, True])
def test_figures_are_those_of_a_naive_count(tmp_path: Path, has_background: bool) -> None:
    """Oracle: loops over pixels in Python; exact to rounding of a division."""
    classes = "red\ngreen\nblue\n" + ("background\n" if has_background else "")
    folder = write_folder(tmp_path, random_masks(5, 3 + has_background), classes)
    benchmark, segment = open_folder(folder), noisy(3)
    evaluation = evaluate(segment, benchmark)
    assert len(evaluation.tallies) == 4
    for tally in evaluation.tallies:
        iou, accuracy = naive(benchmark, segment, present_only=tally.present_only, background=tally.background)
        expected = iou if tally.background and has_background else iou[:3]
        assert tally.scored(has_background).tolist() == pytest.approx(expected, nan_ok=True)
        assert pixel_accuracy(tally.confusion) == pytest.approx(accuracy)


def test_pointing_game_by_hand() -> None:
    """By hand: two words in the picture, the first points at itself, the second at the first."""
    truth = torch.tensor([[0, 0, 1], [0, 255, 1]])
    masks = torch.zeros(3, 2, 3)
    masks[0, 0, 1] = masks[1, 1, 0] = masks[2, 0, 0] = 1.0
    pointing = Pointing.of(3)
    pointing.add(masks, truth)
    assert pointing.played.tolist() == [1, 1, 0]
    assert pointing.hits.tolist() == [1, 0, 0]
    assert pointing.score == 0.5


def test_a_picture_without_words_is_all_background() -> None:
    tally = Tally(present_only=True, background=True, confusion=torch.zeros(3, 3, dtype=torch.int64))
    truth = torch.full((2, 2), 2)
    labels = tally.add(torch.ones(2, 2, 2), torch.zeros(2, 2), truth, VOID)
    assert labels.unique().tolist() == [2]
    assert tally.confusion.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 4]]


def test_classes_left_out_and_reordered(tmp_path: Path) -> None:
    """By hand: the background in the middle comes last, what is left out does not count."""
    mask = np.array([[0, 1, 2, 3, 255]], np.uint8)
    folder = write_folder(tmp_path, [mask], "red|scarlet\nbackground\ngreen\nblue\n")
    benchmark = open_folder(folder, without=("green",))
    assert benchmark.names == ("red", "blue", "background")
    assert benchmark.words[0].synonyms == ("red", "scarlet")
    assert benchmark.truth(benchmark.pictures[0]).tolist() == [[0, 2, 255, 1, 255]]


def test_thinning_spreads_evenly(tmp_path: Path) -> None:
    """By hand: neighbours that are taken lie as far apart as any others, to one picture."""
    names = list("abcdefghij")
    benchmark = open_folder(write_folder(tmp_path, random_masks(10, 2, (1, 1)), "red\ngreen\n", names))
    taken = {count: "".join(picture.name for picture in benchmark.thinned(count).pictures) for count in (1, 4, 6)}
    assert taken == {1: "a", 4: "acfh", 6: "abdfgi"}
    assert benchmark.thinned(10) is benchmark.thinned(11) is benchmark


def test_splits(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, random_masks(3, 2), "red\ngreen\n", ["a", "b", "c"])
    (folder / "split.txt").write_text("a\tdev\nb\ttest\nc\tdev\n")
    assert [picture.name for picture in open_folder(folder, split="dev").pictures] == ["a", "c"]
    with pytest.raises(DataError, match="has no split 'val': expected one of dev, test"):
        open_folder(folder, split="val")
    (folder / "split.txt").write_text("a dev\n")
    with pytest.raises(DataError, match="expected lines of NAME<tab>SPLIT"):
        open_folder(folder, split="dev")


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, random_masks(1, 2), "red\ngreen\n")
    mask, image = folder / "masks" / "p0.png", folder / "images" / "p0.png"
    benchmark = open_folder(folder)
    with pytest.raises(DataError, match=r"no class 'sky' in .*classes\.txt"):
        open_folder(folder, without=("sky",))
    Image.new("L", (9, 6), 7).save(mask)
    with pytest.raises(DataError, match=r"p0\.png has the value 7: expected 0 to 1, .* or 255"):
        evaluate(noisy(2), benchmark)
    Image.new("L", (9, 5)).save(mask)
    with pytest.raises(DataError, match="has 9 x 6 pixels and its mask .*p0.png 9 x 5"):
        evaluate(noisy(2), benchmark)
    Image.new("RGB", (9, 6)).save(mask)
    with pytest.raises(DataError, match="expected one channel of 8 bits"):
        evaluate(noisy(2), benchmark)
    mask.write_bytes(b"<html>")
    with pytest.raises(DataError, match="cannot be read"):
        evaluate(noisy(2), benchmark)
    Image.new("L", (9, 6)).save(mask)
    image.write_bytes(b"")
    with pytest.raises(DataError, match="no picture"):
        evaluate(noisy(2), benchmark)
    mask.unlink()
    with pytest.raises(DataError, match="no mask"):
        open_folder(folder)
    image.unlink()
    with pytest.raises(DataError, match="no picture in"):
        open_folder(folder)
    (folder / "classes.txt").write_text("red\nred\n")
    with pytest.raises(DataError, match="names a class twice"):
        open_folder(folder)
    (folder / "classes.txt").unlink()
    with pytest.raises(DataError, match="expected one class a line"):
        open_folder(folder)


def test_pictures_of_a_report_follow_the_rule() -> None:
    """By hand: of nine, two worst, three in the middle, two best."""
    scores = [PictureScore(None, accuracy) for accuracy in (0.5, 0.1, 0.9, math.nan, 0.3, 0.2, 0.8, 0.4, 0.7, 0.6)]  # type: ignore[arg-type]
    assert [score.accuracy for score in exemplary(scores, 7)] == [0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9]
    assert len(exemplary(scores, 12)) == 9
    assert exemplary(scores, 0) == []


@cache
def watched_tiny() -> tuple[list[tuple[int, ...]], Segment]:
    """The shipped model, which writes down the size of what it is given instead of looking at it."""
    seen: list[tuple[int, ...]] = []
    model = load_tiny()

    def masks(images: Tensor, text: Tensor, **_: object) -> Tensor:
        seen.append(tuple(images.shape[2:]))
        return torch.zeros(1, len(text), 1, 1)

    model.masks = masks  # type: ignore[method-assign]
    words = (Word("car", ("car",)),)
    protocol = resolved(RUNTIME, size=model.preprocess.size, own_templates="none", own_threshold=0.5, pamr=False)
    return seen, model_segment(model, words, (), protocol, network_size=network_size)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700))
@example(20, 3000)
@example(3000, 20)
@example(1, 32767)
def test_whole_pictures_are_as_large_as_in_the_runtime(height: int, width: int) -> None:
    """Oracle: the runtime's own choice for a frame of that size, also where a side is shorter than a multiple."""
    spec = Bundle.open("tiny").manifest.input
    seen, segment = watched_tiny()
    segment(Image.new("RGB", (width, height)))
    assert seen.pop() == input_size((height, width), spec)


@pytest.mark.parametrize(("pamr", "largest"), [(False, 0.02), (True, 0.15)])
def test_the_model_and_its_bundle_give_the_same_soft_masks(pamr: bool, largest: float) -> None:
    """Oracle: each other, refinement in PyTorch against C++; the latter looks at the frame before it is made small."""
    frame = next(iter(open_source("test://cars"))).image
    image = Image.fromarray(frame[..., ::-1])
    words = (Word("car", ("car",)), Word("road", ("road", "asphalt")))
    loaded = load_model(ModelChoice("tiny"))
    background = loaded.background_words(None, words)
    protocol = resolved(RUNTIME, size=320, own_templates="none", own_threshold=loaded.threshold, pamr=pamr)
    by_model = model_segment(loaded.model, words, background, protocol, network_size=network_size)
    by_bundle = bundle_segment(Path(__file__).parents[3] / "runtime/models/tiny.tclb", words, size=320, pamr=pamr)
    with torch.inference_mode():
        one, other = by_model(image), by_bundle(image)
    for difference in ((one.words - other.words).abs(), (one.background - other.background).abs()):
        assert difference.max() < largest
        assert difference.mean() < largest / 20
    assert by_model.how == by_bundle.how
    assert ("refined by PAMR" in by_model.how) == pamr


class TestCommand:
    """The command on the shipped model and bundle: same words, same pictures."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        masks = [np.zeros((60, 80), np.uint8), np.full((60, 80), 1, np.uint8)]
        masks[0][:, 40:] = 2
        return write_folder(tmp_path / "data", masks, "sky\ngrass\nbackground\n", ["one<b>", "two"])

    @pytest.mark.parametrize("model", ["tiny", "runtime/models/tiny.tclb"])
    def test_reports(self, folder: Path, tmp_path: Path, model: str) -> None:
        """Oracle: the loop on the same data; names are escaped, nothing is loaded from elsewhere."""
        path = model if model == "tiny" else str(Path(__file__).parents[3] / model)
        out = tmp_path / "out"
        result = CliRunner().invoke(command.app, [path, "--data", str(folder), "--report", str(out)])
        assert result.exit_code == 0, result.output
        figures = json.loads((out / "report.json").read_text())
        assert figures["classes"] == ["sky", "grass", "background"]
        assert [(s["words"], s["background"]) for s in figures["settings"]] == [
            ("all", False),
            ("present", False),
            ("all", True),
            ("present", True),
        ]
        page = (out / "report.html").read_text()
        assert page.count("data:image/jpeg;base64,") == 6
        assert "one&lt;b&gt;" in page
        assert "one<b>" not in page
        assert not re.search(r'(src|href)="(?!data:)', page)
        assert sorted(file.name for file in out.iterdir()) == ["report.html", "report.json"]
        assert "pointing game" in result.output

    @pytest.mark.parametrize(
        ("options", "message", "code"),
        [
            (("tiny", "--split", "dev"), "expected lines of NAME<tab>SPLIT", 2),
            (("tiny", "--without", "sky, grass"), "leaves no word", 2),
            (("tiny", "--data", "nowhere"), "no nowhere/classes.txt", 2),
            (("tiny", "--without", "mountain"), "no class 'mountain'", 2),
            (("tinny",), "no model 'tinny'", 2),
            (("none.tclb",), "none.tclb", 2),
            (("broken.tclb",), "has no manifest.json", 1),
            (("broken.pt",), "is a web page", 1),
            (("tiny", "--data", "damaged"), "cannot be read", 1),
            (("runtime/models/tiny.tclb", "--head", "naclip"), "--head with a bundle", 2),
        ],
    )
    def test_bad_options(
        self,
        folder: Path,
        tmp_path: Path,
        options: tuple[str, ...],
        message: str,
        code: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What cannot be asked for ends with 2; what is there and cannot be used, with 1."""
        (tmp_path / "broken.tclb").mkdir()
        (tmp_path / "broken.pt").write_bytes(b"<html>")
        damaged = write_folder(tmp_path / "damaged", random_masks(1, 2), "red\ngreen\n")
        (damaged / "masks" / "p0.png").write_bytes(b"<html>")
        monkeypatch.chdir(tmp_path)
        arguments = ["--data", str(folder), "--report", str(tmp_path / "out"), *options]
        result = CliRunner().invoke(command.app, arguments)
        assert result.exit_code == code, result.output
        assert message in " ".join(result.output.split())
        assert not (tmp_path / "out").exists()


def test_both_ways_of_looking_at_a_picture() -> None:
    """Oracle: on a square picture of the model's own size both see the same pixels, rounded otherwise; 3e-6."""
    from tcl_core.prompts import Word
    from tcl_core.tiny.file import load_tiny

    model, words = load_tiny(), (Word("sky", ("sky",)), Word("dog", ("dog",)))
    side = model.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 255, (side // 8, side // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    seen: list[Tensor] = []
    windows = replace(TCL.adapted(model.preprocess), kp_weight=0.0, templates="none", pamr="off")
    for protocol in (windows, RUNTIME):
        protocol = resolved(protocol, size=side, own_templates="none", own_threshold=0.5, pamr=False)
        segment = model_segment(model, words, (Word("wall", ("wall",)),), protocol, network_size=network_size)
        with torch.inference_mode():
            masks = segment(Image.fromarray(pixels))
        full = torch.nn.functional.interpolate(masks.words[None], (side, side), mode="bilinear")[0]
        seen.append(full)
        assert float(masks.background.min()) >= 0.5
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=3e-6)


class TestBenchmarks:
    """The papers' data by the command: the recorded archives, and the shipped model on them."""

    @pytest.mark.oracle
    def test_a_benchmark_with_every_setting_told(self, eval_data: Path, tmp_path: Path) -> None:
        """Oracle: the settings of the protocol, changed where it was asked for; all are printed and stored."""
        arguments = ["tiny", "--benchmark", "voc", "--data", str(eval_data), "--report", str(tmp_path), "--limit", "1"]
        arguments += ["--protocol", "tcl", "--size", "64", "--kp-weight", "0.1", "--set", "stride=48", "--batch", "2"]
        result = CliRunner().invoke(command.app, [*arguments, "--pictures", "0", "--no-pamr"])
        assert result.exit_code == 0, result.output
        figures = json.loads((tmp_path / "report.json").read_text())
        changed = replace(TCL, short_side=64, window=64, stride=48, kp_weight=0.1, pamr="off")
        model = load_model(ModelChoice("tiny"))
        expected = resolved(changed, size=64, own_templates="none", own_threshold=model.threshold, pamr=True).settings()
        assert figures["protocol"] == expected
        for name, value in expected.items():
            assert f"{name} = {value}" in result.output
        assert figures["classes"][-1] == "background"
        assert figures["benchmark"]["background"]
        assert figures["data"] == "voc"
        assert not figures["all_pictures"]
        assert "1 pictures of 1449: the figures are not those of voc" in result.output

    @pytest.mark.oracle
    @pytest.mark.filterwarnings("ignore:the model only spells")  # "pottedplant" is the benchmark's word
    def test_bundles_are_measured_on_benchmarks(self, eval_data: Path, tmp_path: Path) -> None:
        bundle = str(Path(__file__).parents[3] / "runtime/models/tiny.tclb")
        arguments = ["--benchmark", "voc20", "--data", str(eval_data), "--report", str(tmp_path), "--limit", "1"]
        result = CliRunner().invoke(command.app, [bundle, *arguments, "--pictures", "0", "--size", "64"])
        assert result.exit_code == 0, result.output
        assert len(json.loads((tmp_path / "report.json").read_text())["classes"]) == 20

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--benchmark", "voc"), "no .*JPEGImages for voc: expected VOC2012"),
            (("--benchmark", "voc", "--split", "dev"), "--split with voc: expected for --benchmark folder only"),
            (("--protocol", "sclip"), "sclip has settings for benchmarks of papers only"),
            (
                ("--protocol", "groupvit", "--benchmark", "ade20k"),
                "groupvit's authors measured voc, coco_object",
            ),
            (("--set", "windows=3"), "no setting 'windows=3'"),
            (("--set", "names=sclip"), "names=sclip with a folder"),
            (("--set", "pamr=window"), "pamr=window with this protocol: expected one of off, runtime"),
        ],
    )
    def test_what_cannot_be_asked_for(self, options: tuple[str, ...], message: str, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "data", random_masks(1, 2), "red\ngreen\n")
        arguments = ["tiny", "--data", str(folder), "--report", str(tmp_path / "out"), *options]
        result = CliRunner().invoke(command.app, arguments)
        assert result.exit_code == 2
        assert re.search(message, " ".join(result.output.split()))
        assert not (tmp_path / "out").exists()

    @pytest.mark.oracle
    def test_data_is_looked_at(self, eval_data: Path, tmp_path: Path) -> None:
        """Oracle: what `verify` says; 1 for what is wrong, 2 for what is not there."""
        result = CliRunner().invoke(command.app, ["data", str(eval_data)])
        assert result.exit_code == 1
        for key, layout in LAYOUTS.items():
            assert f"{key}: wrong, {len(open_benchmark(eval_data, key).pictures)} pictures" in result.output
            assert f"expected {layout.counts[0]}" in result.output
        result = CliRunner().invoke(command.app, ["data", str(tmp_path), "--benchmark", "ade20k"])
        assert result.exit_code == 2
        assert "ade20k: missing" in result.output
        assert "ADEChallengeData2016.zip" in result.output
        result = CliRunner().invoke(command.app, ["data", str(tmp_path), "--benchmark", "ade"])
        assert (result.exit_code, "no benchmark 'ade'" in result.output) == (2, True)

    @pytest.mark.oracle
    def test_masks_are_converted(self, eval_data: Path, tmp_path: Path) -> None:
        raw = eval_data / "cityscapes" / "gtFine"
        result = CliRunner().invoke(command.app, ["convert", "cityscapes", str(raw), str(tmp_path)])
        count = len(open_benchmark(eval_data, "cityscapes").pictures)
        assert result.exit_code == 0
        assert f"wrote {count} masks into {tmp_path / 'cityscapes/gtFine/val'}" in result.output
        result = CliRunner().invoke(command.app, ["convert", "cityscapes", str(raw), str(tmp_path)])
        assert f"wrote 0 masks into {tmp_path / 'cityscapes/gtFine/val'}, {count} were there" in result.output
        result = CliRunner().invoke(command.app, ["convert", "voc", str(raw), str(tmp_path)])
        assert (result.exit_code, "voc needs no conversion" in result.output) == (2, True)


@pytest.mark.parametrize("file", ["classes.txt", "split.txt"])
def test_marks_of_editors_do_not_move_figures(file: str, tmp_path: Path) -> None:
    """Oracle: the same folder without them. The mark at the beginning once took the first class away in silence."""
    folder = write_folder(tmp_path, random_masks(3, 3), "background\ngreen\nblue\n")
    (folder / "split.txt").write_text("p0\tdev\np1\ttest\np2\tdev\n")
    plain = evaluate(noisy(2), open_folder(folder, split="dev"))
    text = (folder / file).read_text()
    for written in (b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode() + b"\r\n"):
        (folder / file).write_bytes(written)
        marked = evaluate(noisy(2), open_folder(folder, split="dev"))
        assert marked.benchmark.names == plain.benchmark.names == ("green", "blue", "background")
        assert torch.equal(marked.counts.intersection, plain.counts.intersection)
    (folder / file).write_text(text, encoding="utf-16")
    with pytest.raises(DataError, match=rf"{file} cannot be read as UTF-8"):
        open_folder(folder, split="dev")


def test_masks_of_a_folder_that_are_none(tmp_path: Path) -> None:
    """A palette is read by its indices; each of the others is named."""
    folder = write_folder(tmp_path, random_masks(1, 2), "red\ngreen\n")
    benchmark = open_folder(folder)
    mask = folder / "masks" / "p0.png"
    truth = benchmark.truth(benchmark.pictures[0])
    painted = Image.fromarray(truth)
    painted.putpalette([255, 255, 255] * 256)
    painted.save(mask)
    np.testing.assert_array_equal(benchmark.truth(benchmark.pictures[0]), truth)
    Image.fromarray(truth.astype(np.uint16)).save(mask)
    with pytest.raises(DataError, match=r"p0\.png has numbers of another kind .*16 bits"):
        evaluate(noisy(2), benchmark)
    Image.fromarray(truth == 1).save(mask)
    with pytest.raises(DataError, match=r"p0\.png is grey of 1 bits"):
        evaluate(noisy(2), benchmark)
