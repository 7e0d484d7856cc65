"""Torch's global random generators, which are restored after training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept_random(device: torch.device) -> Iterator[None]:
    """Restore the state of torch's random generators after the block."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
