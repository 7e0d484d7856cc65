"""Distances between label boundaries in millimeters: Hausdorff distance, its 95th percentile, and average."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from .overlap import Codes, Scored

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]
Box = tuple[slice, slice, slice]


def surface_measures(
    fixed: Codes, warped: Codes, scored: Scored, spacing_mm: tuple[float, float, float]
) -> dict[str, Any]:
    """Return HD95, HD and average symmetric surface distance per label and as means.

    The boundary of a label is the set of its voxels with at least one of their six neighbors outside the label (or the
    volume). Distances are measured between voxel centers, to the nearest boundary voxel of the other label map. HD95
    is the larger of the two directed 95th percentiles, ASSD the mean over both sets of distances. A label that is
    missing on one side has no distance: NaN, excluded from the means (`labels_lost` counts them).

    Parameters
    ----------
    fixed, warped : (Z, Y, X) uint16 arrays
        Codes from `Scored.codes`.
    spacing_mm : tuple of 3 float
        Along the index axes (i, j, k); the axes are orthogonal, so the direction has no effect.
    """
    distances = np.full((3, len(scored.labels)), np.nan)
    boxes = _boxes(fixed, len(scored.labels)), _boxes(warped, len(scored.labels))
    for place in range(len(scored.labels)):
        first, second = boxes[0][place], boxes[1][place]
        if first is None or second is None:
            continue
        # A neighbor outside the box does not carry the label, so cutting the box out changes no boundary.
        box = _union(first, second)
        there, back = directed_distances(fixed[box] == place + 1, warped[box] == place + 1, spacing_mm)
        both = np.concatenate([there, back])
        distances[:, place] = max(np.percentile(there, 95), np.percentile(back, 95)), both.max(), both.mean()
    measures: dict[str, Any] = {}
    for name, values in zip(("hd95_mm", "hd_mm", "assd_mm"), distances, strict=True):
        found = values[np.isfinite(values)]
        measures[f"{name}_mean"] = float(found.mean()) if len(found) else float("nan")
        measures[f"{name}_per_label"] = scored.by_label(values)
    return measures


def directed_distances(first: Mask, second: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Array, Array]:
    """Return the boundary distances first -> second and second -> first of two masks on one grid, mm.

    Raises
    ------
    ValueError
        When a mask is empty.
    """
    there, back = (np.argwhere(boundary(mask)) * np.array(spacing_mm[::-1]) for mask in (first, second))
    if not len(there) or not len(back):
        raise ValueError("An empty mask has no boundary.")
    return cKDTree(back).query(there)[0], cKDTree(there).query(back)[0]


def boundary(mask: Mask) -> Mask:
    """Return the voxels of a mask with one of their six neighbors outside of it or of the volume."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for start in (0, 2):
            part = [slice(1, -1)] * 3
            part[axis] = slice(start, start + mask.shape[axis])
            inner &= padded[tuple(part)]
    return mask & ~inner


def _boxes(codes: Codes, count: int) -> list[Box | None]:
    """Return the bounding box of each code 1..count, None for missing codes."""
    flat = np.flatnonzero(codes)
    order = np.argsort(codes.ravel()[flat], kind="stable")
    flat = flat[order]
    present, starts = np.unique(codes.ravel()[flat], return_index=True)
    boxes: list[Box | None] = [None] * count
    if not len(present):
        return boxes
    lows, highs = [], []
    for coordinate in np.unravel_index(flat, codes.shape):
        lows.append(np.minimum.reduceat(coordinate, starts))
        highs.append(np.maximum.reduceat(coordinate, starts))
    for place, code in enumerate(present):
        z, y, x = (slice(int(low[place]), int(high[place]) + 1) for low, high in zip(lows, highs, strict=True))
        boxes[int(code) - 1] = (z, y, x)
    return boxes


def _union(first: Box, second: Box) -> Box:
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return z, y, x
