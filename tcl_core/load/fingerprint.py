"""A hash of weights, to tell whether a grounder meets the encoders it grew on."""

import hashlib
from collections.abc import Iterable

import torch
from torch import nn


def fingerprint(modules: Iterable[nn.Module]) -> str:
    """Hash the weights of modules, to tell whether a grounder meets the encoders it grew on."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


__all__ = ["fingerprint"]
