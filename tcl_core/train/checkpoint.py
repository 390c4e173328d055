"""Checkpoints: one safetensors file, with everything that is not a tensor as JSON in its header.

Nothing in it is executable. It takes its name only when it is complete, so that a run that is killed while writing
keeps the previous one.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tcl_core.atomic_file import write_atomically
from tcl_core.errors import CheckpointError, ConfigError, WriteError

FORMAT_VERSION = 1
HEADER = "tcl_edge"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        tensors: by name.
        state: plain values: numbers, strings, lists, dicts.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; whatever was there is replaced in one moment, or not at all.

    Raises:
        CheckpointError: it could not be written (disk full, no permission); what was there is intact.
    """
    state = json.dumps({"format_version": FORMAT_VERSION, **checkpoint.state}, allow_nan=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
    try:
        write_atomically(path, save(tensors, metadata={HEADER: state}))
    except WriteError as error:
        raise CheckpointError(
            f"{path} could not be written ({error.reason}; {_free(path)}). "
            + ("The one before it is intact. " if path.is_file() else "")
            + "Make room or choose another output, then go on with --resume."
        ) from error


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 1e6:,.0f} MB free"
    except OSError:
        return "directory not readable"


def read_checkpoint(path: Path, *, tensors: bool = True) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Args:
        path: of the file.
        tensors: read them, too; without them only the header is looked at.

    Raises:
        ConfigError: there is no such file.
        CheckpointError: it is damaged, no checkpoint of training, or of another version.
    """
    if not path.is_file():
        raise ConfigError(f"no checkpoint {path}: expected last.safetensors or best.safetensors of a run's output")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            names = file.keys() if tensors else ()
            read = {name: file.get_tensor(name) for name in names}
        state = json.loads(header) if header else None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint ({error}); take best.safetensors instead") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds weights only: expected what training writes; give it as model.start")
    if state.pop("format_version", None) != FORMAT_VERSION:
        raise CheckpointError(f"{path} was written by another version; expected format {FORMAT_VERSION}")
    return Checkpoint(read, state)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """Name the optimizer's tensors by the parameters they belong to: {"exp_avg/grounder.decoder...": ...}."""
    return {
        f"{kind}/{name}": value
        for parameter, name in names.items()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put the optimizer's tensors back, by the names of `optimizer_tensors`."""
    for name, value in tensors.items():
        kind, _, parameter = name.partition("/")
        # Adam counts steps on the CPU, whatever the device of the parameter.
        device = value.device if kind == "step" else parameters[parameter].device
        optimizer.state[parameters[parameter]][kind] = value.clone().to(device)


__all__ = ["Checkpoint", "optimizer_tensors", "read_checkpoint", "restore_optimizer", "write_checkpoint"]
