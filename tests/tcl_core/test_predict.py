"""`python -m tcl_core.predict` on a model whose answers are known: words are colours, embeddings are pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from tcl_core import TCL, DenseEncoder, Grounder, Preprocess, TextEncoder
from tcl_core.load.model import LoadedModel
from tcl_core.pictures import palette, save_picture, to_tensor
from tcl_core.predict import Prediction, app, draw_overlay, label_picture

COLOURS = {"red": (1.0, 0, 0), "scarlet": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0)}


class Pixels(DenseEncoder):
    stride, dim, embed_dim = 1, 3, 3

    def features(self, images: Tensor) -> Tensor:
        return images

    def project(self, features: Tensor) -> Tensor:
        return features

    def embed(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class Colours(TextEncoder):
    embed_dim, context_length = 3, None

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(()))

    def tokenize(self, texts: list[str]) -> Tensor:
        return torch.tensor([next(i for i, name in enumerate(COLOURS) if name in text) for text in texts])[:, None]

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.tensor(list(COLOURS.values()))[tokens[:, 0]]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    preprocess = Preprocess((0.0,) * 3, (1.0,) * 3, size=40, multiple_of=4)
    model = TCL(Pixels(), Colours(), Grounder(), preprocess).eval()
    monkeypatch.setattr("tcl_core.predict.load_model", lambda choice: LoadedModel(choice, model))
    return CliRunner()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """40 x 80: red, green, blue and black quarters side by side."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    for column, channel in ((0, 0), (20, 1), (40, 2)):
        pixels[:, column : column + 20, channel] = 255
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def run(runner: CliRunner, picture: Path, *options: str) -> tuple[int, str]:
    output = picture.parent / "out"
    result = runner.invoke(app, ["any", str(picture), "--output", str(output), *options])
    return result.exit_code, result.output


def labels(picture: Path) -> np.ndarray:
    with Image.open(picture.parent / "out" / "labels.png") as saved:
        assert saved.mode == "P"
        return np.array(saved)


@pytest.mark.parametrize("options", [(), ("--short-side", "16"), ("--templates", "full"), ("--kp-weight", "0.3")])
def test_labels_and_coverage(runner: CliRunner, picture: Path, options: tuple[str, ...]) -> None:
    """Oracle: the picture; exact in the middle of every quarter."""
    code, output = run(runner, picture, "--classes", "scarlet|red, green", *options)
    assert code == 0, output
    assert labels(picture)[20, [10, 30, 50, 70]].tolist() == [1, 2, 0, 0]
    if not options:
        assert "25.0%" in output
        assert "50.0%" in output
    assert sorted(path.name for path in (picture.parent / "out").iterdir()) == ["labels.png", "overlay.png"]


def test_background_words(runner: CliRunner, picture: Path) -> None:
    """Oracle: red pixels lose to the background word and become background."""
    code, output = run(runner, picture, "--classes", "red, green", "--background", "scarlet")
    assert code == 0, output
    assert labels(picture)[20, [10, 30, 50, 70]].tolist() == [0, 2, 0, 0]


def test_pamr_runs(runner: CliRunner, picture: Path) -> None:
    code, output = run(runner, picture, "--classes", "red, green, blue", "--pamr")
    assert code == 0, output
    assert labels(picture)[20, [10, 30, 50, 70]].tolist() == [1, 2, 3, 0]


def test_a_single_pixel(runner: CliRunner, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.new("RGB", (1, 1), (255, 0, 0)).save(path)
    code, output = run(runner, path, "--classes", "green, red")
    assert code == 0, output
    assert labels(path).tolist() == [[2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--classes", " "), "an empty word"),
        (("--classes", "red, red"), "given twice: red"),
        (("--classes", "red", "--templates", "ful"), "no templates 'ful'"),
        (("--classes", "red", "--threshold", "2"), "threshold"),
        (("--classes", ",".join(map(str, range(300)))), "300 words: labels.png has room for 255"),
    ],
)
def test_bad_options(runner: CliRunner, picture: Path, options: tuple[str, ...], message: str) -> None:
    code, output = run(runner, picture, *options)
    assert code == 2
    assert message in " ".join(output.split())
    assert not (picture.parent / "out").exists()


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\x89PNG\r\n\x1a\n and no more"])
def test_what_is_no_picture(runner: CliRunner, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    code, output = run(runner, path, "--classes", "red")
    assert code == 1  # it is there, and damaged
    assert "no picture" in " ".join(output.split())


def test_unknown_model(picture: Path) -> None:
    code, output = run(CliRunner(), picture, "--classes", "red")
    assert code == 2
    assert "no model 'any'" in " ".join(output.split())


def test_tiny_brings_its_own_weights(picture: Path) -> None:
    result = CliRunner().invoke(app, ["tiny", str(picture), "--classes", "red", "--pretrained", "openai"])
    assert result.exit_code == 2
    assert "tiny brings its own weights" in result.output


def test_long_pictures_are_bounded() -> None:
    """Oracle: the evaluation's (2048, 448) rule."""
    preprocess = Preprocess((0.5,) * 3, (0.5,) * 3, size=448, multiple_of=16)
    assert to_tensor(Image.new("RGB", (30, 20)), preprocess, 448).shape == (1, 3, 448, 672)
    long = to_tensor(Image.new("RGB", (30000, 2)), preprocess, 448)
    assert long.shape == (1, 3, 1, 2048)
    assert long.unique().tolist() == [-1.0]


def test_pictures_of_a_prediction() -> None:
    """Oracle: the labels themselves, and one VOC colour; background stays as it was."""
    prediction = Prediction(np.array([[0, 1], [2, 2]], np.uint8), ("cat", "dog"), (0.9, 0.8))
    assert np.array_equal(np.array(label_picture(prediction)), prediction.labels)
    assert palette(3).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    assert prediction.coverage() == [0.25, 0.25, 0.5]
    overlay = np.array(draw_overlay(Image.new("RGB", (2, 2), (10, 20, 30)), prediction, opacity=1.0))
    assert overlay[0, 0].tolist() == [10, 20, 30]
    assert overlay[0, 1].tolist() == [128, 0, 0]
    assert overlay.shape[0] > 2  # the legend


@pytest.mark.parametrize("count", [1, 5, 40])
def test_the_legend_has_one_colour_for_every_word_that_is_seen(count: int) -> None:
    """By hand: squares of 17 x 17 pixels below the picture, whole however many lines they take."""
    names = tuple(f"word {number}" for number in range(count + 1))
    seen = np.arange(count + 1, dtype=np.uint8)[None].repeat(
        2, axis=0
    )  # label `count`, the last word but one, included
    prediction = Prediction(seen, names, (0.5,) * (count + 1))
    legend = np.array(draw_overlay(Image.new("RGB", (count + 1, 2)), prediction))[2:]
    colours = enumerate(palette(count + 2).tolist())
    areas = {label: int((legend == colour).all(axis=-1).sum()) for label, colour in colours if len(set(colour)) > 1}
    assert areas == {label: 17 * 17 * (label <= count) for label in areas}  # greys are those of the letters, too


def test_a_missing_picture(runner: CliRunner, tmp_path: Path) -> None:
    code, output = run(runner, tmp_path / "gone.png", "--classes", "red")
    assert code == 2
    assert "no picture" in " ".join(output.split())


def test_an_output_that_cannot_be_written(runner: CliRunner, picture: Path) -> None:
    (picture.parent / "out").touch()
    code, output = run(runner, picture, "--classes", "red")
    assert code == 1
    assert "out/overlay.png cannot be written" in " ".join(output.split())


def test_saved_pictures_are_as_open_as_others(tmp_path: Path) -> None:
    """Oracle: the mode of a file that `open` makes, and Pillow's reading of the pixels."""
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    save_picture(picture, tmp_path / "saved.png")
    (tmp_path / "ordinary").touch()
    assert (tmp_path / "saved.png").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    with Image.open(tmp_path / "saved.png") as saved:
        assert np.array_equal(np.array(saved), np.array(picture))
