"""Similarity terms on the numba back end: each turns a field into a value (lower is better) and a force."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import numba_lncc, numba_pointwise, numba_sampling
from .region import Region
from .schedule import nothing

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
        # Every slab computes `radius` planes more at both ends, so thin ones are not worth it.
        slabs = max(1, min(threads, fixed.shape[0] // (2 * radius + 1)))
        self.cuts = region.cuts(slabs)
        self._mean = np.empty_like(fixed)
        self._variance = np.empty_like(fixed)
        numba_lncc.local_statistics(fixed, radius, slabs, self._mean, self._variance)
        self.pause = nothing
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
        self.pause()
        numba_lncc.lncc_force(
            self.fixed, self._warped, self._mean, self._variance, self._now, self.radius, self.eps,
            rows, planes, self.cuts, out, self._values,
        )  # fmt: skip
        return 1.0 - float(self._values.sum(dtype=np.float64)) / _compared(
            self._count, self._now, self._moving_weight, rows
        )


class Residual:
    """Mean squared difference over any number of channels (intensities or descriptors).

    Parameters
    ----------
    fixed, moving : (C, Z, Y, X) float32 arrays
        Channels; the value is the mean over region and channels.
    region : Region
        Where it is computed.
    weight, moving_weight : (Z, Y, X) float32 array, optional
        Masks.
    """

    def __init__(
        self,
        fixed: Image,
        moving: Image,
        region: Region,
        *,
        weight: Image | None = None,
        moving_weight: Image | None = None,
    ) -> None:
        self.fixed, self.moving, self.region = fixed, moving, region
        self._weight = np.ones_like(fixed[0]) if weight is None else weight
        self._moving_weight = moving_weight
        self._now = self._weight.copy() if moving_weight is not None else self._weight
        self.pause = nothing
        self._warped = moving[0].copy()
        self._values = np.zeros(fixed.shape[1], F32)
        self._count = max(float(self._weight.sum(dtype=np.float64)) if weight is not None else region.voxels, 1.0)

    def force(self, u: Any, out: Any) -> float:
        """Write the descent direction at the field u and return the mean squared difference."""
        rows = self.region.rows
        if self._moving_weight is not None:
            numba_sampling.warp(self._moving_weight, u, rows, self._now)
            self._now *= self._weight
        for number, (fixed, moving) in enumerate(zip(self.fixed, self.moving, strict=True)):
            numba_sampling.warp(moving, u, rows, self._warped)
            self.pause()
            numba_pointwise.residual_force(fixed, self._warped, self._now, rows, number > 0, out, self._values)
        count = _compared(self._count, self._now, self._moving_weight, rows)
        return float(self._values.sum(dtype=np.float64)) / count / len(self.fixed)


class Information:
    """Mutual information of the joint histogram (Parzen windows), negated.

    Parameters
    ----------
    fixed, moving : (Z, Y, X) float32 arrays
        Intensities, foreground about 0..1.
    region : Region
        Where it is computed.
    bins : int
        Bins per axis.
    weight, moving_weight : (Z, Y, X) float32 array, optional
        Masks.

    References
    ----------
    Mattes et al., IEEE TMI 22:120-128, 2003, doi 10.1109/TMI.2003.809072.
    """

    def __init__(
        self,
        fixed: Image,
        moving: Image,
        region: Region,
        *,
        bins: int = 32,
        weight: Image | None = None,
        moving_weight: Image | None = None,
    ) -> None:
        self.region, self.bins = region, bins
        self.fixed, self.moving = in_bins(fixed, bins), in_bins(moving, bins)
        self._weight = np.ones_like(fixed) if weight is None else weight
        self._moving_weight = moving_weight
        self._now = self._weight.copy() if moving_weight is not None else self._weight
        self.pause = nothing
        self._warped = self.moving.copy()
        self._partial = np.zeros((numba_pointwise.CHUNKS, bins, bins), np.float64)

    def force(self, u: Any, out: Any) -> float:
        """Write the ascent direction of the information at the field u and return its negative (nats)."""
        rows = self.region.rows
        numba_sampling.warp(self.moving, u, rows, self._warped)
        if self._moving_weight is not None:
            numba_sampling.warp(self._moving_weight, u, rows, self._now)
            self._now *= self._weight
        self.pause()
        numba_pointwise.joint_histogram(self.fixed, self._warped, self._now, rows, self.bins, self._partial)
        self.pause()
        information, table = information_table(self._partial.sum(axis=0))
        numba_pointwise.information_force(self.fixed, self._warped, self._now, table, rows, self.bins, out)
        return -information


class Overlap:
    """Soft Dice of corresponding segments, 1 minus its mean: supervision by labels of this very pair.

    Parameters
    ----------
    fixed, moving : sequences of (Z, Y, X) float32 arrays
        Membership of every label, 0..1, in the same order.
    region : Region
        Where it is computed.

    References
    ----------
    Milletari et al., 3DV 2016, doi 10.1109/3DV.2016.79.
    """

    def __init__(self, fixed: Any, moving: Any, region: Region) -> None:
        self.fixed, self.moving, self.region = fixed, moving, region
        self.pause = nothing
        self._warped = np.zeros_like(fixed[0])
        self._sizes = [float(member.sum(dtype=np.float64)) for member in fixed]

    def force(self, u: Any, out: Any) -> float:
        """Write the ascent direction of the mean Dice at the field u and return 1 minus it."""
        rows = self.region.rows
        out[:] = 0
        total = 0.0
        for fixed, moving, size in zip(self.fixed, self.moving, self._sizes, strict=True):
            self._warped[:] = 0
            self.pause()
            numba_sampling.warp(moving, u, rows, self._warped)
            both, alone = numba_pointwise.sums_of_products(fixed, self._warped)
            whole = max(size + alone, 1e-6)
            total += 2 * both / whole
            numba_pointwise.overlap_force(fixed, self._warped, F32(2 / whole), F32(2 * both / whole**2), rows, out)
        return 1.0 - total / len(self._sizes)


def _compared(count: float, now: Image, moving_weight: Image | None, rows: Any) -> float:
    """Return over how many voxels a mean goes: what a moving mask leaves changes with the field."""
    if moving_weight is None:
        return count
    return max(numba_pointwise.sum_in_rows(now, rows), 1.0)


def in_bins(image: Image, bins: int) -> Image:
    """Return the intensities in units of histogram bins, with room for a cubic spline at both ends."""
    low, high = float(image.min()), float(image.max())
    scale = (bins - 4.0) / max(high - low, 1e-6)
    return np.asarray(1.0 + (image - np.float32(low)) * np.float32(scale), dtype=np.float32)


def information_table(histogram: npt.NDArray[np.float64]) -> tuple[float, Image]:
    """Return the mutual information in nats and log(p(f, w) / p(w)) of a joint histogram."""
    joint = histogram / max(float(histogram.sum()), 1e-12)
    of_fixed, of_warped = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    # Empty cells get a floor, so that a voxel about to enter one feels a finite force.
    floor = 1e-9
    table = np.log(np.maximum(joint, floor) / np.maximum(of_warped, floor))
    full = joint > 0
    information = float((joint[full] * np.log(joint[full] / (of_fixed * of_warped)[full])).sum())
    return information, table.astype(np.float32)
