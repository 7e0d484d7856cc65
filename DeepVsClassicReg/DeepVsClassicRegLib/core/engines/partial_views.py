"""Partial views: where a volume is known, and where the body goes on beyond what was imaged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..evaluation.gain import Gain, gain_of
from ..evaluation.mapping import moving_indices
from ..images.grid import Grid
from ..images.intensity import robust_range
from ..images.volume import Volume
from ..pair import Pair
from ..transforms.affine import Affine
from ..transforms.transform import Transform

Mask = npt.NDArray[np.bool_]
# A face of a volume with less than this share of foreground shows that nothing but background lies beyond it.
OPEN_FACE = 0.03
FOREGROUND = 0.05
MUCH_FOLDING_PERCENT = 1.0
# Two voxels in five then change their volume by more than half. Measured: 0.59 and 0.88 for maps that squeeze a head
# into a slab; 0.09 to 0.24 for slabs that come closer, 0.42 and 0.54 for pairs of two persons that gain 0.2 of Dice.
MUCH_STRAIN = 0.56
# Strain speaks only where the start sees less than this share of the fixed body: lungs that both volumes show whole
# are strained by breathing alone (0.54 with greedy).
SMALL_PART = 0.75


def open_faces(volume: Volume) -> tuple[Mask, Mask]:
    """Return whether the body goes on beyond the first and beyond the last slice along i, j, k."""
    step = max(1, round((volume.array.size / 200_000) ** (1 / 3)))
    lower, upper = robust_range(volume.array[::step, ::step, ::step])
    level = lower + FOREGROUND * (upper - lower)
    faces = [[volume.array.take(end, axis=axis) > level for axis in (2, 1, 0)] for end in (0, -1)]
    low, high = (np.array([face.mean() > OPEN_FACE for face in side]) for side in faces)
    return low, high


def is_partial(pair: Pair) -> bool:
    """Return whether the body goes on beyond the view of a volume of the pair."""
    return any(faces.any() for volume in (pair.fixed, pair.moving) for faces in open_faces(volume))


def never_worse(pair: Pair, start: Transform, found: Transform) -> tuple[Transform, str]:
    """Return the found transform and '', or its start and why, where views are partial and the deformation failed.

    A view that shows a part of the other one has borders at which a deformation can follow what is not there. What
    speaks is measured where both maps see both volumes: the local agreement of the intensities fell, or much is
    folded; or the moving volume shows a part only and the map is strained there. The agreement alone
    does not tell: a map that squeezes a whole head into a slab raises it.

    Parameters
    ----------
    pair : Pair
        As engines see it.
    start, found : Transform
        Fixed-to-moving maps before and after the deformation.
    """
    if not is_partial(pair):
        return found, ""
    reason = objection(gain_of(pair, start, found))
    return (start, reason) if reason else (found, "")


def objection(gain: Gain) -> str:
    """Return why a deformation between partial views is not kept, '' when it is."""
    what = f"made the intensities agree less (local agreement {gain.before:.2f} before, {gain.after:.2f} after)"
    if gain.folding_percent > MUCH_FOLDING_PERCENT:
        what = f"folded {gain.folding_percent:.1f} % of what both show"
    elif gain.seen_share < SMALL_PART and gain.strain > MUCH_STRAIN:
        what = f"strained what it shows (standard deviation of its log Jacobian: {gain.strain:.2f})"
    elif not gain.after < gain.before:
        return ""
    return f"The linear start was kept: the views show parts of the body, and the deformation {what}."


def known(volume: Volume, grid: Grid, start: Transform) -> Mask | None:
    """Return where a volume is known through the start: inside its view, or beyond a face that shows background only.

    Parameters
    ----------
    volume : Volume
        What is sampled.
    grid : Grid
        Where it is asked for.
    start : Transform
        Maps points of the grid to points of the volume.

    Returns
    -------
    (Z, Y, X) bool array or None
        None when it is known everywhere.
    """
    low, high = open_faces(volume)
    if not (low.any() or high.any()):
        return None
    linear = start.affine
    mapping = Affine(linear.matrix, linear.translation_mm) if linear is not None else start.displacement_on(grid)
    within = np.empty(grid.shape, bool)
    last = np.array(volume.grid.size) - 0.5
    for part, index in moving_indices(grid, volume.grid, mapping):
        beyond = ((index < -0.5) & low) | ((index > last) & high)
        within[part] = (~beyond.any(axis=1)).reshape(within[part].shape)
    return None if within.all() else within
