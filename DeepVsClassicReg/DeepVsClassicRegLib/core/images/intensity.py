"""Intensity preparation shared by engines: padding, background, robust ranges, windows, foreground."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .volume import Note, Volume, percent_text

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
# A value is the background when this fraction of the outermost voxels has it, exactly or nearly.
DOMINATES = 0.5
ALONE = 0.8
BINS = 64
# Standard deviations in voxels for filling holes, and the least measured share of such a neighborhood.
HOLE_SCALES, ENOUGH_WEIGHT = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0), 0.1
# Intensities beyond their usual range by more than this many times its width get the end of the range: a defect element
# of the detector, a marker. Metal in CT stays below.
BEYOND = 10.0
# Back ends use absolute tolerances; a usual range of another width is scaled to this one.
USUAL_WIDTHS, WIDTH = (1e-3, 1e6), 1000.0
# Position of the background in the range of the other values: below this it is dark, as usual.
DARK, BRIGHT = 0.15, 0.75


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
            f"{percent_text(100 * outside.mean())} of the voxels hold {value:g}, far from all others: they are outside "
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
        edge = (edge | widened(~measured, 1)) & measured
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
    rim = array[widened(beyond, RIM) & inside]
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


def _step(voxels: int) -> int:
    return max(1, int(np.ceil((voxels / MOST_VOXELS) ** (1 / 3) - 1e-9)))


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


@dataclass(frozen=True)
class Background:
    """The background around the body.

    Attributes
    ----------
    value : float
        The value that dominates the border of the volume; the low end of the robust range when none does.
    share : float
        Share of the outermost voxels that have it or nearly it; 0 when no value dominates.
    constant : bool
        Whether those voxels have exactly this value.
    """

    value: float
    share: float
    constant: bool


def robust_range(array: npt.NDArray[np.floating], *, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Return two percentiles of the values, widened to the full range when they coincide."""
    lower, upper = np.percentile(array, [low, high])
    if upper <= lower:
        lower, upper = float(array.min()), float(array.max())
    return float(lower), float(upper)


def limited(array: Array) -> tuple[Array, int]:
    """Return intensities without extremes, scaled where their usual range is very narrow or wide, and how many changed.

    Parameters
    ----------
    array : (Z, Y, X) array
        Finite intensities. They are returned as they are when they have no extremes, as nearly all volumes.

    Examples
    --------
    >>> ramp = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    >>> limited(ramp)[0] is ramp
    True
    >>> ramp[0, 0, 0] = 1e30
    >>> changed, count = limited(ramp)
    >>> bool(changed.max() < 2e4), count
    (True, 1)
    """
    step = _step(array.size)
    low, high = (float(value) for value in np.percentile(array[::step, ::step, ::step], [0.1, 99.9]))
    width = high - low
    if width <= 0:
        return array, 0
    bounds = low - BEYOND * width, high + BEYOND * width
    count = 0
    if float(array.min()) < bounds[0] or float(array.max()) > bounds[1]:
        count = int(((array < bounds[0]) | (array > bounds[1])).sum())
        array = np.where(array < bounds[0], np.float32(low), np.where(array > bounds[1], np.float32(high), array))
    if not USUAL_WIDTHS[0] <= width <= USUAL_WIDTHS[1]:
        array = ((array.astype(np.float64) - low) * (WIDTH / width)).astype(np.float32)
    return np.asarray(array, dtype=np.float32), count


def measured(volume: Volume) -> Array:
    """Return the intensities that were measured: all of them, or those where `valid` is True, (N,)."""
    return volume.array if volume.valid is None else volume.array[volume.valid]


def normalized(volume: Volume, *, low: float = 0.5, high: float = 99.5) -> Array:
    """Return the intensities mapped so that the robust range becomes 0..1, clipped there, the background dark."""
    array = with_dark_background(volume).array
    lower, upper = robust_range(array, low=low, high=high)
    if upper == lower:
        return np.zeros_like(array)
    return np.clip((array - lower) / np.float32(upper - lower), 0, 1).astype(np.float32)


def background_of(volume: Volume) -> Background:
    """Return the background: the most frequent value of the outermost measured voxels.

    Air in CT, zero in skull-stripped MR, the middle of the range in z-scored brains. A field of view inside
    tissue has no such value; the low end of its range is used.
    """
    edge = border_values(volume.array, volume.valid)
    if edge.size:
        values, counts = np.unique(edge, return_counts=True)
        share = float(counts.max() / edge.size)
        if share >= DOMINATES:
            return Background(float(values[counts.argmax()]), share, True)
        lower, upper = robust_range(measured(volume))
        if upper > lower:
            place = np.clip((edge - lower) * (BINS / (upper - lower)), 0, BINS - 1).astype(int)
            histogram = np.convolve(np.bincount(place, minlength=BINS), [1, 1, 1], mode="same")
            peak = int(histogram.argmax())
            share = float(histogram[peak] / edge.size)
            if share >= DOMINATES:
                return Background(float(np.median(edge[np.abs(place - peak) <= 1])), share, False)
    return Background(robust_range(measured(volume))[0] if edge.size else 0.0, 0.0, False)


def background_value(volume: Volume) -> float:
    """Return the intensity outside the body; used to fill the region outside the moving volume."""
    return background_of(volume).value


def with_dark_background(volume: Volume) -> Volume:
    """Return the volume in the form for engines: a background darker than the body, also in voxels not measured.

    Voxels that were not measured get the background value; holes inside the measured voxels continue their
    surroundings, because a dark hole looks like a structure. A constant background inside the range of the body
    (z-scored, inverted with zeros around it) is set to the low end of that range; a bright background with noise
    (inverted) inverts all intensities. Other volumes are returned unchanged.
    """
    background = background_of(volume)
    array = volume.array
    if volume.valid is not None:
        array = np.where(volume.valid, array, np.float32(background.value))
        array = _without_holes(array, volume.valid)
    low, high = _body_range(array, background)
    place = (background.value - low) / (high - low) if high > low else 0.0
    if background.share >= DOMINATES and background.constant and place > DARK:
        array = np.where(_connected(array == np.float32(background.value)), np.float32(low), array)
    elif background.share >= ALONE and place > BRIGHT:
        array = np.float32(low + high) - array
    elif volume.valid is None:
        return volume
    return replace(volume, array=array, valid=None)


def foreground(volume: Volume, *, fraction: float = 0.1) -> npt.NDArray[np.bool_]:
    """Return the voxels that exceed the background by `fraction` of the robust range, (Z, Y, X).

    Skull-stripped volumes give the organ; volumes without a dark background give nearly everything.
    """
    array = with_dark_background(volume).array
    lower, upper = robust_range(array)
    return np.asarray(array > lower + fraction * (upper - lower))


def _body_range(array: Array, background: Background) -> tuple[float, float]:
    """Return the robust range of what is not background."""
    step = max(1, round((array.size / 500_000) ** (1 / 3)))
    small = array[::step, ::step, ::step]
    lower, upper = robust_range(small)
    width = 0.0 if background.constant else 1.5 * (upper - lower) / BINS
    body = small[np.abs(small - np.float32(background.value)) > width]
    return robust_range(body) if body.size > 100 else (lower, upper)


def _without_holes(array: Array, valid: npt.NDArray[np.bool_]) -> Array:
    """Return the array with the mean of the measured surroundings in all holes that do not reach the border.

    The mean is Gaussian, of the nearest scale that reaches measured voxels, so that a large hole is filled smoothly.
    """
    holes = ~valid & ~_connected(~valid)
    if not holes.any():
        return array
    from scipy import ndimage  # slow to load, and reports, which the panel loads at start, import this module

    margin = int(2 * HOLE_SCALES[-1])
    (box,) = ndimage.find_objects(holes.astype(np.uint8))
    box = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
    filled, missing, seen = array[box].copy(), holes[box].copy(), valid[box].astype(np.float32)
    known = filled * seen
    for sigma in HOLE_SCALES:
        weight = ndimage.gaussian_filter(seen, sigma)
        near = missing & (weight > ENOUGH_WEIGHT)
        filled[near] = ndimage.gaussian_filter(known, sigma)[near] / weight[near]
        missing &= ~near
        if not missing.any():
            break
    whole = array.copy()
    whole[box] = filled
    return whole


def _connected(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the part of a mask that is connected with the border of the volume."""
    filled = sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray((~mask).astype(np.uint8))))
    return np.asarray(filled == 0)
