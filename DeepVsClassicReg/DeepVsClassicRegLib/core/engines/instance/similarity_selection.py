"""Selects the similarity of a pair, depending on whether its volumes have equal or different contrasts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...pair import Pair
from .contrast_check import contrast_of_start
from .problem import OptimizationProblem, make_problem, pooled

CLASSES = 32
SAME_CONTRAST = 0.3
LINEAR_SHARE = 0.6
# Visible pairs of different contrasts have at least 4 when they match at their start, and at most 1.4 otherwise.
BY_CHANCE = 2.5
# Below this the start is a rough guess. Measured: 4.7 for abdominal slabs of two persons in CT and MR (the confidence
# of their linear start is 0.3), 12 to 26 for slabs of T1 and T2 heads.
ROUGH = 7.0
VERY_SMOOTH = 2.5


@dataclass(frozen=True)
class SelectedSimilarity:
    """A similarity and the reason of its selection.

    Attributes
    ----------
    name : str
        'lncc', 'mind' or 'mi'.
    reason : str
        Reason for the report.
    sigma_field : float
        Lowest field smoothing for it.
    comparable : bool
        Whether the contrasts of the volumes could be compared; False when they hardly overlap.
    rough_start : bool
        Whether the structures match at the start only a little better than by chance.
    """

    name: str
    reason: str
    sigma_field: float = 0.0
    comparable: bool = True
    rough_start: bool = False


def similarity_for(pair: Pair, *, resolution_mm: float, memory_gib: float) -> SelectedSimilarity:
    """Return the similarity for a pair at `pair.initial`, evaluated at this resolution.

    Parameters
    ----------
    pair : Pair
        As engines receive it (`engine_view`), without segmentations.
    resolution_mm : float
        Spacing of the grid on which the volumes are compared; 0 uses that of the fixed volume.
    memory_gib : float
        Memory limit of the grid; its spacing is increased until it fits.
    """
    problem, _ = make_problem(pair, coarsen=1.0, resolution_mm=resolution_mm, memory_gib=memory_gib)
    return select_similarity(problem)


def select_similarity(problem: OptimizationProblem) -> SelectedSimilarity:
    """Return 'lncc' for equal contrasts, 'mind' for different ones, 'mi' without any local match.

    Notes
    -----
    The common foreground is compared at the start of the registration, smoothed by block means, so that a coarse
    alignment suffices. Volumes of equal contrast have a positive correlation that explains most of the variance that
    any function of the moving intensity could explain (the correlation ratio). Descriptors for different contrasts are
    used only when they match at the start better than at random shifts. Otherwise (speckle, artifacts, a failed start)
    every window would follow matches of noise; then the joint histogram of the whole volumes and a very smooth field
    are used.

    References
    ----------
    Roche et al., MICCAI 1998, doi 10.1007/BFb0056301 (correlation ratio).
    """
    shrink = tuple(4 if n >= 64 else 2 for n in problem.fixed.shape)
    fixed = pooled(problem.fixed, (shrink[0], shrink[1], shrink[2])).ravel()
    moving = pooled(problem.moving, (shrink[0], shrink[1], shrink[2])).ravel()
    both = (fixed > 0.05) & (moving > 0.05)
    if problem.compared is not None:
        both &= pooled(problem.compared.astype(np.float32), (shrink[0], shrink[1], shrink[2])).ravel() > 0.99
    if both.sum() < 200:
        reason = "the volumes hardly overlap at the start, so their contrasts could not be compared"
        return replace(_unlike(problem, reason), comparable=False)
    f, m = fixed[both].astype(np.float64), moving[both].astype(np.float64)
    correlation = float(np.corrcoef(f, m)[0, 1]) if f.std() > 0 and m.std() > 0 else 0.0
    ratio = max(_correlation_ratio(f, m), _correlation_ratio(m, f))
    numbers = f"correlation {correlation:.2f}, correlation ratio {ratio:.2f}"
    if correlation >= SAME_CONTRAST and correlation**2 >= LINEAR_SHARE * ratio:
        return SelectedSimilarity("lncc", f"the volumes have the same contrast ({numbers})")
    return _unlike(problem, f"the volumes have different contrasts ({numbers})")


def _unlike(problem: OptimizationProblem, reason: str) -> SelectedSimilarity:
    """Return the similarity for volumes whose intensities cannot be compared."""
    contrast = contrast_of_start(problem)
    if contrast >= BY_CHANCE:
        return SelectedSimilarity("mind", reason, rough_start=contrast < ROUGH)
    chance = (
        f"{reason}, and their structures match at the start no better than by chance ({contrast:.1f} standard "
        "deviations above random shifts). Only a very smooth deformation is computed; check the overlay, because the "
        "linear alignment alone may be better"
    )
    return SelectedSimilarity("mi", chance, VERY_SMOOTH)


def _correlation_ratio(values: np.ndarray, classes: np.ndarray) -> float:
    """Return the fraction of the variance of `values` that a function of `classes` can explain."""
    edges = np.quantile(classes, np.linspace(0, 1, CLASSES + 1)[1:-1])
    number = np.searchsorted(edges, classes)
    counts = np.bincount(number, minlength=CLASSES)
    means = np.bincount(number, values, minlength=CLASSES) / np.maximum(counts, 1)
    variance = float(values.var())
    if variance == 0:
        return 0.0
    between = float((counts * (means - values.mean()) ** 2).sum() / len(values))
    # Every class fits some noise; the variance explained by chance is subtracted.
    return max(between / variance - (CLASSES - 1) / len(values), 0.0)
