"""Grids of every kind that is a normal input, for tests."""

from __future__ import annotations

import numpy as np
from DeepVsClassicRegLib.core.images.grid import Grid


def rotation(seed: int, *, left_handed: bool = False) -> np.ndarray:
    """Return a random orthonormal matrix, a reflection when left-handed."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    if (np.linalg.det(matrix) < 0) != left_handed:
        matrix[:, 0] *= -1
    return matrix


def oblique_grid(size=(24, 20, 16), spacing=(1.5, 2.0, 3.0), *, seed=0, left_handed=True) -> Grid:
    """Return an oblique, anisotropic grid centered near the origin."""
    axes = rotation(seed, left_handed=left_handed)
    middle = axes @ ((np.array(size) - 1) / 2 * np.array(spacing))
    return Grid(size, spacing, tuple(np.array([3.0, -7.0, 11.0]) - middle), tuple(axes.ravel()))


GRIDS = {
    "canonical": Grid((24, 20, 16)),
    "oblique": oblique_grid(left_handed=False),
    "left-handed": oblique_grid(),
    "permuted": Grid((24, 20, 16), (1.5, 2.0, 3.0), (5, 6, 7), (0, 1, 0, 0, 0, 1, 1, 0, 0)),
}
