"""The paper's ablations as configurations. Oracle: the table of readings below, and what is really trained."""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from tcl_core.load.build import build_model
from tcl_core.train.__main__ import read_config
from tcl_core.train.gather import SingleProcess
from tcl_core.train.loading import open_data, parts_from
from tcl_core.train.recipe import TrainConfig
from tcl_core.train.trainer import Trainer

CONFIGS = Path(__file__).parents[3] / "configs"
# The terms that are on, and the decoder; the total variations go with TCL or the area.
READINGS = {
    "A": ({"contrastive"}, False),
    "B": ({"contrastive"}, True),
    "C": ({"tcl_v", "tcl_f", "area", "tv"}, True),
    "D": ({"tcl_v", "tv"}, True),
    "E": ({"tcl_v", "area", "tv"}, True),
    "F": ({"tcl_f", "area", "tv"}, True),
    "G": ({"tcl_v", "tcl_f", "area", "contrastive", "tv"}, True),
    "H": ({"area", "contrastive", "tv"}, True),
}


def read(base: str, ablation: str, *overrides: str) -> TrainConfig:
    return read_config([str(CONFIGS / f"{base}.yaml"), str(CONFIGS / "ablations" / f"{ablation}.yaml"), *overrides])


def test_every_ablation_is_there() -> None:
    assert {path.stem for path in (CONFIGS / "ablations").glob("*.yaml")} == set(READINGS)


@pytest.mark.parametrize("base", ["tcl_vitb16", "toy"])
@pytest.mark.parametrize("ablation", READINGS)
def test_an_ablation_is_its_reading_on_any_base(base: str, ablation: str) -> None:
    config = read(base, ablation)
    on, decoder = READINGS[ablation]
    assert {name for name, weight in vars(config.losses).items() if weight} == on
    assert config.model.decoder is decoder


@pytest.mark.parametrize("ablation", READINGS)
def test_an_ablation_trains_what_it_should(ablation: str, tmp_path: Path) -> None:
    """One real step: every parameter that is said to train gets a gradient, and nothing else does."""
    small = ("model.toy_steps=0", "blocks_from_step=0", "data.batch_size=4", "data.part_size=4")
    config = read("toy", ablation, f"output={tmp_path}", *small)
    trainer = Trainer(config, build_model(config.model, 0), SingleProcess(), torch.device("cpu"))
    source = open_data(config, SingleProcess(), Console(quiet=True))
    result = trainer.train_step([next(parts_from(config, trainer, source))])
    on, decoder = READINGS[ablation]
    pairs = {"area": ("area_positive", "area_negative"), "tv": ("tv_embeddings", "tv_masks")}
    assert result.weighted.keys() == {term for name in on for term in pairs.get(name, (name,))}
    without = [name for name, parameter in trainer.parameters.items() if parameter.grad is None]
    assert not without
    names = trainer.parameters.keys()
    assert any(name.startswith("grounder.decoder") for name in names) is decoder
    assert ("grounder.similarity_to_mask.scale" in names) is bool(on - {"contrastive"})
    assert {name.removeprefix("temperatures.") for name in names if name.startswith("temperatures.")} == on & {
        "tcl_v",
        "tcl_f",
        "contrastive",
    }
