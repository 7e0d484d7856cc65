"""Checks whether two volumes match at their start better than by chance, by comparison with shifted copies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .descriptors import mind_ssc
from .problem import Image, OptimizationProblem, pooled

COARSE = 40
SHIFTS = 32
# Fractions of the longest edge, large enough that smooth structures do not match.
NEAREST, FARTHEST = 0.12, 0.25
FEWEST_VOXELS = 100
SHOWS = 0.05


def contrast_of_start(problem: OptimizationProblem) -> float:
    """Return by how many standard deviations the start matches better than shifted copies of the moving volume.

    Notes
    -----
    The similarity is the mean squared difference of self-similarity descriptors in the common foreground, on a coarse
    grid. The shifts cover all directions and are the same for every pair. Values of about 0 to 2 occur by chance: there
    is no local evidence for the start, and local forces would follow noise.
    """
    size = problem.fixed.shape
    z, y, x = (int(2 ** max(0, round(float(np.log2(n / COARSE))))) for n in size)
    fixed, moving = pooled(problem.fixed, (z, y, x)), pooled(problem.moving, (z, y, x))
    both = (fixed > SHOWS) & (moving > SHOWS)
    if problem.compared is not None:
        both &= pooled(problem.compared.astype(np.float32), (z, y, x)) > 0.99
    of_fixed, of_moving = mind_ssc(fixed, dilation=1), mind_ssc(moving, dilation=1)
    here = _distance(of_fixed, of_moving, both, (0, 0, 0))
    found = [_distance(of_fixed, of_moving, both, shift) for shift in _shifts(fixed.shape)]
    chance = np.array([value for value in found if np.isfinite(value)])
    if not np.isfinite(here) or len(chance) < SHIFTS // 4:
        return 0.0
    return float((chance.mean() - here) / max(float(chance.std()), 1e-6 * float(chance.mean()), 1e-12))


def _shifts(shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return shifts distributed evenly over directions (a spiral on the sphere) and lengths."""
    number = np.arange(SHIFTS) + 0.5
    height, turn = 1 - 2 * number / SHIFTS, np.pi * (1 + 5**0.5) * number
    ring = np.sqrt(1 - height**2)
    directions = np.stack([height, ring * np.sin(turn), ring * np.cos(turn)], axis=1)
    lengths = np.linspace(NEAREST, FARTHEST, SHIFTS)[(np.arange(SHIFTS) * 7) % SHIFTS] * sorted(shape)[-1]
    # To keep an overlap in thin volumes, shifts are at most a quarter of the short edge.
    reach = np.array(shape) // 4
    voxels = np.clip(np.rint(directions * lengths[:, None]), -reach, reach).astype(int)
    return [(int(z), int(y), int(x)) for z, y, x in voxels]


def _distance(fixed: Image, moving: Image, both: npt.NDArray[np.bool_], shift: tuple[int, int, int]) -> float:
    """Return the mean squared difference over the common foreground, NaN when it has few voxels."""
    here, there = _overlapping(both.shape, shift)
    inside = both[here] & both[there]
    if int(inside.sum()) < FEWEST_VOXELS:
        return float("nan")
    channels = slice(None)
    difference = fixed[(channels, *here)][:, inside] - moving[(channels, *there)][:, inside]
    return float(np.mean(difference * difference, dtype=np.float64))


def _overlapping(shape: tuple[int, ...], shift: tuple[int, int, int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the overlapping parts of a grid and its shifted copy."""
    here = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift, shape, strict=True))
    there = tuple(slice(max(0, -s), n + min(0, -s)) for s, n in zip(shift, shape, strict=True))
    return here, there
