"""Checkpoints and exported models. Oracles: round trips, real full disks, damage done by hand."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tcl_core.errors import CheckpointError, ConfigError
from tcl_core.load.fingerprint import fingerprint
from tcl_core.train.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)

Limit = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def checkpoint() -> Checkpoint:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(7.0), "b": torch.arange(6.0).reshape(2, 3).T}
    return Checkpoint(tensors, {"step": 7, "name": "run", "list": [1.5, None], "nested": {"x": True}})


def test_a_checkpoint_survives_the_disk(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "new" / "last.safetensors", checkpoint)
    read = read_checkpoint(tmp_path / "new" / "last.safetensors")
    assert read.state == checkpoint.state
    assert read.tensors.keys() == checkpoint.tensors.keys()
    assert all(torch.equal(read.tensors[name], value) for name, value in checkpoint.tensors.items())


def test_anyone_can_read_it_without_this_package(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Oracle: safetensors alone, and JSON."""
    write_checkpoint(tmp_path / "c.safetensors", checkpoint)
    assert torch.equal(load_file(tmp_path / "c.safetensors")["a"], checkpoint.tensors["a"])
    content = (tmp_path / "c.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["tcl_edge"])["step"] == 7


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, files_no_longer_than: Limit) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, Checkpoint({"a": torch.zeros(3)}, {"step": 1}))
    big = Checkpoint({"a": torch.zeros(1_000_000)}, {"step": 2})
    told = r"could not be written.*The one before it is intact\. Make room"
    with files_no_longer_than(100_000), pytest.raises(CheckpointError, match=told):
        write_checkpoint(path, big)
    assert read_checkpoint(path).state["step"] == 1
    assert [item.name for item in tmp_path.iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize("keep", [0, 4, 100, -3])
def test_a_damaged_checkpoint_is_refused(keep: int, checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, checkpoint)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        read_checkpoint(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint .*expected last.safetensors"):
        read_checkpoint(tmp_path / "gone.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="holds weights only"):
        read_checkpoint(tmp_path / "weights.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "new.safetensors", {"tcl_edge": '{"format_version": 99}'})
    with pytest.raises(CheckpointError, match="another version"):
        read_checkpoint(tmp_path / "new.safetensors")


def test_an_optimizer_goes_on_as_if_nothing_had_happened() -> None:
    """Identity: the next step after restoring is bit for bit the next step without."""
    torch.manual_seed(0)
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    first = torch.optim.AdamW(one.parameters(), lr=0.1)
    for _ in range(3):
        one(torch.ones(1, 3)).sum().backward()
        first.step()
    other.load_state_dict(one.state_dict())
    second = torch.optim.AdamW(other.parameters(), lr=0.1)
    names = {parameter: name for name, parameter in one.named_parameters()}
    restore_optimizer(second, dict(other.named_parameters()), optimizer_tensors(first, names))
    for model, optimizer in ((one, first), (other, second)):
        model.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_fingerprint_tells_weights_apart() -> None:
    torch.manual_seed(0)
    module = nn.Linear(2, 2)
    before = fingerprint([module])
    assert fingerprint([module]) == before
    with torch.no_grad():
        module.weight[0, 0] += 1e-6
    assert fingerprint([module]) != before
