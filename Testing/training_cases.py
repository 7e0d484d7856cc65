"""Tiny labeled cases on the disk, in seconds of training: balls with ridges in different directions, one label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume

SIDE, SPACING_MM = 16, 3.0
GRID = Grid((SIDE, SIDE, SIDE), (SPACING_MM,) * 3)
# Choices for the smallest useful training: plain entries of `TrainingOptions`.
TINY = {
    "method": "voxelmorph",
    "settings": {"encoder": [4, 4], "decoder": [4, 4], "similarity": "mse", "smoothness": 1e-4, "label_weight": 5.0},
    "size": str(SIDE),
    "spacing_mm": SPACING_MM,
    "linear": "",
    "validation": 1,
    "augmentation": {},
}
TINY_TRAIN = {"learning_rate": 0.005, "validate_every": 5, "log_every": 1, "checkpoint_minutes": 0.0}


def star(number: int) -> np.ndarray:
    """Return a soft ball with three ridges in random directions, which no linear alignment matches, (Z, Y, X)."""
    x, y, z, turn = np.random.default_rng(number).uniform((-1, -1, -1, 0), (1, 1, 1, 2 * np.pi))
    grid = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    distance = np.sqrt((grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - x) ** 2)
    radius = 4.5 + 2.0 * np.cos(3 * np.arctan2(grid[1] - y, grid[2] - x) + turn)
    return (100 / (1 + np.exp(2 * (distance - radius)))).astype(np.float32)


def write_cases(folder: Path, count: int = 5, *, unlabeled: int = 0) -> Path:
    """Write cases with labels in `labels`, the last ones without, and return the folder."""
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = star(number // 2 % 2)  # so few that a training of seconds learns them
        write_volume(Volume(image, GRID), folder / f"case{number}.nii.gz")
        if number < count - unlabeled:
            write_volume(LabelMap((image > 50).astype(np.int16), GRID), folder / "labels" / f"case{number}.nii.gz")
    return folder
