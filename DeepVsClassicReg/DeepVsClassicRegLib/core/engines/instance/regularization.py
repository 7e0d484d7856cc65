"""Selects the regularization: segmented organs without noise allow finer deformation than whole fields of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .problem import Image, OptimizationProblem

CUT_OUT = 0.35
NOISY = 0.12
SMOOTH = 1.2


@dataclass(frozen=True)
class FieldSmoothing:
    """The selected field smoothing and its reason.

    Attributes
    ----------
    sigma_field : float
        In units of the level's finest spacing.
    reason : str
        Reason for the report.
    """

    sigma_field: float
    reason: str


def field_smoothing(problem: OptimizationProblem, wanted: float) -> FieldSmoothing:
    """Return the requested smoothing for segmented organs without noise, at least 1.2 otherwise.

    Notes
    -----
    In a whole field of view local windows often match noise, and organs slide along each other; in skull-stripped
    brains nearly every edge is anatomy. Noise is measured by second differences, on which anatomy has little influence,
    relative to the spread of the tissue.
    """
    if wanted >= SMOOTH:
        return FieldSmoothing(wanted, "")
    empty = min(_empty(problem.fixed), _empty(problem.moving))
    noise = max(_noise(problem.fixed), _noise(problem.moving))
    numbers = f"{100 * empty:.0f} % of the box empty, noise {noise:.2f} of the tissue's spread"
    if empty >= CUT_OUT and noise <= NOISY:
        return FieldSmoothing(wanted, f"Fine deformation: segmented organs with little noise ({numbers}).")
    return FieldSmoothing(SMOOTH, f"Smoother deformation (field smoothing {SMOOTH:g}): {numbers}.")


def _empty(image: Image) -> float:
    """Return the fraction of voxels with exactly the lowest value."""
    return float(np.mean(image <= image.min()))


def _noise(image: Image) -> float:
    """Return the robust noise level inside the tissue, in units of its standard deviation."""
    step = max(1, round(image.shape[0] / 40))
    shows = image[::step] > 0.05
    spread = float(image[::step][shows].std()) if shows.any() else 0.0
    if spread == 0:
        return 0.0
    levels = []
    for axis in (1, 2):
        part = np.moveaxis(image[::step], axis, -1)
        inside = np.moveaxis(shows, axis, -1)
        second = 2 * part[..., 1:-1] - part[..., :-2] - part[..., 2:]
        full = inside[..., 1:-1] & inside[..., :-2] & inside[..., 2:]
        if full.any():
            levels.append(float(np.median(np.abs(second[full]))) / 0.6745 / np.sqrt(6))
    return max(levels, default=0.0) / spread
