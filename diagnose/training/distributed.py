"""One training in several processes: `torchrun --nproc-per-node=N -m diagnose.cli train ...`, on CPUs by gloo.

Every process holds the whole network, takes its part of each batch, and adds its gradient to the others'; then all take
the same step. The batch, and so the order of slices, is that of one process: `bn` aside, N changes the rounding only.

Gradients are added here in one piece, and not by `torch.nn.parallel.DistributedDataParallel`: that regroups them after
the first step, so that with three processes or more a resumed run would add in another order; and it weighs processes
equally, which is wrong where a batch does not divide.

Batch norm takes the statistics of each process's own part, as torch's own wrapper does; its running statistics are
those of the first process. The other norms never see more than one image.

Limits
------
The first process alone makes images, validates and writes; the others need to see its files (one machine, or a shared
disk). torchrun reports a failure of its own, with exit code 1, below the line and code of this program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from mrisim.errors import MrisimError

if TYPE_CHECKING:
    from torch import nn

Result = TypeVar("Result")

SMALL_PART = 16
"""Fewer slices in a process make poor statistics of batch norm: the user is warned."""
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = timedelta(days=1)
"""The first process may take hours over images; a process that dies is noticed at once all the same."""


class EndedByFirst(MrisimError):
    """The first process failed, and says why: the others end with its exit code and without a word."""

    def __init__(self, exit_code: int):
        super().__init__("")
        self.exit_code = exit_code


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training, seen from one of them; by default that one is alone."""

    rank: int = 0
    n_processes: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that validates and writes."""
        return self.rank == 0

    def first(self, action: Callable[[], Result]) -> Result:
        """Let the first process do something while the others wait; all get its result.

        Raises
        ------
        MrisimError
            What the first process raised; `EndedByFirst` in the others.
        """
        if self.n_processes == 1:
            return action()
        import torch.distributed as dist

        message: list[tuple[Result | None, int]] = [(None, 0)]
        error: MrisimError | None = None
        if self.is_first:
            try:
                message = [(action(), 0)]
            except MrisimError as caught:
                error, message = caught, [(None, caught.exit_code)]
        dist.broadcast_object_list(message, src=0)
        if error is not None:
            raise error
        result, exit_code = message[0]
        if exit_code:
            raise EndedByFirst(exit_code)
        return result  # type: ignore[return-value]

    def part(self, start: int, stop: int) -> slice:
        """Return this process's part of the places from start to stop: in order, sizes differ by one at most."""
        n = stop - start
        return slice(start + self.rank * n // self.n_processes, start + (self.rank + 1) * n // self.n_processes)

    def totals(self, *values: float) -> tuple[float, ...]:
        """Return the sum of each value over the processes, in double precision."""
        if self.n_processes == 1:
            return values
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        return tuple(tensor.tolist())

    def add_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over the processes; one that had no slice adds nothing."""
        if self.n_processes == 1:
            return
        import torch
        import torch.distributed as dist

        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for parameter, gradient, piece in zip(parameters, gradients, pieces, strict=True):
            gradient.copy_(piece.view(gradient.shape))
            parameter.grad = gradient


def is_first_process() -> bool:
    """Return whether this process is the only one, or the first that torchrun started: the one that talks."""
    return os.environ.get("RANK", "0") == "0" or not _started_by_torchrun()


def n_processes_here() -> int:
    """Return how many processes torchrun started on this machine; they share its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _started_by_torchrun() else 1


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, for a while; a process on its own is a group of one."""
    if not _started_by_torchrun() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ProcessGroup()
        return
    import torch.distributed as dist

    if dist.is_initialized():  # by the caller, who also ends it
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
        return
    # Its functions take the group of the moment as their default. Imported later, as torch's optimizers do, they would
    # keep this one alive, and its threads, which may abort the process while it ends.
    import torch.distributed.nn  # noqa: F401

    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _started_by_torchrun() -> bool:
    return all(name in os.environ for name in _VARIABLES)
