"""One level of the pyramid: the interface of its back ends, its steps, and the voxels worth computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...images.dilation import widened

Field = npt.NDArray[np.float32]


def nothing() -> None:
    """Do nothing: the pause of those who cannot be stopped."""


@dataclass(frozen=True)
class Steps:
    """How updates are made of forces.

    Attributes
    ----------
    sigma_update, sigma_field : float
        Gaussians in units of the level's finest spacing; on the force, and on the field after each step.
    step : float
        Length that a single update may reach, same units.
    momentum : float
        Share of the former updates that goes on, 0 to below 1.
    softness : float
        Forces this many times the root mean square are halved in length, much stronger ones are cut to 1.
    """

    sigma_update: float = 1.5
    sigma_field: float = 0.5
    step: float = 0.5
    momentum: float = 0.5
    softness: float = 1.0


class LevelOptimizer(Protocol):
    """One level of the pyramid in a back end; its buffers live as long as the object.

    Attributes
    ----------
    patience : int
        After how many evaluations the objectives are worth asking for: reading a number from a graphics
        processor stops the queue of its work.
    pause : callable
        Called between the parts of a step; raises when the user asked to stop.
    """

    patience: int
    pause: Callable[[], None]

    def evaluate(self) -> None:
        """Compute the force at the present field and keep the objective."""
        ...

    def objectives(self) -> list[float]:
        """Return the objectives (lower is better) of the evaluations since the last call."""
        ...

    def advance(self, steps: Steps) -> None:
        """Take one compositive step along the force."""
        ...

    def field(self) -> Field:
        """Return the present displacements (3, Z, Y, X), z, y, x in voxels of the level."""
        ...


def taps(sigma: float) -> npt.NDArray[np.float32]:
    """Return half of a Gaussian kernel, the center first, the whole kernel summing to 1."""
    if sigma < 0.1:
        return np.array([1.0, 0.0], np.float32)
    reach = max(1, int(2.5 * sigma + 0.5))
    half = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    return np.asarray(half / (2 * half.sum() - half[0]), dtype=np.float32)


def sigmas_vox(sigma: float, spacing: Sequence[float]) -> tuple[float, float, float]:
    """Return the sigma along z, y, x in voxels, given it in units of the finest spacing."""
    finest = min(spacing)
    z, y, x = (sigma * finest / s for s in spacing)
    return z, y, x


def settled(values: Sequence[float], *, window: int, tolerance: float) -> bool:
    """Return whether the objective falls by less than `tolerance` (relative) per iteration.

    The slope is that of a straight line through the last `window` values, so single jumps do not matter.
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
    """One run of voxels per row, so that loops stay long and empty voxels cost nothing.

    Attributes
    ----------
    rows : (Z, Y, 2) int64 array
        First voxel and end of the run of every row; equal when the row is empty.
    planes : (Z, 4) int64 array
        y start, y end, x start, x end of the rectangle around the runs of every plane.
    voxels : int
        Number of voxels inside the runs.
    """

    rows: Ints
    planes: Ints
    voxels: int

    @property
    def mask(self) -> Mask:
        """The voxels inside the runs, (Z, Y, X) up to the last used column."""
        columns = np.arange(int(self.rows.max(initial=0)))
        return np.asarray((columns >= self.rows[..., :1]) & (columns < self.rows[..., 1:]))

    def cuts(self, count: int) -> Ints:
        """Return the `count` + 1 planes that divide the lattice into slabs of about equally many voxels."""
        found = np.cumsum((self.rows[..., 1] - self.rows[..., 0]).sum(axis=1))
        inner = np.searchsorted(found, found[-1] * np.arange(1, count) / count)
        return np.array([0, *inner, len(found)], np.int64)


def region_of(mask: Mask, *, margin: int) -> Region:
    """Return the runs that cover a mask widened by a margin.

    Parameters
    ----------
    mask : (Z, Y, X) bool array
        What must be inside.
    margin : int
        Voxels added on every side (a cube); clipped at the border of the lattice.
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
