"""Small things a training borrows and gives back: torch's random generators and its threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept_random(device: torch.device) -> Iterator[None]:
    """Put torch's random generators back after the block as they were."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def bounded_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
