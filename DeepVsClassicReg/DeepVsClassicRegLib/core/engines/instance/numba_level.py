"""One level of the pyramid on the CPU with numba kernels, and the terms of its objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import numba_fields, numba_similarities
from .level import Field, FieldConstraint, Region, Steps, nothing, sigmas_vox, taps

F32 = np.float32
Image = npt.NDArray[np.float32]


class Lncc:
    """Squared local correlation of cubes; 1 minus its mean over the region.

    Parameters
    ----------
    fixed, moving : (Z, Y, X) float32 arrays
        Images of the level, with the foreground scaled to about 0..1.
    region : Region
        Region of computation.
    radius : int
        Cubes of 2 * radius + 1 voxels.
    threads : int
        Number of parallel slabs.
    weight, moving_weight : (Z, Y, X) float32 array, optional
        Masks of the windows in the fixed and the moving volume.
    beside : Lncc, optional
        The term of the same volumes with other windows that is computed before this one: its warped image is used.
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
        beside: Lncc | None = None,
    ) -> None:
        self.fixed, self.moving, self.region = fixed, moving, region
        self.radius, self.eps = radius, F32(eps)
        # Every slab computes `radius` additional planes at both ends, so thin slabs are inefficient.
        slabs = max(1, min(threads, fixed.shape[0] // (2 * radius + 1)))
        self.cuts = region.cuts(slabs)
        self._mean = np.empty_like(fixed)
        self._variance = np.empty_like(fixed)
        numba_similarities.local_statistics(fixed, radius, slabs, self._mean, self._variance)
        self.check_cancelled = nothing
        self._weight = np.ones_like(fixed) if weight is None else weight
        self._moving_weight = moving_weight
        self._beside = beside
        self._now = self._weight.copy() if moving_weight is not None else self._weight
        # A constant copy outside of the region avoids forces in windows at its border.
        self._warped: Image = moving.copy() if beside is None else beside._warped
        self._values = np.zeros(fixed.shape[0], F32)
        self._count = max(float(self._weight.sum(dtype=np.float64)) if weight is not None else region.voxels, 1.0)

    def force(self, u: Any, out: Any) -> float:
        """Write the ascent direction of the similarity at the field u and return the value."""
        rows, planes = self.region.rows, self.region.planes
        if self._beside is None:
            numba_fields.warp(self.moving, u, rows, self._warped)
        if self._moving_weight is not None:
            numba_fields.warp(self._moving_weight, u, rows, self._now)
            self._now *= self._weight
        self.check_cancelled()
        numba_similarities.lncc_force(
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
        self.check_cancelled = nothing
        self._warped = moving[0].copy()
        self._values = np.zeros(fixed.shape[1], F32)
        self._count = max(float(self._weight.sum(dtype=np.float64)) if weight is not None else region.voxels, 1.0)

    def force(self, u: Any, out: Any) -> float:
        """Write the descent direction at the field u and return the mean squared difference."""
        rows = self.region.rows
        if self._moving_weight is not None:
            numba_fields.warp(self._moving_weight, u, rows, self._now)
            self._now *= self._weight
        for number, (fixed, moving) in enumerate(zip(self.fixed, self.moving, strict=True)):
            numba_fields.warp(moving, u, rows, self._warped)
            self.check_cancelled()
            numba_similarities.residual_force(fixed, self._warped, self._now, rows, number > 0, out, self._values)
        count = _compared(self._count, self._now, self._moving_weight, rows)
        return float(self._values.sum(dtype=np.float64)) / count / len(self.fixed)


class InformationTerm:
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
        self.check_cancelled = nothing
        self._warped = self.moving.copy()
        self._partial = np.zeros((numba_similarities.CHUNKS, bins, bins), np.float64)

    def force(self, u: Any, out: Any) -> float:
        """Write the ascent direction of the information at the field u and return its negative (nats)."""
        rows = self.region.rows
        numba_fields.warp(self.moving, u, rows, self._warped)
        if self._moving_weight is not None:
            numba_fields.warp(self._moving_weight, u, rows, self._now)
            self._now *= self._weight
        self.check_cancelled()
        numba_similarities.joint_histogram(self.fixed, self._warped, self._now, rows, self.bins, self._partial)
        self.check_cancelled()
        information, table = information_table(self._partial.sum(axis=0))
        numba_similarities.information_force(self.fixed, self._warped, self._now, table, rows, self.bins, out)
        return -information


class Overlap:
    """Soft Dice of corresponding segments, 1 minus its mean: supervision by the labels of the pair.

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
        self.check_cancelled = nothing
        self._warped = np.zeros_like(fixed[0])
        self._sizes = [float(member.sum(dtype=np.float64)) for member in fixed]

    def force(self, u: Any, out: Any) -> float:
        """Write the ascent direction of the mean Dice at the field u and return 1 minus it."""
        rows = self.region.rows
        out[:] = 0
        total = 0.0
        for fixed, moving, size in zip(self.fixed, self.moving, self._sizes, strict=True):
            self._warped[:] = 0
            self.check_cancelled()
            numba_fields.warp(moving, u, rows, self._warped)
            both, alone = numba_similarities.sums_of_products(fixed, self._warped)
            whole = max(size + alone, 1e-6)
            total += 2 * both / whole
            numba_similarities.overlap_force(fixed, self._warped, F32(2 / whole), F32(2 * both / whole**2), rows, out)
        return 1.0 - total / len(self._sizes)


def _compared(count: float, now: Image, moving_weight: Image | None, rows: Any) -> float:
    """Return the number of voxels of a mean; with a moving mask it depends on the field."""
    if moving_weight is None:
        return count
    return max(numba_similarities.sum_in_rows(now, rows), 1.0)


def in_bins(image: Image, bins: int) -> Image:
    """Return the intensities in units of histogram bins, with margins for a cubic spline at both ends."""
    low, high = float(image.min()), float(image.max())
    scale = (bins - 4.0) / max(high - low, 1e-6)
    return np.asarray(1.0 + (image - np.float32(low)) * np.float32(scale), dtype=np.float32)


def information_table(histogram: npt.NDArray[np.float64]) -> tuple[float, Image]:
    """Return the mutual information in nats and log(p(f, w) / p(w)) of a joint histogram."""
    joint = histogram / max(float(histogram.sum()), 1e-12)
    of_fixed, of_warped = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    # Empty cells get a minimum value, so that the force on a voxel that enters one is finite.
    floor = 1e-9
    table = np.log(np.maximum(joint, floor) / np.maximum(of_warped, floor))
    full = joint > 0
    information = float((joint[full] * np.log(joint[full] / (of_fixed * of_warped)[full])).sum())
    return information, table.astype(np.float32)


class NumbaLevel:
    """Buffers and steps of one level.

    Parameters
    ----------
    terms : sequence of (term, weight)
        Similarity terms of this level; the weights are for forces with equal root mean square.
    region : Region
        Region of computation.
    start : (3, z, y, x) array or None
        The coarser level's field.
    shape : (Z, Y, X)
        Size of the level's grid.
    spacing : (z, y, x)
        Its spacing in mm.
    threads : int
        Number of parallel slabs; the result does not depend on it.
    pull : callable, optional
        Returns the landmark update (voxels) for a field and a maximum length.
    bodies : FieldConstraint, optional
        Bodies that keep their shape or volume in every step.
    check_cancelled : callable
        Called between the parts of a step; raises when the user cancels.
    """

    def __init__(
        self,
        terms: Sequence[tuple[Any, float]],
        region: Region,
        start: Field | None,
        shape: tuple[int, int, int],
        spacing: Sequence[float],
        threads: int,
        *,
        pull: Callable[[Field, float], Field] | None = None,
        bodies: FieldConstraint | None = None,
        check_cancelled: Callable[[], None] = nothing,
    ) -> None:
        self.terms, self.check_cancelled = terms, check_cancelled
        self.pull, self.bodies = pull, bodies
        self.region = region
        self.spacing = tuple(spacing)
        self.cuts = region.cuts(threads)
        self.aspect = np.array([min(spacing) / s for s in spacing], F32)
        self.u = np.zeros((3, *shape), F32)
        if start is not None:
            numba_fields.upsample(np.ascontiguousarray(start, dtype=F32), self.u)
        if bodies is not None:
            bodies.place(self.u)
        check_cancelled()
        self._next = self.u.copy()
        # Not zeros_like: memory from zeros is allocated only when the kernels first write it, in parallel and in rows.
        self._force, self._smooth, self._memory = (np.zeros((3, *shape), F32) for _ in range(3))
        check_cancelled()
        self._everywhere = np.zeros((*shape[:2], 2), np.int64)
        self._everywhere[..., 1] = shape[2]
        self._squares = np.zeros(shape[0], F32)
        self.patience = 1
        self._objectives: list[float] = []

    def objectives(self) -> list[float]:
        """Return the objectives (lower is better) of the evaluations since the last call."""
        found, self._objectives = self._objectives, []
        return found

    def evaluate(self) -> None:
        """Compute the force at the current field and store the objective."""
        total = 0.0
        for number, (term, weight) in enumerate(self.terms):
            term.check_cancelled = self.check_cancelled
            if number == 0:
                total += weight * term.force(self.u, self._force)
                continue
            total += weight * term.force(self.u, self._smooth)
            first, other = self._rms(self._force), self._rms(self._smooth)
            if other > 0:
                factor = F32(weight * (first or 1.0) / other)
                numba_fields.add(self._force, self._smooth, factor, self.region.rows)
        self._objectives.append(total)

    def advance(self, steps: Steps) -> None:
        """Take one compositive step along the force, then smooth the field."""
        rows = self.region.rows
        self._blur(self._force, steps.sigma_update, self._smooth)
        rms = float(np.sqrt(self._squares.sum(dtype=np.float64) / max(self.region.voxels, 1)))
        if rms == 0:
            return
        scale, keep = F32(steps.softness * rms), F32(steps.momentum)
        step = F32(steps.step * (1 - steps.momentum))
        self.check_cancelled()
        numba_fields.update(self._smooth, self._memory, self.aspect, keep, scale, step, rows)
        self.check_cancelled()
        if steps.step <= 1:
            numba_fields.compose_near(self._smooth, self.u, rows, self.cuts, self._next)
        else:
            numba_fields.compose(self._smooth, self.u, rows, self._next)
        self.check_cancelled()
        if self.pull is not None:
            self.u[:] = self._next
            numba_fields.compose(self.pull(self.u, steps.step), self.u, self._everywhere, self._next)
            self.u[:] = self._next
        if steps.sigma_field > 0:
            self._blur(self._next, steps.sigma_field, self.u)
        else:
            self.u, self._next = self._next, self.u
        if self.bodies is not None:
            self.bodies.hold(self.u)

    def field(self) -> Field:
        """Return the current displacements (3, Z, Y, X), z, y, x in voxels of the level."""
        return self.u

    def _blur(self, field: Field, sigma: float, out: Field) -> None:
        z, y, x = (taps(s) for s in sigmas_vox(sigma, self.spacing))
        numba_fields.smooth(
            field, z, y, x, self.aspect, self.region.rows, self.region.planes, self.cuts, out, self._squares
        )

    def _rms(self, field: Field) -> float:
        numba_fields.squares_of_planes(field, self.region.rows, self._squares)
        return float(np.sqrt(self._squares.sum(dtype=np.float64) / max(self.region.voxels, 1)))
