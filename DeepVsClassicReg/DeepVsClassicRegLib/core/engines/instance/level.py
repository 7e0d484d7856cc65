"""One level of the pyramid: interface of the back ends, parameters of the steps, and region of computation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...images.intensity import widened

Field = npt.NDArray[np.float32]


def nothing() -> None:
    """Do nothing: the default cancel check."""


@dataclass(frozen=True)
class Steps:
    """Parameters of the updates.

    Attributes
    ----------
    sigma_update, sigma_field : float
        Sigma of the Gaussians on the force and on the field after each step, in units of the level's finest spacing.
    step : float
        Maximum length of an update, in the same units.
    momentum : float
        Momentum factor, from 0 to below 1.
    softness : float
        Forces of this multiple of the root mean square are halved; much stronger ones are limited to 1.
    """

    sigma_update: float = 1.5
    sigma_field: float = 0.5
    step: float = 0.5
    momentum: float = 0.5
    softness: float = 1.0


class FieldConstraint(Protocol):
    """What the field of a level must fulfill at some places."""

    def place(self, u: Field) -> None:
        """Find the places in the field (3, Z, Y, X) of the level."""
        ...

    def hold(self, u: Field) -> None:
        """Change the field in place to the nearest one that is allowed."""
        ...


class LevelOptimizer(Protocol):
    """One level of the pyramid in a back end; its buffers live as long as the object.

    Attributes
    ----------
    bodies : FieldConstraint or None
        Bodies that keep their shape or volume.
    patience : int
        Number of evaluations between reads of the objectives, because reading a number from a GPU synchronizes it.
    check_cancelled : callable
        Called between the parts of a step; raises when the user cancels.
    """

    bodies: FieldConstraint | None
    patience: int
    check_cancelled: Callable[[], None]

    def evaluate(self) -> None:
        """Compute the force at the current field and store the objective."""
        ...

    def objectives(self) -> list[float]:
        """Return the objectives (lower is better) of the evaluations since the last call."""
        ...

    def advance(self, steps: Steps) -> None:
        """Take one compositive step along the force."""
        ...

    def field(self) -> Field:
        """Return the current displacements (3, Z, Y, X), z, y, x in voxels of the level."""
        ...


def taps(sigma: float) -> npt.NDArray[np.float32]:
    """Return half of a Gaussian kernel, the center first; the whole kernel sums to 1."""
    if sigma < 0.1:
        return np.array([1.0, 0.0], np.float32)
    reach = max(1, int(2.5 * sigma + 0.5))
    half = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    return np.asarray(half / (2 * half.sum() - half[0]), dtype=np.float32)


def sigmas_vox(sigma: float, spacing: Sequence[float]) -> tuple[float, float, float]:
    """Return the sigma along z, y, x in voxels from a sigma in units of the finest spacing."""
    finest = min(spacing)
    z, y, x = (sigma * finest / s for s in spacing)
    return z, y, x


def settled(values: Sequence[float], *, window: int, tolerance: float) -> bool:
    """Return whether the objective decreases by less than `tolerance` (relative) per iteration.

    The slope is that of a line fitted to the last `window` values, so that single jumps have little effect.
    """
    if len(values) < window:
        return False
    last = np.asarray(values[-window:], dtype=np.float64)
    slope = np.polyfit(np.arange(window), last, 1)[0]
    return bool(-slope < tolerance * max(abs(float(last.mean())), 1e-6))


Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Region:
    """One interval of voxels per row, so that inner loops are long and empty voxels are not computed.

    Attributes
    ----------
    rows : (Z, Y, 2) int64 array
        First voxel and end of the interval of every row; equal when the row is empty.
    planes : (Z, 4) int64 array
        y start, y end, x start, x end of the rectangle around the intervals of every plane.
    voxels : int
        Number of voxels in the intervals.
    """

    rows: Ints
    planes: Ints
    voxels: int

    @property
    def mask(self) -> Mask:
        """The voxels in the intervals, (Z, Y, X) up to the last used column."""
        columns = np.arange(int(self.rows.max(initial=0)))
        return np.asarray((columns >= self.rows[..., :1]) & (columns < self.rows[..., 1:]))

    def cuts(self, count: int) -> Ints:
        """Return the `count` + 1 planes that divide the grid into slabs with about the same number of voxels."""
        found = np.cumsum((self.rows[..., 1] - self.rows[..., 0]).sum(axis=1))
        inner = np.searchsorted(found, found[-1] * np.arange(1, count) / count)
        return np.array([0, *inner, len(found)], np.int64)


def region_of(mask: Mask, *, margin: int) -> Region:
    """Return the intervals that cover a mask dilated by a margin.

    Parameters
    ----------
    mask : (Z, Y, X) bool array
        Voxels that must be inside.
    margin : int
        Number of voxels added on every side (a cube), clipped at the border of the grid.
    """
    wide = widened(mask, margin)
    count = mask.shape[2]
    filled = np.asarray(wide.any(axis=2))
    first = np.asarray(np.where(filled, wide.argmax(axis=2), 0))
    end = np.where(filled, count - wide[:, :, ::-1].argmax(axis=2), 0)
    rows = np.ascontiguousarray(np.stack([first, end], axis=-1), dtype=np.int64)
    planes = np.zeros((mask.shape[0], 4), np.int64)
    for z in range(mask.shape[0]):
        used = np.flatnonzero(filled[z])
        if len(used):
            planes[z] = used[0], used[-1] + 1, first[z][used].min(), end[z][used].max()
    return Region(rows, planes, int((end - first).sum()))
