"""Several real processes against one on the concatenated batch. Oracle: the single process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tcl_core.train.__main__ import main

ROOT = Path(__file__).parents[3]
COMMAND = [str(ROOT / "configs" / "toy.yaml"), "model.toy_steps=0", "data.batch_size=8", "data.part_size=4"]
COMMAND += ["steps=4", "blocks_from_step=2", "validate_every=2", "validation={kind: scenes, count: 2}"]
COMMAND += ["tensorboard=false"]

pytestmark = pytest.mark.slow


LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tcl_core.train"]


def run(*command: str | Path) -> str:
    """Run Python; what it says on standard error."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, *map(str, command)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def stored_in(folder: Path) -> list[str]:
    """Settings of a run on phrases and stored features, which the first process computes."""
    options = [f"output={folder}", f"data.features={folder / 'features'}", "data.reencode_size=64"]
    return [*options, "data.phrases=true", "data.augmentation=none", "data.sources=[{kind: scenes, count: 40}]"]


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What distributed_steps.py leaves: gradients, a run of two processes in `two`, and what all of it said."""
    folder = tmp_path_factory.mktemp("forked")
    said = run(Path(__file__).parent / "distributed_steps.py", folder, *COMMAND, *stored_in(folder / "two"))
    (folder / "said.txt").write_text(said, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("num_processes", "part_size"), [(2, 4), (4, 2), (2, 2)])
@pytest.mark.parametrize("texts", ["captions", "phrases"])
def test_processes_give_the_gradients_of_one(num_processes: int, part_size: int, texts: str, forked: Path) -> None:
    """Losses to 1e-5, gradients to 1e-4 of their largest, before and after the blocks begin to train.

    The last case also accumulates gradients, two parts in each process. With whole captions and with noun phrases,
    which several images own.
    """
    alone = load_file(forked / f"{texts}-1-8.safetensors")
    together = load_file(forked / f"{texts}-{num_processes}-{part_size}.safetensors")
    assert together.keys() == alone.keys()
    assert "1/grounder.blocks.module.norm.weight" in alone
    assert "0/grounder.blocks.module.norm.weight" not in alone
    for step in "01":
        gradients = {name: value for name, value in alone.items() if name.startswith(step)}
        largest = max(float(value.abs().max()) for name, value in gradients.items() if "/loss/" not in name)
        for name, value in gradients.items():
            is_loss = "/loss/" in name
            torch.testing.assert_close(
                together[name], value, rtol=1e-5 if is_loss else 0, atol=1e-7 if is_loss else 1e-4 * largest
            )


def assert_trained_alike(folder: Path, other: Path) -> None:
    """Weights to 1e-3: Adam divides by the size of the gradient, so that rounding in tiny gradients is visible."""
    one, two = (load_file(run / "last.safetensors") for run in (folder, other))
    assert one.keys() == two.keys()
    for name in one:
        if name.startswith(("grounder.", "temperatures.")):
            torch.testing.assert_close(two[name], one[name], atol=1e-3, rtol=1e-3)


def test_the_command_trains_the_same_with_torchrun(tmp_path: Path) -> None:
    """The whole command on two processes: data, phases, validation, checkpoint, in four steps."""
    # A part of 8 is what one process takes; the share of each of two is smaller.
    run(*LAUNCHER, *COMMAND, "data.part_size=8", f"output={tmp_path / 'two'}")
    main([*COMMAND, f"output={tmp_path / 'one'}"])
    assert_trained_alike(tmp_path / "one", tmp_path / "two")


def test_a_wrong_setting_is_told_once(forked: Path) -> None:
    """Both processes find it; oracle: the number of lines that say so, and no training begins."""
    said = (forked / "said.txt").read_text(encoding="utf-8")
    assert said.count("error: batch_size 9 in parts of 4 on 2 processes") == 1
    assert "Traceback" not in said
    assert not (forked / "odd").exists()


def test_processes_share_stored_features(forked: Path, tmp_path: Path) -> None:
    """The same on phrases and stored features, which the first process computes."""
    main([*COMMAND, *stored_in(tmp_path)])
    assert_trained_alike(tmp_path, forked / "two")
