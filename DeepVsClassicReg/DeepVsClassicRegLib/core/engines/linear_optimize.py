"""Climbing to the best rigid, similarity or affine map near a start, by quasi-Newton steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..transforms.affine import Affine
from .linear_sampling import Level
from .linear_score import Score, score

Array = npt.NDArray[np.floating]
KINDS = ("rigid", "similarity", "affine")
PARAMETERS = {"rigid": 6, "similarity": 7, "affine": 12}
DIFFERENCE = 1e-5
HALVINGS = 8


@dataclass(frozen=True, eq=False)
class Pose:
    """A linear map about a center: rotation after a symmetric stretch, then a shift.

    Attributes
    ----------
    rotation : (3, 3) array
        Proper rotation.
    log_stretch : (3, 3) array
        Symmetric; zero for rigid maps, its eigenvalues are the logarithms of the scales.
    center, target : (3,) arrays
        The fixed point `center` is mapped to the moving point `target`, LPS mm.
    """

    rotation: Array
    log_stretch: Array
    center: Array
    target: Array

    @classmethod
    def of(cls, transform: Affine, center: npt.ArrayLike) -> Pose:
        """Return the polar decomposition of a map without reflection."""
        u, scales, vt = np.linalg.svd(transform.matrix)
        middle = np.asarray(center, dtype=float)
        return cls(u @ vt, vt.T @ np.diag(np.log(scales)) @ vt, middle, transform.apply(middle))

    @property
    def affine(self) -> Affine:
        """The map itself."""
        matrix = self.rotation @ _exponential(self.log_stretch)
        return Affine(matrix, self.target - matrix @ self.center)

    @property
    def scales(self) -> Array:
        """The three stretch factors, ascending."""
        return np.asarray(np.exp(np.linalg.eigvalsh(self.log_stretch)))

    def moved(self, change_mm: Array, radius_mm: float) -> Pose:
        """Return the pose changed by parameters that all move the points by about that many mm."""
        rotation = self.rotation @ rotation_matrix(change_mm[3:6] / radius_mm)
        stretch = self.log_stretch
        if len(change_mm) == PARAMETERS["similarity"]:
            stretch = stretch + np.eye(3) * change_mm[6] / radius_mm
        elif len(change_mm) == PARAMETERS["affine"]:
            stretch = stretch + _symmetric(change_mm[6:] / radius_mm)
        return Pose(rotation, stretch, self.center, self.target + change_mm[:3])


@dataclass(frozen=True, eq=False)
class Climb:
    """Where an optimization ended.

    Attributes
    ----------
    pose : Pose
        The best map found.
    score : Score
        Its score.
    objective : float
        Score minus the penalty for stretching.
    iterations : int
        Steps taken.
    """

    pose: Pose
    score: Score
    objective: float
    iterations: int


def climb(
    level: Level,
    start: Affine,
    *,
    kind: str,
    iterations: int,
    stiffness: float,
    tolerance: float = 0.02,
    watch: Callable[[int, float], None] | None = None,
) -> Climb:
    """Maximize the score from a start.

    Parameters
    ----------
    level : Level
        Resolution to work at.
    start : Affine
        First map, without reflection.
    kind : {'rigid', 'similarity', 'affine'}
        What may change; the stretch of the start is kept where it may not.
    iterations : int
        Most steps.
    stiffness : float
        Weight of the squared log-stretch subtracted from the score.
    tolerance : float
        Step length, in voxels of the level, below which it stops.
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
        if float(np.linalg.norm(change)) < tolerance * level.step_mm or gained < 1e-6:
            break
    return Climb(pose, current, value, done)


def _updated(inverse: Array | None, change: Array, bend: Array, unit: Array) -> Array | None:
    """Return the BFGS update of the inverse curvature; None while nothing is known."""
    product = float(change @ bend)
    if product <= 1e-12:
        return inverse
    if inverse is None:
        inverse = unit * (product / float(bend @ bend))
    left = unit - np.outer(change, bend) / product
    return np.asarray(left @ inverse @ left.T + np.outer(change, change) / product)


def evaluate(level: Level, pose: Pose, free: int, stiffness: float) -> tuple[Score, float, Array]:
    """Return score, objective and the objective's derivative by the parameters of `Pose.moved`."""
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
    """Return the turn about a vector by its length in radians (Rodrigues)."""
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
