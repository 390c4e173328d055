"""A directory that training wrote, in every command that takes a model. Oracle: the model in PyTorch."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from export.build import export_bundle
from export.errors import DamagedSubjectError
from export.options import Options
from export.stages import Stages, default_folder
from export.subject import load_subject
from runtime import Segmenter
from runtime.errors import VocabularyError
from tcl_core import predict
from tcl_core.data.scenes import draw_scene
from tcl_core.evaluate import __main__ as evaluate
from tcl_core.load.choice import ModelChoice
from tcl_core.load.model import load_model
from tcl_core.train.__main__ import read_config, train

TOY = Path(__file__).parents[1] / "configs" / "toy.yaml"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The toy, hardly trained."""
    output = tmp_path_factory.mktemp("toy")
    small = ("steps=2", "model.toy_steps=2", "data.sources=[{kind: scenes, count: 64, size: 48}]", "validation=null")
    train(read_config([str(TOY), f"output={output}", "tensorboard=false", *small]), console=Console(quiet=True))
    return str(output / "model")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.fromarray(draw_scene(3, 48).rgb).save(tmp_path / "images" / "scene.png")
    return tmp_path / "images" / "scene.png"


@pytest.mark.usefixtures("operators_read_once")
def test_it_is_exported_with_words_that_change(
    directory: str, scene: Path, cache_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))  # the commands of README train the same model and trace it
    subject = load_subject(ModelChoice(directory))
    bundle = export_bundle(subject, None, tmp_path / "toy.tclb", Options(), stages=Stages(default_folder()))
    assert bundle.manifest.source.model == "model"
    model = load_model(ModelChoice(directory)).model
    frame = np.asarray(Image.open(scene))[..., ::-1]
    with Segmenter(bundle, classes="a red circle, green square", background=None) as segmenter:
        result = segmenter(frame)
        with pytest.raises(VocabularyError, match="does not know the word 'red'"):
            segmenter.set_classes("red")
    image = (torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None] / 255 - 0.5) / 0.25
    with torch.inference_mode():
        text = model.encode_text(model.text_encoder.tokenize(["red circle", "green square"]))
        expected = model.masks(image, text)[0]
    np.testing.assert_allclose(result.soft_masks, expected.numpy(), atol=1e-5)


def test_it_is_measured(directory: str, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / "masks" / "scene.png")
    (tmp_path / "classes.txt").write_text("red circle\nblue cross\n")
    command = [directory, "--data", str(tmp_path), "--report", str(tmp_path / "report")]
    result = CliRunner().invoke(evaluate.app, command)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "report" / "report.json").read_text())["model"] == directory


def test_it_segments_a_picture(directory: str, scene: Path, tmp_path: Path) -> None:
    command = [directory, str(scene), "--classes", "red circle, blue cross", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(predict.app, command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "labels.png").is_file()


def test_a_directory_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        DamagedSubjectError, match="expected model_type tcl-edge; this directory holds another kind of model"
    ):
        load_subject(ModelChoice(str(tmp_path)))
