"""The exchange between processes. Oracle: the identity, on one process; several are in test_distributed.py."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tcl_core.train.gather import ProcessGroup, SingleProcess


def test_alone_everything_is_returned() -> None:
    gather = SingleProcess()
    rows = torch.arange(6.0).reshape(3, 2).requires_grad_()
    assert gather.all(rows) is rows
    assert gather.mean(rows) is rows
    assert gather.any(True)
    assert not gather.any(False)
    assert (gather.rank, gather.world_size) == (0, 1)


def test_a_group_of_processes_has_to_be_there() -> None:
    with pytest.raises(RuntimeError, match="no group of processes.*torchrun"):
        ProcessGroup()


def test_a_group_of_one_is_the_identity_with_gradient(tmp_path) -> None:
    """Identity: values and gradients pass the collectives unchanged."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        gather = ProcessGroup()
        rows = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
        weights = torch.arange(6.0).reshape(3, 2)
        torch.testing.assert_close(gather.all(rows), rows)
        ((gather.all(rows) + gather.mean(rows)) * weights).sum().backward()
        torch.testing.assert_close(rows.grad, 2 * weights)
        parameter = nn.Parameter(torch.ones(2))
        gather.average_gradients([parameter])  # no gradient yet: nothing to average
        parameter.grad = torch.tensor([1.0, 2.0])
        gather.average_gradients([parameter])
        assert parameter.grad.tolist() == [1.0, 2.0]
        assert gather.any(True)
        assert not gather.any(False)
    finally:
        dist.destroy_process_group()
