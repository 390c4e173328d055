"""From a training of tiny's grounder to the file that ships."""

from pathlib import Path

import pytest
import torch
import typer
from rich.console import Console

from tcl_core.align.pack import app, pack
from tcl_core.errors import ConfigError
from tcl_core.load.hub import import_model
from tcl_core.tiny.file import load_tiny, read_tiny_config
from tcl_core.train.__main__ import read_config, train

ROOT = Path(__file__).parents[3]


def run(output: Path, *overrides: str) -> Path:
    scenes = "data.sources=[{kind: scenes, count: 8, size: 64}]"
    settings = [f"output={output}", scenes, "data.image_size=64", "data.batch_size=4", "data.part_size=2", "steps=2"]
    settings += [f"data.features={output / 'features'}", "data.reencode_size=64"]
    train(read_config([str(ROOT / "configs" / "tiny.yaml"), *settings, *overrides]), console=Console(quiet=True))
    return output / "model"


def status(command: typer.Typer, *arguments: str | Path) -> int:
    """Run a command and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        command([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_a_trained_grounder_is_packed_with_its_encoders(tmp_path: Path) -> None:
    """Oracle: the trained model itself; weights are stored in half precision."""
    directory = run(tmp_path / "run", "optimizer.learning_rate.warmup_steps=0")
    pack([directory], tmp_path / "packed.safetensors", background_threshold=0.3)
    trained, packed = import_model(directory), load_tiny(tmp_path / "packed.safetensors")
    config = read_tiny_config(tmp_path / "packed.safetensors")
    assert (config.decoder_width, config.background_threshold) == (160, 0.3)
    assert float(trained.grounder.decoder.coarse.gate.detach()) != 0
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        text = trained.encode_text(trained.text_encoder.tokenize(["dog", "sky"]))
        masks = packed.masks(images, packed.encode_text(packed.text_encoder.tokenize(["dog", "sky"])))
        torch.testing.assert_close(masks, trained.masks(images, text), rtol=1e-3, atol=1e-3)
    assert masks.shape == (1, 2, 4, 6)


def test_several_trainings_are_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Oracle: (a + b) / 2 of every weight; trainings that began elsewhere are refused."""
    one = run(tmp_path / "one", "optimizer.learning_rate.warmup_steps=0")
    two = run(tmp_path / "two", "optimizer.learning_rate.warmup_steps=0", "steps=1")
    assert status(app, one, two, tmp_path / "packed.safetensors", "background_threshold=0.25") == 0
    assert read_tiny_config(tmp_path / "packed.safetensors").background_threshold == 0.25
    a, b = (import_model(directory).grounder.state_dict() for directory in (one, two))
    mean = load_tiny(tmp_path / "packed.safetensors").grounder.state_dict()
    assert not torch.equal(a["decoder.coarse.gate"], b["decoder.coarse.gate"])
    for name, value in mean.items():
        torch.testing.assert_close(value, (a[name] + b[name]) / 2, rtol=1e-3, atol=1e-3, msg=name)
    other = run(tmp_path / "other", "seed=1")
    assert status(app, one, other, tmp_path / "other.safetensors") == 2
    assert "their seed differs (0 and 1)" in " ".join(capsys.readouterr().err.split())


def test_what_is_no_trained_tiny_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Oracle: the messages."""
    directory = run(tmp_path / "run", "model.decoder=false")
    with pytest.raises(ConfigError, match="without a decoder"):
        pack([directory], tmp_path / "packed.safetensors")
    config = directory / "config.json"
    config.write_text(config.read_text().replace('"encoder": "tiny"', '"encoder": "toy"'))
    with pytest.raises(ConfigError, match="expected one for 'tiny'"):
        pack([directory], tmp_path / "packed.safetensors")
    config.write_text("no JSON")
    assert status(app, directory, tmp_path / "packed.safetensors") == 1
    assert "is no JSON" in capsys.readouterr().err
    assert list(tmp_path.glob("packed*")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "expected a directory that training wrote"),
        (["only.safetensors"], "no directory: expected OUTPUT/model"),
        (["nowhere", "threshold=0.2"], "there is no setting 'threshold'"),
        (["nowhere", "background_threshold=high"], "background_threshold=high given, expected a soft mask"),
        (["nowhere", "background_threshold=1.5"], "background_threshold=1.5 given, expected a soft mask"),
        ([], "Usage"),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(app, *arguments) == 2
    said = capsys.readouterr()
    assert message in " ".join((said.out + said.err).split())


def test_parts_do_not_change_training_on_phrases(tmp_path: Path) -> None:
    """Oracle: the undivided batch, all terms on, TCL_v with its re-encoding too; Adam enlarges rounding a little."""
    overrides = ["data.features=''", "losses.tcl_v=0.1", "losses.contrastive=0.1", "steps=1"]
    overrides += ["optimizer.learning_rate.warmup_steps=0", "optimizer.ema=0"]
    whole, divided = (
        import_model(run(tmp_path / str(size), f"data.part_size={size}", *overrides)).grounder.state_dict()
        for size in (4, 2)
    )
    for name, value in whole.items():
        torch.testing.assert_close(divided[name], value, rtol=1e-3, atol=2e-5, msg=name)
