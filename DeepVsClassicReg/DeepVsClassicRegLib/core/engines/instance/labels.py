"""Label and landmark terms of one pair on the grid of a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...images.resample import warp_labels
from ...pair import Pair
from ...transforms.invert import PointInverse
from .problem import Image, OptimizationProblem, pooled

MOST_LABELS = 60


@dataclass(frozen=True, eq=False)
class Segments:
    """Both segmentations on the working grid.

    Attributes
    ----------
    fixed, moving : (Z, Y, X) int32 arrays
        Label numbers; `moving` is resampled with the start.
    labels : tuple of int
        Labels that exist in both, the largest ones when there are very many.
    """

    fixed: npt.NDArray[np.int32]
    moving: npt.NDArray[np.int32]
    labels: tuple[int, ...]

    def members(self, shrink: tuple[int, int, int]) -> tuple[list[Image], list[Image]]:
        """Return the memberships of all labels on the level with these block sizes."""
        fixed = [pooled((self.fixed == label).astype(np.float32), shrink) for label in self.labels]
        moving = [pooled((self.moving == label).astype(np.float32), shrink) for label in self.labels]
        return fixed, moving


def make_segments(pair: Pair, problem: OptimizationProblem, *, back: bool = False) -> Segments | None:
    """Return the segmentations of the pair on the working grid, None without a common label.

    `back`: fixed and moving are swapped, so the fixed side is resampled with the start.
    """
    if pair.fixed_labels is None or pair.moving_labels is None:
        return None
    here, there = (problem.start, None) if back else (None, problem.start)
    fixed = warp_labels(pair.fixed_labels, problem.grid, here).array
    moving = warp_labels(pair.moving_labels, problem.grid, there).array
    shared = sorted(set(np.unique(fixed)) & set(np.unique(moving)) - {0})
    if not shared:
        return None
    sizes = np.bincount(fixed.ravel())
    largest = sorted(shared, key=lambda label: -int(sizes[label]))[:MOST_LABELS]
    return Segments(fixed, moving, tuple(sorted(int(label) for label in largest)))


@dataclass(frozen=True, eq=False)
class LandmarkTerm:
    """Positions and targets of landmarks on the working grid.

    Attributes
    ----------
    at, target : (N, 3) arrays
        z, y, x in voxels of the working grid.
    """

    at: npt.NDArray[np.floating]
    target: npt.NDArray[np.floating]

    def pull(self, u: Image, shrink: tuple[int, int, int], *, reach: float, longest: float) -> Image:
        """Return a smooth update that moves the landmarks of a level toward their targets.

        Parameters
        ----------
        u : (3, Z, Y, X) array
            Field of the level in its voxels.
        reach : float
            Sigma of the Gaussian around every landmark, voxels.
        longest : float
            Longest update of a landmark, voxels.
        """
        scale = np.array(shrink, dtype=float)
        at, target = (self.at + 0.5) / scale - 0.5, (self.target + 0.5) / scale - 0.5
        update = np.zeros_like(u)
        weights = np.zeros(u.shape[1:], np.float32)
        shape = np.array(u.shape[1:])
        width = int(np.ceil(2.5 * reach))
        for point, goal in zip(at, target, strict=True):
            node = np.clip(np.rint(point), 0, shape - 1).astype(int)
            missing = goal - point - u[(slice(None), *node)]
            length = float(np.linalg.norm(missing))
            if length > longest:
                missing *= longest / length
            low, high = np.maximum(node - width, 0), np.minimum(node + width + 1, shape)
            z, y, x = (
                np.exp(-0.5 * ((np.arange(a, b) - p) / reach) ** 2) for a, b, p in zip(low, high, point, strict=True)
            )
            bump = (z[:, None, None] * y[None, :, None] * x[None, None, :]).astype(np.float32)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            update[(slice(None), *box)] += missing.astype(np.float32)[:, None, None, None] * bump
            weights[box] += bump
        return np.asarray(update / np.maximum(weights, 1.0))


def make_landmarks(pair: Pair, problem: OptimizationProblem) -> LandmarkTerm | None:
    """Return the landmarks of the pair on the working grid, moving ones mapped back through the start."""
    if pair.fixed_points is None or pair.moving_points is None or len(pair.fixed_points) == 0:
        return None
    before, _ = PointInverse(problem.start)(pair.moving_points, near_mm=pair.fixed_points)
    at = problem.grid.point_to_index(pair.fixed_points)[:, ::-1]
    target = problem.grid.point_to_index(before)[:, ::-1]
    return LandmarkTerm(at, target)
