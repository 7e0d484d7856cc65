"""Mutual information of a pair under a linear transform, and its maximization from a start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...transforms.transform import Affine
from .levels import SampledLevel, inside, inside_view, interpolate

Array = npt.NDArray[np.floating]
LEAST_OVERLAP = 0.1
PARAMETERS = {"rigid": 6, "similarity": 7, "affine": 12}
DIFFERENCE = 1e-5
HALVINGS = 8
SMALLEST_STEP = 0.02  # in voxels of the level; after a shorter step the optimization ends


@dataclass(frozen=True, eq=False)
class Score:
    """The score of a linear transform.

    Attributes
    ----------
    value : float
        Bias-corrected mutual information (nats) times the overlap weight; higher is better.
    information : float
        The mutual information alone.
    overlap : float
        Fraction of the fixed object inside the moving field of view, relative to the smaller object, 0 to 1.
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


def score(level: SampledLevel, transform: Affine, *, gradient: bool = False) -> Score:
    """Return the score of a fixed-to-moving transform at this level.

    Parameters
    ----------
    level : SampledLevel
        Sampled fixed points and the moving volume.
    transform : Affine
        The transform to score.
    gradient : bool
        Whether to compute the derivative.

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
        mask = level.moving_mask
        allowed = inside(mask.grid, mask.array, level.moving.grid.index_to_point(index.T))
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
    """Return matrix @ vectors without BLAS, whose threads are not limited here and may change the last bits."""
    return np.asarray(np.einsum("ij,jn->in", matrix, vectors))


def _overlap(level: SampledLevel, index: npt.NDArray[np.float32], growth: float) -> float:
    size = np.array(level.moving.grid.size)[:, None]
    inside = ((index > -0.5) & (index < size - 0.5)).all(axis=0)
    return min(1.0, float(inside.mean()) * level.volume_ratio * max(1.0, growth)) if inside.size else 0.0


def overlap_weight(overlap: float) -> float:
    """Return 1 for a large overlap, decreasing smoothly to 0 for a small one."""
    return overlap * (2.0 - overlap)


def mutual_information(
    fixed: npt.NDArray[np.float32], moving: npt.NDArray[np.float32], bins: int, *, gradient: bool
) -> tuple[float, npt.NDArray[np.float32] | None]:
    """Return the bias-corrected mutual information in nats and, with `gradient`, its derivative, (N,).

    The fixed value is in one bin, the moving value in three bins with quadratic spline weights, so that the result is
    differentiable.

    Parameters
    ----------
    fixed, moving : (N,) arrays
        Intensities at the samples in units of bins, 0 to `bins` - 1.
    bins : int
        Bins per volume.
    gradient : bool
        Whether to compute the derivative by the moving value of each sample.
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
    # The derivatives of the marginals cancel because the spline weights sum to one.
    ratio[full] = np.log(table[full] / np.broadcast_to(by_moving, table.shape)[full])
    lookup = np.append(ratio.ravel(), [0.0, 0.0]).astype(np.float32)
    slope = (
        lookup.take(cell) * (distance - np.float32(0.5))
        - lookup.take(cell + 1) * (2 * distance)
        + lookup.take(cell + 2) * (distance + np.float32(0.5))
    )
    return information, np.asarray(slope / np.float32(count), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Pose:
    """A linear transform about a center: a symmetric stretch, a rotation, then a translation.

    Attributes
    ----------
    rotation : (3, 3) array
        Proper rotation.
    log_stretch : (3, 3) array
        Symmetric matrix; zero for rigid transforms, its eigenvalues are the logarithms of the scales.
    center, target : (3,) arrays
        The fixed point `center` is mapped to the moving point `target`, LPS mm.
    """

    rotation: Array
    log_stretch: Array
    center: Array
    target: Array

    @classmethod
    def of(cls, transform: Affine, center: npt.ArrayLike) -> Pose:
        """Return the polar decomposition of a transform without reflection."""
        u, scales, vt = np.linalg.svd(transform.matrix)
        middle = np.asarray(center, dtype=float)
        return cls(u @ vt, vt.T @ np.diag(np.log(scales)) @ vt, middle, transform.apply(middle))

    @property
    def affine(self) -> Affine:
        """The transform as an affine."""
        matrix = self.rotation @ _exponential(self.log_stretch)
        return Affine(matrix, self.target - matrix @ self.center)

    @property
    def scales(self) -> Array:
        """The three stretch factors, ascending."""
        return np.asarray(np.exp(np.linalg.eigvalsh(self.log_stretch)))

    def moved(self, change_mm: Array, radius_mm: float) -> Pose:
        """Return the changed pose; each parameter moves the points by about its value in mm."""
        rotation = self.rotation @ rotation_matrix(change_mm[3:6] / radius_mm)
        stretch = self.log_stretch
        if len(change_mm) == PARAMETERS["similarity"]:
            stretch = stretch + np.eye(3) * change_mm[6] / radius_mm
        elif len(change_mm) == PARAMETERS["affine"]:
            stretch = stretch + _symmetric(change_mm[6:] / radius_mm)
        return Pose(rotation, stretch, self.center, self.target + change_mm[:3])


@dataclass(frozen=True, eq=False)
class Climb:
    """The result of an optimization.

    Attributes
    ----------
    pose : Pose
        The best pose.
    score : Score
        Its score.
    objective : float
        Score minus the penalty on the stretch.
    iterations : int
        Number of steps.
    """

    pose: Pose
    score: Score
    objective: float
    iterations: int


def climb(
    level: SampledLevel,
    start: Affine,
    *,
    kind: str,
    iterations: int,
    stiffness: float,
    watch: Callable[[int, float], None] | None = None,
) -> Climb:
    """Maximize the score from a start.

    Parameters
    ----------
    level : SampledLevel
        Resolution of the optimization.
    start : Affine
        Initial transform, without reflection.
    kind : {'rigid', 'similarity', 'affine'}
        Degrees of freedom; a stretch of the start that is not among them is kept.
    iterations : int
        Maximum number of steps.
    stiffness : float
        Weight of the squared log-stretch subtracted from the score.
    watch : callable, optional
        Called with iteration and objective (lower is better); may raise to stop.
    """
    pose = Pose.of(start, level.center)
    free = PARAMETERS[kind]
    metric = np.eye(free)
    current, value, slope = evaluate(level, pose, free, stiffness)
    inverse: Array | None = None
    done = 0
    for done in range(1, iterations + 1):
        norm = float(np.linalg.norm(slope))
        if norm == 0:
            break
        direction = slope / norm * level.step_mm if inverse is None else inverse @ slope
        if direction @ slope <= 0:
            inverse, direction = None, slope / norm * level.step_mm
        length = float(np.linalg.norm(direction))
        direction *= min(1.0, 3 * level.step_mm / length)
        step = 1.0
        for _ in range(HALVINGS):
            trial = pose.moved(step * direction, level.radius_mm)
            found = evaluate(level, trial, free, stiffness)
            if found[1] >= value + 1e-4 * step * float(direction @ slope):
                break
            step *= 0.4
        else:
            if inverse is None:
                break
            inverse = None
            continue
        change, bend = step * direction, slope - found[2]
        gained = found[1] - value
        pose, (current, value, slope) = trial, found
        inverse = _updated(inverse, change, bend, metric)
        if watch is not None:
            watch(done, -value)
        if float(np.linalg.norm(change)) < SMALLEST_STEP * level.step_mm or gained < 1e-6:
            break
    return Climb(pose, current, value, done)


def _updated(inverse: Array | None, change: Array, bend: Array, unit: Array) -> Array | None:
    """Return the BFGS update of the inverse Hessian; None while there is no estimate."""
    product = float(change @ bend)
    if product <= 1e-12:
        return inverse
    if inverse is None:
        inverse = unit * (product / float(bend @ bend))
    left = unit - np.outer(change, bend) / product
    return np.asarray(left @ inverse @ left.T + np.outer(change, change) / product)


def evaluate(level: SampledLevel, pose: Pose, free: int, stiffness: float) -> tuple[Score, float, Array]:
    """Return score, objective (higher is better) and its derivative by the first `free` parameters of `Pose.moved`.

    The objective is the score minus `stiffness` times the squared log-stretch of the pose.
    """
    here = score(level, pose.affine, gradient=True)
    base = pose.affine.matrix
    slope = np.zeros(free)
    slope[:3] = here.by_translation
    for number in range(3, free):
        change = np.zeros(free)
        change[number] = DIFFERENCE * level.radius_mm
        nearby = pose.moved(change, level.radius_mm)
        by_parameter = (nearby.affine.matrix - base) / change[number]
        slope[number] = float((here.by_matrix * by_parameter).sum())
        stretched = ((nearby.log_stretch - pose.log_stretch) * pose.log_stretch).sum() / change[number]
        slope[number] -= 2 * stiffness * float(stretched)
    return here, here.value - stiffness * float((pose.log_stretch**2).sum()), slope


def rotation_matrix(vector: Array) -> Array:
    """Return the rotation about a vector by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    cross = np.array([[0, -vector[2], vector[1]], [vector[2], 0, -vector[0]], [-vector[1], vector[0], 0]])
    if angle < 1e-8:
        return np.eye(3) + cross
    return np.asarray(np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross)


def _symmetric(six: Array) -> Array:
    a, b, c, d, e, f = six
    return np.array([[a, d, e], [d, b, f], [e, f, c]])


def _exponential(symmetric: Array) -> Array:
    if not symmetric.any():
        return np.eye(3)
    values, vectors = np.linalg.eigh(symmetric)
    return np.asarray((vectors * np.exp(values)) @ vectors.T)
