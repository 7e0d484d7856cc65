"""Distances between label boundaries in millimeters: Hausdorff distance, its 95th percentile, and average."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .overlap import Codes, Scored

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]
Box = tuple[slice, slice, slice]
# Measured time in nanoseconds per voxel of a distance map and per operation of the separable search.
NS_PER_MAP_VOXEL, NS_PER_OPERATION = 150.0, 1.5
OPERATIONS_AT_ONCE = 1 << 24


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
        there, back = _directed(fixed, warped, place + 1, (first, second), spacing_mm)
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
    codes = first.astype(np.uint16), second.astype(np.uint16)
    boxes = _boxes(codes[0], 1)[0], _boxes(codes[1], 1)[0]
    if boxes[0] is None or boxes[1] is None:
        raise ValueError("An empty mask has no boundary.")
    return _directed(*codes, 1, (boxes[0], boxes[1]), spacing_mm)


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


def _directed(
    fixed: Codes, warped: Codes, code: int, boxes: tuple[Box, Box], spacing_mm: tuple[float, float, float]
) -> tuple[Array, Array]:
    # Neighbors outside the box do not have the label, so cropping to the box does not change the boundary.
    edges = boundary(fixed[boxes[0]] == code), boundary(warped[boxes[1]] == code)
    union = _union(boxes)
    spacing_zyx = np.array(spacing_mm[::-1])
    offset = np.array([b.start - a.start for a, b in zip(*boxes, strict=True)])
    map_cost = NS_PER_MAP_VOXEL * _volume(union)
    if map_cost <= NS_PER_OPERATION * _operations(edges[0].shape, edges[1].shape):
        places = [_within(edge, box, union) for edge, box in zip(edges, boxes, strict=True)]
        return _from_map(places[1], places[0], spacing_mm), _from_map(places[0], places[1], spacing_mm)
    return _separable(edges[0], edges[1], offset, spacing_zyx), _separable(edges[1], edges[0], -offset, spacing_zyx)


def _from_map(to: Mask, of: Mask, spacing_mm: tuple[float, float, float]) -> Array:
    """Return the distances of the voxels `of` to the nearest voxel `to`, from a distance map of `to`."""
    image = sitk.GetImageFromArray(to.astype(np.uint8))
    image.SetSpacing(spacing_mm)
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.maximum(sitk.GetArrayViewFromImage(distance)[of], 0.0).astype(float) * ~to[of]


def _separable(of: Mask, to: Mask, offset: npt.NDArray[np.integer], spacing_zyx: Array) -> Array:
    """Return the same for distant boxes: minimize one axis after another, only between the two boxes.

    `offset` is the start of the box of `to` in voxels (z, y, x) relative to the box of `of`.
    """
    squared = np.where(to, np.float32(0), np.float32(np.inf))
    for axis in range(3):
        here = np.arange(of.shape[axis]) * spacing_zyx[axis]
        there = (np.arange(to.shape[axis]) + offset[axis]) * spacing_zyx[axis]
        gap = ((here[:, None] - there[None]) ** 2).astype(np.float32)
        squared = _min_plus(gap, squared, axis)
    return np.sqrt(squared[of].astype(float))


def _min_plus(gap: npt.NDArray[np.float32], values: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Return the minimum over n of gap[m, n] + values[..., n, ...], with axis m in place of axis n."""
    moved = np.moveaxis(values, axis, -1)
    lines = np.ascontiguousarray(moved).reshape(-1, gap.shape[1])
    result = np.empty((len(lines), gap.shape[0]), dtype=np.float32)
    rows = max(1, OPERATIONS_AT_ONCE // gap.size)
    for start in range(0, len(lines), rows):
        result[start : start + rows] = (lines[start : start + rows, None] + gap).min(axis=-1)
    return np.moveaxis(result.reshape(*moved.shape[:-1], gap.shape[0]), -1, axis)


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


def _union(boxes: tuple[Box, Box]) -> Box:
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(*boxes, strict=True))
    return z, y, x


def _within(edge: Mask, box: Box, union: Box) -> Mask:
    whole = np.zeros([part.stop - part.start for part in union], dtype=bool)
    whole[tuple(slice(b.start - u.start, b.stop - u.start) for b, u in zip(box, union, strict=True))] = edge
    return whole


def _volume(box: Iterable[slice]) -> float:
    return float(np.prod([part.stop - part.start for part in box]))


def _operations(of: tuple[int, ...], to: tuple[int, ...]) -> float:
    """Return the number of operations of the separable search in one direction."""
    a, b = np.array(of, dtype=float), np.array(to, dtype=float)
    return float(a[0] * b[0] * b[1] * b[2] + a[0] * a[1] * b[1] * b[2] + a[0] * a[1] * a[2] * b[2])
