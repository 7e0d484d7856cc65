"""Similarity terms on the numba back end: each turns a field into a value (lower is better) and a force."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import numba_lncc, numba_sampling
from .region import Region

F32 = np.float32
Image = npt.NDArray[np.float32]


class Lncc:
    """Squared local correlation of cubes; 1 minus its mean over the region.

    Parameters
    ----------
    fixed, moving : (Z, Y, X) float32 arrays
        Images of the level, foreground scaled to about 0..1.
    region : Region
        Where it is computed.
    radius : int
        Cubes of 2 * radius + 1 voxels.
    threads : int
        Slabs that run side by side.
    weight, moving_weight : (Z, Y, X) float32 array, optional
        Masks: which windows count, in the fixed and in the moving volume.
    """

    def __init__(
        self,
        fixed: Image,
        moving: Image,
        region: Region,
        *,
        radius: int,
        threads: int,
        weight: Image | None = None,
        moving_weight: Image | None = None,
        eps: float = 1e-5,
    ) -> None:
        self.fixed, self.moving, self.region = fixed, moving, region
        self.radius, self.eps = radius, F32(eps)
        self.slabs = max(1, min(threads, fixed.shape[0] // (2 * radius + 1)))
        self._mean = np.empty_like(fixed)
        self._variance = np.empty_like(fixed)
        numba_lncc.local_statistics(fixed, radius, self.slabs, self._mean, self._variance)
        self._weight = np.ones_like(fixed) if weight is None else weight
        self._moving_weight = moving_weight
        self._now = self._weight.copy() if moving_weight is not None else self._weight
        # A constant copy outside of the region keeps the windows at its border quiet.
        self._warped = moving.copy()
        self._values = np.zeros(fixed.shape[0], F32)
        self._count = max(float(self._weight.sum(dtype=np.float64)) if weight is not None else region.voxels, 1.0)

    def force(self, u: Any, out: Any) -> float:
        """Write the ascent direction of the similarity at the field u and return the value."""
        rows, planes = self.region.rows, self.region.planes
        numba_sampling.warp(self.moving, u, rows, self._warped)
        if self._moving_weight is not None:
            numba_sampling.warp(self._moving_weight, u, rows, self._now)
            self._now *= self._weight
        numba_lncc.lncc_force(
            self.fixed, self._warped, self._mean, self._variance, self._now, self.radius, self.eps,
            rows, planes, self.slabs, out, self._values,
        )  # fmt: skip
        return 1.0 - float(self._values.sum(dtype=np.float64)) / self._count
