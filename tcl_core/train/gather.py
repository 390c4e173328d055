"""Exchange between the processes of a training run. Every loss gets a `Gather`; in a single process it does nothing."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Gather(Protocol):
    """Exchange between `world_size` processes that each hold equally many images.

    A process computes the mean of its own images' losses; the loss of the run is the mean over processes. Gradients
    that arrive through `all` and `mean` are summed over the processes, so that averaging parameter gradients over
    processes afterwards, as DistributedDataParallel does, gives the gradient of the run's loss.
    """

    rank: int
    world_size: int

    def all(self, rows: Tensor) -> Tensor:
        """Stack the rows of all processes by rank, with gradient: (B,...) -> (world_size*B,...)."""
        ...

    def strings(self, own: list[str]) -> list[str]:
        """Join the lists of all processes by rank."""
        ...

    def mean(self, value: Tensor) -> Tensor:
        """Average over the processes, with gradient: any shape -> the same."""
        ...

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in place."""
        ...

    def any(self, flag: bool) -> bool:
        """Tell whether any process raised the flag."""
        ...


class SingleProcess:
    """No other process: everything is returned as it is."""

    rank = 0
    world_size = 1

    def all(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows

    def strings(self, own: list[str]) -> list[str]:
        """Return the list."""
        return own

    def mean(self, value: Tensor) -> Tensor:
        """Return the value."""
        return value

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Do nothing."""

    def any(self, flag: bool) -> bool:
        """Return the flag."""
        return flag


# PyTorch's own collectives with gradient were deprecated in favour of a module whose name begins with an underscore;
# these two need public calls only.
class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.num_rows = len(rows)
        stacked = rows.new_empty(dist.get_world_size() * len(rows), *rows.shape[1:])
        dist.all_gather(list(torch.split(stacked, len(rows))), rows.contiguous())  # into views of `stacked`
        return stacked

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        # A copy: the reduction works in place, and the gradient may be a view or be used elsewhere.
        gradient: Tensor = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.num_rows
        return gradient[first : first + ctx.num_rows]


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        mean = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(mean)
        return mean / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        gradient: Tensor = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient / dist.get_world_size()


class ProcessGroup:
    """The processes of the default group of torch.distributed.

    Raises:
        RuntimeError: there is no such group; start the command with torchrun.
    """

    def __init__(self) -> None:
        if not dist.is_initialized():
            raise RuntimeError(
                "no group of processes: expected torch.distributed.init_process_group to have been called; start with "
                "torchrun, or use SingleProcess"
            )
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()

    def all(self, rows: Tensor) -> Tensor:
        """Stack the rows of all processes by rank, with gradient: (B,...) -> (world_size*B,...)."""
        stacked: Tensor = _AllRows.apply(rows)
        return stacked

    def strings(self, own: list[str]) -> list[str]:
        """Join the lists of all processes by rank."""
        lists: list[list[str]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(lists, own)
        return [string for part in lists for string in part]

    def mean(self, value: Tensor) -> Tensor:
        """Average over the processes, with gradient: any shape -> the same."""
        mean: Tensor = _Mean.apply(value)
        return mean

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in place."""
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world_size

    def any(self, flag: bool) -> bool:
        """Tell whether any process raised the flag."""
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        raised = torch.tensor(int(flag), device=device)
        dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return bool(raised.item())


__all__ = ["Gather", "ProcessGroup", "SingleProcess"]
