"""Detects padding: circles, corners and frames with one value far from all others, which were not measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .notes import Note
from .volume import Volume

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float32]
# In volumes with more voxels than this, padding is detected on a subset of voxels.
MOST_VOXELS = 2_000_000
ROUNDS = 3
# Minimum fraction of the outermost voxels with the value.
LEAST_BORDER = 0.02
# Minimum distance from the other values, in units of their own spread: 60 HU beside a body without metal.
GAP = 0.04
RIM = 3
# The rim inside of the padding is air: this much of the spread around an end of the range, nearly all alike.
AIR = 0.1
ALIKE = 0.05
# What is left is one piece per row (a box, a cylinder), or the same in every slice.
ONE_PIECE = 0.99
LEAST_LEFT = 0.4


def marked(volume: Volume) -> Volume:
    """Return the volume with its padding marked as not measured (`Volume.valid`), and a note about it.

    Notes
    -----
    Scanners and resampling programs fill unmeasured regions with one value: -1100 to -3024 around the circle of a CT, 0
    or the largest number around a rotated box. Such a value is the lowest or highest of the volume, reaches its border,
    and is separated from all others by a gap. The zeros around a skull-stripped brain have these properties too, but
    are background, which must match: padding differs in its neighborhood (air, not tissue) or its shape
    (the same in every slice).
    """
    notes, valid = [], volume.valid
    for _ in range(ROUNDS):
        found = _padding(volume.array, valid)
        if found is None:
            break
        value, outside = found
        valid = ~outside if valid is None else valid & ~outside
        notes.append(
            f"{100 * outside.mean():.2g} % of the voxels hold {value:g}, far from all others: they are outside "
            "the measured region and are left out."
        )
    if not notes:
        return volume
    return replace(volume, valid=valid, notes=(*volume.notes, *(Note(note) for note in notes)))


def border_values(array: Array, valid: Mask | None = None) -> Array:
    """Return the measured values at the six faces of a volume and beside voxels that were not measured, (N,)."""
    step = _step(array.size)
    small = array[::step, ::step, ::step]
    edge = np.zeros(small.shape, dtype=bool)
    for axis in range(3):
        ends = [slice(None)] * 3
        for end in (0, -1):
            ends[axis] = slice(end, None) if end else slice(0, 1)
            edge[tuple(ends)] = True
    if valid is not None:
        measured = valid[::step, ::step, ::step]
        edge = (edge | _grown(~measured, 1)) & measured
    return np.asarray(small[edge])


def _padding(array: Array, valid: Mask | None) -> tuple[float, Mask] | None:
    """Return the value of the padding and where it is; None when there is none."""
    step = _step(array.size)
    small = array[::step, ::step, ::step]
    measured = None if valid is None else valid[::step, ::step, ::step]
    edge = border_values(array, valid)
    if not edge.size:
        return None
    for sign in (1, -1):
        values = small if measured is None else small[measured]
        extreme = sign * float((sign * values).min())
        if np.mean(edge == extreme) < LEAST_BORDER:
            continue
        threshold = _threshold(values, extreme, sign)
        if threshold is None:
            continue
        beyond = sign * small < sign * threshold
        inside = ~beyond if measured is None else measured & ~beyond
        if _is_padding(small, beyond, inside):
            return extreme, sign * array < sign * threshold
    return None


def _threshold(values: Array, extreme: float, sign: int) -> float | None:
    """Return the value that divides padding from what was measured; None without a gap between them."""
    rest = sign * values[values != extreme]
    if rest.size < 100:
        return None
    low, high = np.percentile(rest, [1, 99])
    gap = low - sign * extreme
    if gap <= GAP * (high - low) or high <= low:
        return None
    return float(sign * (low - 0.25 * gap))


def _is_padding(array: Array, beyond: Mask, inside: Mask) -> bool:
    """Return whether the voxels beyond the gap are padding, not the background of a segmented organ."""
    if not inside.any():
        return False
    if inside.mean() >= LEAST_LEFT and any(_is_prism(beyond, axis) for axis in range(3)):
        return True
    rim = array[_grown(beyond, RIM) & inside]
    if not rim.size or _rows_in_one_piece(inside) < ONE_PIECE:
        return False
    low, high = np.percentile(array[inside], [1, 99])
    first, middle, last = np.percentile(rim, [25, 50, 75])
    near_end = min(abs(middle - low), abs(middle - high)) < AIR * (high - low)
    return bool(near_end and last - first < ALIKE * (high - low))


def _is_prism(mask: Mask, axis: int) -> bool:
    """Return whether the mask is the same in nearly every slice across an axis."""
    some, every = mask.any(axis=axis), mask.all(axis=axis)
    return bool(some.any() and (some & ~every).sum() <= (1 - ONE_PIECE) * some.sum())


def _rows_in_one_piece(mask: Mask) -> float:
    """Return the share of the rows along the three axes whose voxels of the mask are one run."""
    runs, rows = 0, 0
    for axis in range(3):
        part = np.moveaxis(mask, axis, -1)
        begins = part[..., :1].sum(axis=-1) + (part[..., 1:] & ~part[..., :-1]).sum(axis=-1)
        runs += int((begins == 1).sum())
        rows += int((begins > 0).sum())
    return runs / max(rows, 1)


def _grown(mask: Mask, voxels: int) -> Mask:
    """Return the mask dilated by a cube of `2 * voxels + 1` voxels."""
    wide = mask
    for axis in range(3):
        grown = wide.copy()
        for shift in range(1, min(voxels, wide.shape[axis] - 1) + 1):
            low, high = [slice(None)] * 3, [slice(None)] * 3
            low[axis], high[axis] = slice(None, -shift), slice(shift, None)
            grown[tuple(low)] |= wide[tuple(high)]
            grown[tuple(high)] |= wide[tuple(low)]
        wide = grown
    return wide


def _step(voxels: int) -> int:
    return max(1, int(np.ceil((voxels / MOST_VOXELS) ** (1 / 3) - 1e-9)))
