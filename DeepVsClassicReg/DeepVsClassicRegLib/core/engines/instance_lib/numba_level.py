"""One level of the pyramid on the CPU, by the numba kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import numba_sampling, numba_smooth
from .region import Region
from .schedule import Field, Steps, nothing, sigmas_vox, taps

F32 = np.float32


class NumbaLevel:
    """Buffers and steps of one level.

    Parameters
    ----------
    terms : sequence of (term, weight)
        Similarity terms made for this level; their weights compare forces of equal root mean square.
    region : Region
        What is worth computing.
    start : (3, z, y, x) array or None
        The coarser level's field.
    shape : (Z, Y, X)
        The level's lattice.
    spacing : (z, y, x)
        Its spacing in mm.
    threads : int
        Number of slabs that run side by side; the field does not depend on it.
    pull : callable, optional
        Gives the update (voxels) that landmarks ask for at a field, at most so long.
    pause : callable
        Called between the parts of a step; raises when the user asked to stop.
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
        pause: Callable[[], None] = nothing,
    ) -> None:
        self.terms, self.pause = terms, pause
        self.pull = pull
        self.region = region
        self.spacing = tuple(spacing)
        self.cuts = region.cuts(threads)
        self.aspect = np.array([min(spacing) / s for s in spacing], F32)
        self.u = np.zeros((3, *shape), F32)
        if start is not None:
            numba_sampling.upsample(np.ascontiguousarray(start, dtype=F32), self.u)
        pause()
        self._next = self.u.copy()
        # Not zeros_like: fresh zeros cost nothing until the kernels touch them, in all threads, and only in the rows.
        self._force, self._smooth, self._memory = (np.zeros((3, *shape), F32) for _ in range(3))
        pause()
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
        """Compute the force at the present field and keep the objective."""
        total = 0.0
        for number, (term, weight) in enumerate(self.terms):
            term.pause = self.pause
            if number == 0:
                total += weight * term.force(self.u, self._force)
                continue
            total += weight * term.force(self.u, self._smooth)
            first, other = self._rms(self._force), self._rms(self._smooth)
            if other > 0:
                self._force += F32(weight * (first or 1.0) / other) * self._smooth
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
        self.pause()
        numba_sampling.advance(self.u, self._smooth, self._memory, self.aspect, keep, scale, step, rows, self._next)
        self.pause()
        if self.pull is not None:
            self.u[:] = self._next
            numba_sampling.compose(self.pull(self.u, steps.step), self.u, self._everywhere, self._next)
            self.u[:] = self._next
        if steps.sigma_field > 0:
            self._blur(self._next, steps.sigma_field, self.u)
        else:
            self.u, self._next = self._next, self.u

    def field(self) -> Field:
        """Return the present displacements (3, Z, Y, X), z, y, x in voxels of the level."""
        return self.u

    def _blur(self, field: Field, sigma: float, out: Field) -> None:
        z, y, x = (taps(s) for s in sigmas_vox(sigma, self.spacing))
        numba_smooth.smooth(
            field, z, y, x, self.aspect, self.region.rows, self.region.planes, self.cuts, out, self._squares
        )

    def _rms(self, field: Field) -> float:
        flat = field.ravel()
        return float(np.sqrt(np.dot(flat, flat) / max(self.region.voxels, 1)))
