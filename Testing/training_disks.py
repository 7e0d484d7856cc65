"""A source for tests: plane images of a soft disk, the moving one shifted by two pixels; counters of checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.networks.base import Batch
from DeepVsClassicRegLib.core.networks.voxelmorph import VoxelMorphSettings
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.settings import to_json
from DeepVsClassicRegLib.core.training.checkpoint import CHECKPOINT_FILE
from DeepVsClassicRegLib.core.training.config import TrainingConfig, TrainSettings
from safetensors import safe_open

SIDE = 24
SMALL = {"encoder": (6, 6), "decoder": (6, 6, 6), "similarity": "mse", "smoothness": 0.01}
DATA = {"spec": "shapes", "size": [SIDE, SIDE], "spacing_mm": 1.0, "batch": 1, "synthesis": {}}


class Blobs:
    """Disks at random places, one label."""

    size = (SIDE, SIDE)
    spacing_mm = 1.0
    labels = {1: "disk"}
    licence = "none needed"

    def __init__(self, *, validation: int = 3, broken_from: int | None = None) -> None:
        self.pairs, self.broken_from = validation, broken_from
        self.asked: list[int] = []

    def sample(self, step: int) -> Batch:
        self.asked.append(step)
        batch = self._pair(step)
        if self.broken_from is not None and step >= self.broken_from:
            return Batch(batch.fixed * float("nan"), batch.moving, batch.fixed_labels, batch.moving_labels)
        return batch

    def validation(self) -> list[Batch]:
        return [self._pair(10_000 + number) for number in range(self.pairs)]

    def validation_pairs(self) -> list[Pair]:
        return []

    def domain_examples(self) -> list[Volume]:
        grid = Grid((SIDE, SIDE, 1))
        return [Volume(self._pair(step).fixed[0].numpy(), grid) for step in range(3)]

    def describe(self) -> dict[str, str]:
        return {"kind": "disks"}

    def _pair(self, key: int) -> Batch:
        y, x = np.random.default_rng([7, key]).uniform(9, SIDE - 10, 2)
        fixed, moving = _disk(y, x), _disk(y, x + 2)
        return Batch(fixed, moving, (fixed > 0.5).float(), (moving > 0.5).float())


def _disk(y: float, x: float) -> torch.Tensor:
    axis = torch.arange(SIDE, dtype=torch.float32)
    distance = torch.hypot(axis[:, None] - y, axis[None] - x)
    return torch.sigmoid(5.0 - distance)[None, None]


def config_of(*, supervision: str = "none", settings: dict | None = None, **train) -> TrainingConfig:
    """Return a config for a small plane VoxelMorph."""
    return TrainingConfig(
        method="voxelmorph",
        method_settings=to_json(VoxelMorphSettings(**{**SMALL, **(settings or {})})),
        supervision=supervision,
        data=DATA,
        train=TrainSettings(**{"steps": 20, "learning_rate": 5e-3, "validate_every": 10, "log_every": 5, **train}),
        card={"name": "disks", "licence": "CC0-1.0"},
        command="dvcreg train",
    )


def counters_of(folder: Path) -> dict:
    """Step, seconds and best measures in the checkpoint of a training run."""
    with safe_open(folder / CHECKPOINT_FILE, framework="numpy") as file:
        return json.loads(file.metadata()["training"])
