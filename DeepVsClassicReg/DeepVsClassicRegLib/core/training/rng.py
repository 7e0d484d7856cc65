"""Torch's global random generators, which a training restores when it ends."""

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
