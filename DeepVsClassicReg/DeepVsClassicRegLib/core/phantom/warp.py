"""Smooth maps in closed form: a sum of sine waves, whose inverse and Jacobian are known to rounding error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..transforms.invert import fixed_point_inverse
from ..transforms.transform import Affine

Array = npt.NDArray[np.floating]
STRETCH = 0.85


@dataclass(frozen=True, eq=False)
class SineWarp:
    """x -> affine(x + sum_k amplitude_k * sin(wave_k . x + phase_k)), LPS mm, invertible by construction.

    Parameters
    ----------
    waves : (K, 3) array
        Wave vectors in radians per mm.
    amplitudes_mm : (K, 3) array
        Displacement amplitudes; sum |wave| |amplitude| < 1 makes the map invertible.
    phases : (K,) array
        Phases in radians.
    affine : Affine
        Applied last.
    """

    waves: Array
    amplitudes_mm: Array
    phases: Array
    affine: Affine

    def __post_init__(self) -> None:
        if self.lipschitz >= 1:
            raise ValueError(f"The warp is not invertible (Lipschitz bound {self.lipschitz:.2f}).")

    @property
    def lipschitz(self) -> float:
        """Lipschitz bound of the displacement; below 1 the map is invertible."""
        return float((np.linalg.norm(self.waves, axis=1) * np.linalg.norm(self.amplitudes_mm, axis=1)).sum())

    def displacement(self, points_mm: Array) -> Array:
        """Return the non-linear displacement at these points, shape (..., 3) mm."""
        return np.asarray(np.sin(points_mm @ self.waves.T + self.phases) @ self.amplitudes_mm)

    def apply(self, points_mm: Array) -> Array:
        """Return the moving points of these fixed points."""
        return self.affine.apply(points_mm + self.displacement(points_mm))

    def inverse(self, points_mm: Array, *, tolerance_mm: float = 1e-5) -> Array:
        """Return the fixed points of these moving points (contraction, error below the tolerance)."""
        goal = np.asarray(self.affine.inverse().apply(points_mm))
        factor = self.lipschitz / (1 - self.lipschitz)
        return fixed_point_inverse(
            goal,
            lambda found: found + self.displacement(found) - goal,
            step=1.0,
            iterations=200,
            is_done=lambda error: float(np.abs(error).max()) * factor < tolerance_mm,
        )

    def jacobian(self, points_mm: Array) -> Array:
        """Return the determinant of the whole map at these points, shape (...)."""
        slope = np.cos(points_mm @ self.waves.T + self.phases)
        gradient = np.einsum("...k,ka,kb->...ab", slope, self.amplitudes_mm, self.waves)
        return np.asarray(np.linalg.det(gradient + np.eye(3)) * np.linalg.det(self.affine.matrix))


def random_warp(
    seed: int, *, size_mm: float, amplitude_mm: float, affine: Affine, direction: npt.ArrayLike | None = None
) -> SineWarp:
    """Return a random smooth warp.

    Parameters
    ----------
    seed : int
        Seed of the warp.
    size_mm : float
        Edge length of the field of view; wavelengths are between a third of it and all of it.
    amplitude_mm : float
        Approximate maximum displacement; reduced when the map would nearly fold.
    affine : Affine
        Applied after the warp.
    direction : (3,) array, optional
        Weights of the displacement components (breathing moves mostly along z).
    """
    rng = np.random.default_rng(seed)
    count = 8
    unit = rng.normal(size=(count, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    waves = unit * (2 * np.pi / rng.uniform(size_mm / 3, size_mm, size=(count, 1)))
    amplitudes = rng.normal(size=(count, 3)) * np.asarray(1.0 if direction is None else direction)
    amplitudes *= amplitude_mm / np.linalg.norm(amplitudes, axis=1).sum() * 2
    phases = rng.uniform(0, 2 * np.pi, count)
    bound = float((np.linalg.norm(waves, axis=1) * np.linalg.norm(amplitudes, axis=1)).sum())
    return SineWarp(waves, amplitudes * min(1.0, STRETCH / bound), phases, affine)
