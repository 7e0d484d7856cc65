"""From a network's displacements to the field that is handed back: faded out, free of folds, in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...transforms.field import DisplacementField
from ...transforms.units import channels_to_mm
from ..instance_lib.folding import corner_determinants, unfolded
from ..instance_lib.numba_start import numba_found, use_user_cache

Field = npt.NDArray[np.float32]
# A cosine ramp this many times wider than the displacement across it never turns a cell over.
RAMP = 2.6
WIDEST = 32


@dataclass(frozen=True, eq=False)
class Finished:
    """The field and what the user should know about it.

    Attributes
    ----------
    field : DisplacementField
        In mm, 0 at its border.
    folded_percent : float
        Share of the network's own nodes that were folded.
    notes : tuple of str
        Repairs and what they left.
    """

    field: DisplacementField
    folded_percent: float
    notes: tuple[str, ...]


def finished_field(u: Field, grid: Grid, *, lowest: float) -> Finished:
    """Return the network's displacements as a field in mm that fades to 0 outside of its lattice.

    Parameters
    ----------
    u : (3, Z, Y, X) array
        z, y, x in voxels of `grid`.
    grid : Grid
        The network's lattice.
    lowest : float
        Least Jacobian determinant; the field is relaxed around nodes below it, 0 leaves them.
    """
    wide, around = faded(u, grid)
    if numba_found():
        use_user_cache()
    determinants = corner_determinants(wide)
    folded, low = int((determinants <= 0).sum()), int((determinants < lowest).sum()) if lowest > 0 else 0
    share = 100.0 * folded / u[0].size
    notes = [f"The network's field folded at {folded} nodes ({share:.3g} %)."] if folded else []
    if low:
        wide, repair = unfolded(wide, lowest=lowest)
        notes.append(f"Relaxed the field around {repair.folded} nodes that folded or came near a fold.")
        if repair.left:
            notes.append(f"{repair.left} nodes stay below the least determinant after {repair.rounds} relaxations.")
    return Finished(DisplacementField(channels_to_mm(wide, around), around), share, tuple(notes))


def faded(u: Field, grid: Grid) -> tuple[Field, Grid]:
    """Return the displacements continued over a rim in which they fall to 0, and the lattice with the rim."""
    widths = []
    for axis in range(3):
        faces = [np.abs(u[axis].take(end, axis)).max() for end in (0, -1)]
        widths.append(tuple(int(min(np.ceil(RAMP * float(most)) + 2, WIDEST)) for most in faces))
    wide = np.pad(u, [(0, 0), *widths], mode="edge")
    for axis, (before, after) in enumerate(widths):
        weight = np.ones(wide.shape[axis + 1], np.float32)
        weight[:before] = _ramp(before)
        weight[weight.size - after :] = _ramp(after)[::-1]
        wide *= weight.reshape([-1 if dimension == axis + 1 else 1 for dimension in range(4)])
    first = [-before for before, _ in reversed(widths)]
    return wide, grid.cropped(first, list(wide.shape[:0:-1]))


def _ramp(count: int) -> Field:
    """Return weights that rise from 0 at the outermost node towards 1."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.arange(count) / count), dtype=np.float32)
