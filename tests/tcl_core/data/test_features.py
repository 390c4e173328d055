"""Frozen features on disk."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from tcl_core.atomic_file import write_atomically
from tcl_core.data.batches import Encoded
from tcl_core.data.features import FeatureStore
from tcl_core.data.scenes import draw_scene
from tcl_core.errors import ConfigError, DataError
from tcl_core.load.toy import untrained_toy
from tcl_core.train.__main__ import read_config, train
from tcl_core.train.recipe import TrainConfig

TOY = Path(__file__).parents[3] / "configs" / "toy.yaml"
QUIET = Console(quiet=True)


def settings(directory: Path, **data: object) -> TrainConfig:
    overrides = ["steps=2", "data.batch_size=4", "data.part_size=4", "model.toy_steps=0", "losses.tcl_v=0"]
    overrides += ["tensorboard=false", "data.augmentation=none", f"output={directory}", "validation=null"]
    overrides += ["data.sources=[{kind: scenes, count: 20, size: 48}]", *(f"data.{k}={v}" for k, v in data.items())]
    return read_config([str(TOY), *overrides])


def weights(config: TrainConfig, *, dry_run: bool = False) -> dict[str, torch.Tensor]:
    model = train(config, console=QUIET, dry_run=dry_run)
    return {name: value.clone() for name, value in model.grounder.state_dict().items()}


def test_training_on_stored_features_is_training_on_images(tmp_path: Path) -> None:
    """Oracle: the run that encodes every image anew; half precision of the stored features is the difference."""
    plain = weights(settings(tmp_path / "plain"))
    stored = weights(settings(tmp_path / "stored", features=tmp_path / "features"))
    start = weights(settings(tmp_path / "start"), dry_run=True)
    for name, value in plain.items():
        torch.testing.assert_close(stored[name], value, rtol=2e-2, atol=2e-3)
    assert any(not torch.equal(start[name], plain[name]) for name in plain)


def test_masked_images_are_encoded_from_stored_pictures(tmp_path: Path) -> None:
    """Oracle: TCL_v on images encoded anew; of the same size, the stored pictures are the images exactly."""
    terms = {"tcl_v": 0.1, "tcl_f": 0, "area": 0.4, "tv": 0}
    plain = settings(tmp_path / "plain")
    plain = replace(plain, losses=replace(plain.losses, **terms))
    stored = settings(tmp_path / "stored", features=tmp_path / "features", reencode_size=plain.data.image_size)
    stored = replace(stored, losses=plain.losses)
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(stored)[name], value, rtol=2e-2, atol=2e-3)
        (tmp_path / "stored" / "last.safetensors").unlink()


def test_stored_pictures_are_resized(tmp_path: Path) -> None:
    """Oracle: Pillow's antialiased resizing of the same scene, within two grey levels."""
    config = settings(tmp_path / "run", features=tmp_path / "features", reencode_size=32)
    train(config, console=QUIET)
    model = untrained_toy()
    read = FeatureStore(tmp_path / "features", model.preprocess)[0, 3].image
    assert isinstance(read, Encoded)
    assert read.images is not None
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.preprocess.mean, model.preprocess.std))
    stored = (read.images * std + mean) * 255
    size = config.data.image_size
    scene = Image.fromarray(draw_scene(3, 48).rgb).resize((size, size), Image.Resampling.BILINEAR)
    expected = np.asarray(scene.resize((32, 32), Image.Resampling.BILINEAR), np.float32)
    assert abs(stored.permute(1, 2, 0).numpy() - expected).max() < 2
    without = FeatureStore(tmp_path / "features", model.preprocess, with_pictures=False)[0, 3].image
    assert isinstance(without, Encoded)
    assert without.images is None


@pytest.mark.parametrize("reencode_size", [0, 32])
def test_an_interrupted_encoding_goes_on(tmp_path: Path, reencode_size: int) -> None:
    """Oracle: the finished files, byte for byte; a mark in what was done before is kept, so it is not done again."""
    directory = tmp_path / "features"
    config = settings(tmp_path / "run", features=directory, reencode_size=reencode_size)
    train(config, console=QUIET)
    whole = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert ("pictures.u8" in whole) == bool(reencode_size)
    note = directory / "features.json"
    note.write_text(note.read_text().replace('"done": 20', '"done": 16'))
    for name in {"features.f16", "pictures.u8"} & whole.keys():
        done = len(whole[name]) * 16 // 20
        whole[name] = whole[name][: done - 1] + bytes([whole[name][done - 1] ^ 1]) + whole[name][done:]
        (directory / name).write_bytes(whole[name][:done] + bytes(len(whole[name]) - done))
    (tmp_path / "run" / "last.safetensors").unlink()
    train(config, console=QUIET)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == whole


def test_an_encoding_that_is_killed_while_it_saves_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the finished files, byte for byte; killed between the captions and the note of how many are done."""
    directory = tmp_path / "features"
    config = settings(tmp_path / "run", features=directory)
    train(config, console=QUIET)
    whole = {path.name: path.read_bytes() for path in directory.iterdir()}
    for path in directory.iterdir():
        path.unlink()
    (tmp_path / "run" / "last.safetensors").unlink()
    monkeypatch.setattr("tcl_core.data.features.SAVE_EVERY", 1)  # after the first 16 of 20
    written: list[str] = []

    def killed(path: Path, data: bytes) -> None:
        if written.count("features.json") and path.name == "features.json":
            raise KeyboardInterrupt
        written.append(path.name)
        write_atomically(path, data)

    monkeypatch.setattr("tcl_core.data.features.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, console=QUIET)
    assert json.loads((directory / "features.json").read_text())["done"] == 16
    assert len(json.loads((directory / "captions.json").read_text())) == 20
    monkeypatch.undo()
    train(config, console=QUIET)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == whole


def test_features_of_other_data_are_refused(tmp_path: Path) -> None:
    """Oracle: the message."""
    train(settings(tmp_path / "one", features=tmp_path / "features"), console=QUIET)
    other = settings(tmp_path / "two", features=tmp_path / "features", augmentation="flip")
    with pytest.raises(DataError, match=r"other data.*data\.features"):
        train(other, console=QUIET)


def test_terms_that_need_images_are_refused(tmp_path: Path) -> None:
    """Oracle: the message."""
    config = settings(tmp_path / "run", features=tmp_path / "features")
    with pytest.raises(ConfigError, match=r"data\.reencode_size"):
        train(replace(config, losses=replace(config.losses, tcl_v=0.1)), console=QUIET)
    with pytest.raises(ConfigError, match=r"losses\.region is on and data\.phrases is off"):
        train(replace(config, losses=replace(config.losses, region=0.1)), console=QUIET)
