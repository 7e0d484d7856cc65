"""The processes of a training run: one, or several started by torchrun, each with its own GPU (or CPU threads)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from ..device import torch_device


@dataclass(frozen=True)
class Group:
    """A process of a training run.

    Attributes
    ----------
    device : torch.device
        Its device.
    rank, size : int
        Its number, and the number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def any_true(self, mine: bool) -> bool:
        """Return whether the value is true in any process (all must call)."""
        if self.size == 1:
            return mine
        flag = torch.tensor([float(mine)], device=self.device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag.item() > 0)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean over the processes (all must call)."""
        if self.size > 1:
            distributed.all_reduce(values)
            values = values / self.size
        return values

    def share(self, module: nn.Module) -> nn.Module:
        """Return the module wrapped so that all processes make the same update."""
        if self.size == 1:
            return module
        devices: Any = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)


def group_rank() -> int:
    """Return the number of this process set by torchrun, 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def joined_group(wanted_device: str) -> Iterator[Group]:
    """Join the processes started by torchrun; a group of one without torchrun.

    Parameters
    ----------
    wanted_device : str
        'auto', 'cpu', 'cuda' or 'mps'; with CUDA process r of a machine takes GPU r.
    """
    kind, size = torch_device(wanted_device), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if kind == "cuda" else torch.device(kind)
    if size == 1:
        yield Group(device)
        return
    if kind == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Group(device, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
