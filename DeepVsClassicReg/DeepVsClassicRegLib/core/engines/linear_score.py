"""Mutual information of a pair under a linear map, with its derivative and a penalty for low overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..transforms.affine import Affine
from .linear_sampling import Level, inside_mask, inside_view, interpolate

Array = npt.NDArray[np.floating]
LEAST_OVERLAP = 0.1


@dataclass(frozen=True, eq=False)
class Score:
    """How well a linear map brings the pair together.

    Attributes
    ----------
    value : float
        Bias-corrected mutual information (nats) times the overlap weight; higher is better.
    information : float
        The mutual information alone.
    overlap : float
        Share of the fixed object inside the moving field of view, relative to the smaller object, 0 to 1.
    by_matrix, by_translation : (3, 3) and (3,) arrays
        Derivative of `value` by the map's matrix (about the level's center) and translation; zero when it
        was not asked for.
    """

    value: float
    information: float
    overlap: float
    by_matrix: Array = field(default_factory=lambda: np.zeros((3, 3)))
    by_translation: Array = field(default_factory=lambda: np.zeros(3))


NOTHING = Score(0.0, 0.0, 0.0)


def score(level: Level, transform: Affine, *, gradient: bool = False) -> Score:
    """Return the score of a fixed-to-moving map at this level.

    Parameters
    ----------
    level : Level
        Sampled fixed points and the moving volume.
    transform : Affine
        The map to judge.
    gradient : bool
        Whether the derivative is wanted.

    References
    ----------
    Mattes et al., IEEE TMI 22(1):120-128, 2003, doi 10.1109/TMI.2003.809072 (spline Parzen windows).
    """
    to_index = np.linalg.inv(level.moving.grid.matrix[:3, :3])
    offset = to_index @ (transform.apply(level.center) - level.moving.grid.matrix[:3, 3])
    linear, constant = (to_index @ transform.matrix).astype(np.float32), offset.astype(np.float32)[:, None]
    overlap = _overlap(level, _turned(linear, level.objects) + constant, abs(np.linalg.det(transform.matrix)))
    index = _turned(linear, level.points) + constant
    known = inside_view(level.moving, index)
    if level.moving_mask is not None:
        allowed = inside_mask(level.moving_mask, level.moving.grid.index_to_point(index.T))
        known = allowed if known is None else known & allowed
    share = 1.0 if known is None else float(known.mean())
    if overlap < LEAST_OVERLAP or share * len(level.values) < 4 * level.bins:
        return NOTHING
    fixed_values, points = level.values, level.points
    if known is not None and share < 1:
        chosen = np.flatnonzero(known)
        index, fixed_values = index[:, chosen], fixed_values[chosen]
        points = points[:, chosen] if gradient else points
    values, slope = interpolate(level.moving, index, gradient=gradient)
    information, weight = mutual_information(fixed_values, values, level.bins, gradient=gradient)
    trust = overlap_weight(overlap)
    if slope is None or weight is None:
        return Score(information * trust, information, overlap)
    force = _turned(to_index.T.astype(np.float32), slope) * (weight * np.float32(trust))
    return Score(
        information * trust,
        information,
        overlap,
        np.asarray(np.einsum("in,jn->ij", force, points), dtype=float),
        np.asarray(force.sum(axis=1), dtype=float),
    )


def _turned(matrix: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return matrix @ vectors without BLAS, whose threads know no bound here and may change the last bits."""
    return np.asarray(np.einsum("ij,jn->in", matrix, vectors))


def _overlap(level: Level, index: npt.NDArray[np.float32], growth: float) -> float:
    size = np.array(level.moving.grid.size)[:, None]
    inside = ((index > -0.5) & (index < size - 0.5)).all(axis=0)
    return min(1.0, float(inside.mean()) * level.volume_ratio * max(1.0, growth)) if inside.size else 0.0


def overlap_weight(overlap: float) -> float:
    """Return 1 for a good overlap, falling smoothly towards 0 for a poor one."""
    return overlap * (2.0 - overlap)


def mutual_information(
    fixed: npt.NDArray[np.float32], moving: npt.NDArray[np.float32], bins: int, *, gradient: bool
) -> tuple[float, npt.NDArray[np.float32] | None]:
    """Return mutual information in nats and, per sample, its derivative by the moving value.

    The fixed value falls into one bin, the moving one into three with quadratic spline weights, which
    makes the result differentiable.
    """
    count = len(fixed)
    row = (fixed + np.float32(0.5)).astype(np.int32)
    middle = (moving + np.float32(0.5)).astype(np.int32)
    distance = moving - middle
    width = bins + 2
    cell = row * np.int32(width) + middle
    left = np.float32(0.5) * (np.float32(0.5) - distance) ** 2
    right = np.float32(0.5) * (np.float32(0.5) + distance) ** 2
    joint = np.zeros(bins * width + 2)
    for shift, part in ((0, left), (1, 1 - left - right), (2, right)):
        joint[shift : shift + bins * width] += np.bincount(cell, weights=part, minlength=bins * width)[: bins * width]
    table = joint[: bins * width].reshape(bins, width) / count
    by_fixed, by_moving = table.sum(axis=1), table.sum(axis=0)
    full = table > 0
    ratio = np.zeros_like(table)
    ratio[full] = np.log(table[full] / np.outer(by_fixed, by_moving)[full])
    used = (by_fixed > 1e-3).sum() - 1, (by_moving > 1e-3).sum() - 1
    information = float((table * ratio).sum()) - float(used[0] * used[1]) / (4 * count)
    if not gradient:
        return information, None
    # The marginals' derivatives cancel because spline weights sum to one.
    ratio[full] = np.log(table[full] / np.broadcast_to(by_moving, table.shape)[full])
    lookup = np.append(ratio.ravel(), [0.0, 0.0]).astype(np.float32)
    slope = (
        lookup.take(cell) * (distance - np.float32(0.5))
        - lookup.take(cell + 1) * (2 * distance)
        + lookup.take(cell + 2) * (distance + np.float32(0.5))
    )
    return information, np.asarray(slope / np.float32(count), dtype=np.float32)
