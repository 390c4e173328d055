"""Several real processes against one on the concatenated batch. Oracle: the single process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

WORKER = Path(__file__).parent / "distributed_steps.py"
ROOT = Path(__file__).parents[3]


def run_steps(output: Path, num_processes: int, part_size: int, texts: str) -> dict[str, Tensor]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    command = [sys.executable, *(launcher if num_processes > 1 else []), str(WORKER), str(output), str(part_size)]
    command.append(texts)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(output)


@pytest.fixture(scope="module", params=["captions", "phrases"])
def texts(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def alone(texts: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return run_steps(tmp_path_factory.mktemp("alone") / "steps.safetensors", 1, 8, texts)


@pytest.mark.slow
@pytest.mark.parametrize(("num_processes", "part_size"), [(2, 4), (4, 2), (2, 2)])
def test_processes_give_the_gradients_of_one(
    num_processes: int, part_size: int, texts: str, alone: dict[str, Tensor], tmp_path: Path
) -> None:
    """Losses to 1e-5, gradients to 1e-4 of their largest, before and after the blocks begin to train.

    The last case also accumulates gradients, two parts in each process. With whole captions and with noun phrases,
    which several images own.
    """
    together = run_steps(tmp_path / "steps.safetensors", num_processes, part_size, texts)
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


@pytest.mark.slow
@pytest.mark.parametrize("stored", [False, True])
def test_the_command_trains_the_same_with_torchrun(stored: bool, tmp_path: Path) -> None:
    """The whole command on two processes: data, phases, validation, checkpoint. Weights of four steps to 1e-3.

    Also on phrases and stored features, which the first process computes. Adam divides by the size of the gradient, so
    that rounding in tiny gradients is visible in the weights.
    """
    options = ["model.toy_steps=0", "data.batch_size=8", "data.part_size=4", "steps=4", "blocks_from_step=2"]
    options += ["validate_every=2", "validation={kind: scenes, count: 2}", "tensorboard=false"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"])):
        command = [sys.executable, *launcher, "-m", "tcl_core.train", str(ROOT / "configs" / "toy.yaml"), *options]
        command.append(f"output={tmp_path / name}")
        if stored:
            command += [f"data.features={tmp_path / name / 'features'}", "data.reencode_size=64", "data.phrases=true"]
            command += ["data.augmentation=none", "data.sources=[{kind: scenes, count: 40}]"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        if name.startswith(("grounder.", "temperatures.")):
            torch.testing.assert_close(two[name], one[name], atol=1e-3, rtol=1e-3)
