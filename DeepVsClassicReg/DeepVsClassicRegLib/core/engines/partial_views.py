"""Partial views: where a volume is known, what engines find beyond it, and whether a deformation is an improvement."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..evaluation.region import moving_indices, seen_voxels
from ..evaluation.similarity import mean_agreements
from ..images.grid import Grid
from ..images.intensity import foreground, robust_range
from ..images.resample import continued, sampled_on, warp_labels
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from ..transforms.jacobian import field_jacobian
from ..transforms.transform import Affine, Transform

Mask = npt.NDArray[np.bool_]
# Beyond a face of a volume with less than this fraction of foreground there is only background.
OPEN_FACE = 0.03
FOREGROUND = 0.05
MUCH_FOLDING_PERCENT = 1.0
# Measured (Testing/bench/INSTANCE_TRIES.md): 0.79, 0.81, 0.88 for maps that lose or compress a head into a slab; up to
# 0.73 for maps of two subjects that gain 0.05 to 0.25 Dice, one of 0.89 gains 0.08.
MUCH_STRAIN = 0.75
# Margin beyond an open face that is filled, as a fraction of the largest extent of the fixed volume.
FILLED = 0.2
BINS = 64
# Strain is checked only when the start maps less than this fraction of the fixed body into the moving volume: breathing
# alone strains lungs that both volumes show completely (0.54 with greedy).
SMALL_PART = 0.75
# Where half of a body was cut away; measured: 0.00 for a map that lost 0.53 Dice, 0.29 and more for maps that gain.
LEAST_RISE = 0.05
MOST_VOXELS = 1 << 19
# Smaller determinants, including those of folds, are replaced by this one in the strain.
SMALLEST_DETERMINANT = 1e-3


def open_faces(volume: Volume) -> tuple[Mask, Mask]:
    """Return whether the body extends beyond the first and beyond the last slice along i, j, k."""
    step = max(1, round((volume.array.size / 200_000) ** (1 / 3)))
    lower, upper = robust_range(volume.array[::step, ::step, ::step])
    level = lower + FOREGROUND * (upper - lower)
    faces = [[volume.array.take(end, axis=axis) > level for axis in (2, 1, 0)] for end in (0, -1)]
    low, high = (np.array([face.mean() > OPEN_FACE for face in side]) for side in faces)
    return low, high


def is_partial(pair: Pair) -> bool:
    """Return whether the body extends beyond the field of view of a volume of the pair."""
    return any(faces.any() for volume in (pair.fixed, pair.moving) for faces in open_faces(volume))


def known(volume: Volume, grid: Grid, start: Transform) -> Mask | None:
    """Return where a volume is known at the start: inside its field of view, or beyond a face with background only.

    Parameters
    ----------
    volume : Volume
        The volume to sample.
    grid : Grid
        Grid of the samples.
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


def continue_beyond(
    sampled: npt.NDArray[np.float32], volume: Volume, grid: Grid, start: Transform, *, continues: bool = True
) -> Mask | None:
    """Continue the border voxels of a partial view in an array sampled from it; return where the volume is known.

    Windows at the border then contain plausible values and no edge, which forces would move.

    Parameters
    ----------
    sampled : (Z, Y, X) float32 array
        The volume on the grid; changed in place beyond the partial view.
    volume, grid, start
        As for `known`.
    continues : bool
        Whether to continue the border voxels; else the array does not change.
    """
    within = known(volume, grid, start)
    if within is not None and continues:
        sampled[~within] = continued(volume, grid, start).array[~within]
    return within


def filled_beyond(moving: Volume, fixed: Volume, start: Affine) -> Volume:
    """Return a partial moving volume with a margin beyond its open faces that shows the fixed volume at the start.

    Masks exclude what lies beyond the view from the similarity, but windows at the border still contain some of it: an
    edge, or a border continued without any structure, lets voxels at the border drift. The fixed volume in the
    intensities of the moving volume agrees best without a deformation.

    Parameters
    ----------
    moving, fixed : Volume
        The volumes to register.
    start : Affine
        Maps fixed to moving points.
    """
    low, high = open_faces(moving)
    if not (low.any() or high.any()):
        return moving
    margin = np.ceil(FILLED * max(fixed.grid.extent_mm) / np.array(moving.grid.spacing_mm)).astype(int)
    before, after = margin * low, margin * high
    grid = moving.grid.cropped((-before).tolist(), (before + moving.grid.size + after).tolist())
    shown = sampled_on(fixed, grid, start.inverse()).array
    view = tuple(slice(first, first + n) for first, n in zip(before[::-1], moving.array.shape, strict=True))
    array = _in_intensities_of(shown, shown[view], moving.array)
    array[view] = moving.array
    valid = moving.valid
    if valid is not None:
        valid = np.ones(array.shape, bool)
        valid[view] = moving.valid
    return dataclasses.replace(moving, array=array, grid=grid, valid=valid)


def _in_intensities_of(
    array: npt.NDArray[np.float32], known_part: npt.NDArray[np.float32], target: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the array with each intensity replaced by the mean of the target where the known part has it."""
    lower, upper = robust_range(known_part)
    if upper <= lower:
        return np.full(array.shape, target.mean(), np.float32)
    number = np.clip(((known_part - lower) * (BINS / (upper - lower))).astype(int), 0, BINS - 1).ravel()
    count = np.bincount(number, minlength=BINS)
    total = np.bincount(number, target.ravel(), minlength=BINS)
    used = count > 0
    centers = lower + (np.arange(BINS) + 0.5) * (upper - lower) / BINS
    return np.interp(array, centers[used], total[used] / count[used]).astype(np.float32)


@dataclass(frozen=True)
class Gain:
    """The effect of a deformation.

    Attributes
    ----------
    before, after : float
        Local agreement (`similarity.mean_agreements`) at the start and after; NaN when it cannot be measured.
    folding_percent : float
        Percentage of the evaluated voxels that are folded.
    strain : float
        Standard deviation of the logarithm of the Jacobian determinant where the deformation maps into the moving
        volume: 0 for an affine map, large when a large region is compressed into a small field of view.
    seen_share : float
        Fraction of the fixed foreground that the start maps into the moving volume.
    """

    before: float
    after: float
    folding_percent: float
    strain: float
    seen_share: float


def never_worse(pair: Pair, start: Transform, found: Transform, *, cut: bool = False) -> tuple[Transform, str]:
    """Return the found transform and '', or the start and a reason when the deformation of partial views failed.

    At the borders of a partial view a deformation can match structures that are not visible in the other volume. It is
    checked where both transforms map into the moving volume: the local agreement of the intensities decreases, many
    voxels fold, or the moving volume is partial and the strain is high. The agreement alone does not suffice: a map
    that compresses a whole head into a slab increases it.

    Parameters
    ----------
    pair : Pair
        As engines receive it.
    start, found : Transform
        Fixed-to-moving transforms before and after the deformation.
    cut : bool
        Whether a large part of a body was cut away (`missing_tissue`): examined like partial views.
    """
    if not (cut or is_partial(pair)):
        return found, ""
    reason = objection(gain_of(pair, start, found), least=LEAST_RISE if cut else 0.0)
    return (start, reason) if reason else (found, "")


def objection(gain: Gain, *, least: float = 0.0) -> str:
    """Return why a deformation of partial views is rejected, '' when it is accepted.

    The local agreement must rise by `least`.
    """
    what = f"reduces the agreement of intensities (local agreement {gain.before:.2f} before, {gain.after:.2f} after)"
    if gain.folding_percent > MUCH_FOLDING_PERCENT:
        what = f"folds {gain.folding_percent:.1f} % of the common region"
    elif gain.seen_share < SMALL_PART and gain.strain > MUCH_STRAIN:
        what = f"has a high strain (standard deviation of the log Jacobian: {gain.strain:.2f})"
    elif least and gain.before <= gain.after < gain.before + least:
        what = f"hardly raises the agreement of intensities (local agreement {gain.before:.2f} before and "
        what += f"{gain.after:.2f} after)"
    elif not gain.after < gain.before:
        return ""
    why = "a part of a volume is missing" if least else "the fields of view are partial"
    return f"The linear start is kept: {why}, and the deformation {what}."


def gain_of(pair: Pair, start: Transform, transform: Transform) -> Gain:
    """Return the effect of a deformation where both transforms map into the moving volume.

    Parameters
    ----------
    pair : Pair
        The pair as engines receive it; its masks are used.
    start, transform : Transform
        Fixed-to-moving transforms.
    """
    grid = pair.fixed.grid.at_most(MOST_VOXELS)
    fixed = sampled_on(pair.fixed, grid)
    inside = foreground(fixed) & _inside_mask(pair.fixed_mask, grid, None)
    field = transform.displacement_on(grid)
    maps = [start.affine or start.displacement_on(grid), field]
    sampled, (shown, reached) = (
        int(inside.sum()),
        (
            inside & seen_voxels(grid, pair.moving, mapping) & _inside_mask(pair.moving_mask, grid, each)
            for each, mapping in zip((start, transform), maps, strict=True)
        ),
    )
    inside = shown & reached
    warped = [sampled_on(pair.moving, grid, mapping).array for mapping in maps]
    before, after = mean_agreements(fixed.array, warped, inside)
    share = float(shown.sum() / max(sampled, 1))
    if not inside.any():
        return Gain(before, after, 0.0, 0.0, share)
    determinant = field_jacobian(field).array
    strain = float(np.log(np.maximum(determinant[reached], SMALLEST_DETERMINANT)).std())
    return Gain(before, after, float(100 * (determinant[inside] <= 0).mean()), strain, share)


def _inside_mask(mask: LabelMap | None, grid: Grid, transform: Transform | None) -> npt.NDArray[np.bool_]:
    if mask is None:
        return np.ones(grid.shape, dtype=bool)
    return warp_labels(mask, grid, transform).mask()
