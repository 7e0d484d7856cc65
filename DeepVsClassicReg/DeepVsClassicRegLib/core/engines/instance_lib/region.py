"""Region: which voxels of a level's lattice are worth computing, as runs of rows and rectangles of planes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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


def widened(mask: Mask, margin: int) -> Mask:
    """Return the mask dilated by a cube of `2 * margin + 1` voxels."""
    wide = mask
    for axis in range(3):
        grown = wide.copy()
        for shift in range(1, min(margin, wide.shape[axis] - 1) + 1):
            low = [slice(None)] * 3
            high = [slice(None)] * 3
            low[axis], high[axis] = slice(None, -shift), slice(shift, None)
            grown[tuple(low)] |= wide[tuple(high)]
            grown[tuple(high)] |= wide[tuple(low)]
        wide = grown
    return wide
