"""Misaligned pairs with known error, for training of metrics and error estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import SettingsError
from ..networks.base import Batch
from ..networks.flow import identity_grid, warp
from ..settings import option, to_json
from .sources import LazyBatches, Source, WrappedSource
from .synthesis import warps
from .synthesis.draws import Draws
from .synthesis.noise import smooth_noise
from .synthesis.random_maps import RandomMap

Tensor = torch.Tensor
PARTS = ("rigid", "affine", "spline")


@dataclass(frozen=True)
class MisalignmentSettings:
    """Distribution of registration errors; lengths are mm on the training grid, all values are our choice."""

    poses: int = option(1, "Registrations of each pair", minimum=1, maximum=64)
    aligned: float = option(0.15, "Probability of a correct registration", minimum=0, maximum=1)
    jitter_mm: float = option(0.25, "Error of a correct registration", unit="mm", minimum=0)
    rigid: float = option(0.3, "Fraction of rigid errors", minimum=0, maximum=1)
    affine: float = option(0.2, "Fraction of affine errors", minimum=0, maximum=1)
    spline: float = option(
        0.5, "Fraction of B-spline errors", tooltip="Half of them include a rigid or affine one.", minimum=0, maximum=1
    )
    rotation_deg: float = option(10.0, "Largest rotation", unit="degrees", minimum=0, maximum=180)
    translation_mm: float = option(10.0, "Largest translation along each axis", unit="mm", minimum=0)
    scale: float = option(0.1, "Largest relative change of size", minimum=0, maximum=0.7)
    shear: float = option(0.05, "Largest shear", minimum=0, maximum=0.5)
    spline_scales_mm: tuple[float, ...] = option(
        (16.0, 32.0, 64.0), "Control point distances, selected at random", unit="mm", minimum=1
    )
    spline_mm: float = option(6.0, "Largest standard deviation of B-spline errors", unit="mm", minimum=0)
    local: float = option(0.3, "Probability of a local B-spline error", minimum=0, maximum=1)

    def __post_init__(self) -> None:
        if not self.rigid + self.affine + self.spline > 0:
            raise SettingsError(
                "The fractions of rigid, affine and B-spline errors are all 0.",
                hint="Use a positive fraction for rigid, affine or spline.",
            )


class MisalignedSource(WrappedSource):
    """Pairs whose moving image is resampled with a registration of known error.

    A batch with known displacement gives the true map; other batches must be aligned already (contrasts of one
    subject). The registration is the true map plus the error, and `Batch.error` is the length of that error.

    Parameters
    ----------
    inner : Source
        Where the pairs come from.
    settings : MisalignmentSettings
        Distribution of the errors.
    seed : int
        Determines, with the step, each error.

    Notes
    -----
    Both images are interpolated: an aligned image without interpolation blur could be recognized by the network.

    References
    ----------
    Eppenhof and Pluim, J. Med. Imaging 5(2):024003, 2018; Haskins et al., IJCARS 14:417-425, 2019.
    """

    def __init__(self, inner: Source, settings: MisalignmentSettings, *, seed: int) -> None:
        super().__init__(inner)
        self.settings, self.seed = settings, seed

    def changed(self, batch: Batch, step: int) -> Batch:
        """Return each pair of a batch with its misalignments."""
        return self._misaligned(batch, "training", step)

    def validation(self) -> Sequence[Batch]:
        """Return the validation pairs, each with fixed misalignments."""
        inner = self.inner.validation()
        return LazyBatches(len(inner), lambda number: self._misaligned(inner[number], "validation", number))

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {**super().describe(), "misalignment": to_json(self.settings)}

    def _misaligned(self, batch: Batch, use: str, number: int) -> Batch:
        fixed, moving, errors = [], [], []
        for place in range(len(batch.fixed)):
            true = None if batch.displacement is None else batch.displacement[place : place + 1]
            pair = batch.fixed[place : place + 1], batch.moving[place : place + 1]
            for pose in range(self.settings.poses):
                draws = Draws(self.seed, "misalignment", use, number, place, pose, device=batch.fixed.device)
                made = misaligned(draws, *pair, true, self.settings, self.spacing_mm)
                fixed.append(made.fixed)
                moving.append(made.moving)
                errors.append(made.error)
        return Batch(
            torch.cat(fixed), torch.cat(moving), error=torch.cat([each for each in errors if each is not None])
        )


def misaligned(
    draws: Draws,
    fixed: Tensor,
    moving: Tensor,
    displacement: Tensor | None,
    settings: MisalignmentSettings,
    spacing_mm: float,
) -> Batch:
    """Return one pair after a registration with a known error.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    fixed, moving : (1, 1, *shape) tensors
        The images.
    displacement : (1, D, *shape) tensor or None
        The true map, voxels; None for images that are aligned.
    settings : MisalignmentSettings
        Distribution of the errors.
    spacing_mm : float
        Voxel size.
    """
    shape = fixed.shape[2:]
    error = drawn_error(draws, shape, settings, spacing_mm)[None]
    if displacement is None:
        together = _shift(draws, len(shape), 0.5).to(fixed).expand(1, -1, *shape)
        fixed, true = warp(fixed, together), together
    else:
        true = displacement
    return Batch(fixed, warp(moving, true + error), error=error.norm(dim=1, keepdim=True))


def drawn_error(draws: Draws, shape: Sequence[int], settings: MisalignmentSettings, spacing_mm: float) -> Tensor:
    """Return the error of a registration, (D, *shape) voxels."""
    dimensions = len(shape)
    if draws.chance(settings.aligned):
        return _shift(draws, dimensions, settings.jitter_mm / spacing_mm)[0].expand(-1, *shape).to(draws.device)
    weights = {part: getattr(settings, part) for part in PARTS}
    kind = _chosen(draws, weights)
    total = torch.zeros((dimensions, *shape), device=draws.device)
    linear = kind
    if kind == "spline":
        total = _spline_error(draws, shape, settings, spacing_mm)
        linear = _chosen(draws, {**weights, "spline": weights["rigid"] + weights["affine"]})
    if linear != "spline":
        total = total + _linear_error(draws, shape, settings, spacing_mm, affine=linear == "affine")
    return total


def _chosen(draws: Draws, weights: dict[str, float]) -> str:
    place = draws.uniform(0, sum(weights.values()))
    for name, weight in weights.items():
        if place < weight:
            return name
        place -= weight
    return max(weights, key=lambda name: weights[name])


def _linear_error(
    draws: Draws, shape: Sequence[int], settings: MisalignmentSettings, spacing_mm: float, *, affine: bool
) -> Tensor:
    part = draws.uniform(0, 1)
    matrix = warps.random_affine(
        draws,
        len(shape),
        rotation_deg=part * settings.rotation_deg,
        scale=part * settings.scale if affine else 0.0,
        shear=part * settings.shear if affine else 0.0,
        translation_mm=part * settings.translation_mm,
    )
    to_mm, from_mm = warps.mm_of_grid(shape, spacing_mm), warps.grid_of_mm(shape, spacing_mm)
    x = identity_grid(shape, torch.zeros((), device=draws.device))
    return (RandomMap(warps.chain(from_mm, warps.chain(matrix, to_mm))).applied(x) - x)[0]


def _spline_error(draws: Draws, shape: Sequence[int], settings: MisalignmentSettings, spacing_mm: float) -> Tensor:
    scales = settings.spline_scales_mm
    scale = scales[draws.integer(0, len(scales) - 1)] / spacing_mm
    strength = draws.uniform(0, settings.spline_mm) / spacing_mm
    error = strength * smooth_noise(draws, shape, scale=scale, channels=len(shape))
    return error * _region(draws, shape) if draws.chance(settings.local) else error


def _region(draws: Draws, shape: Sequence[int]) -> Tensor:
    """Return a smooth bump of height 1 at a random position in the grid, 0 far from it."""
    x = identity_grid(shape, torch.zeros((), device=draws.device))[0]
    square = torch.zeros(tuple(shape), device=draws.device)
    for axis, count in enumerate(shape):
        middle, width = draws.uniform(0.2, 0.8) * count, draws.uniform(0.1, 0.25) * count
        square += ((x[axis] - middle) / width) ** 2
    return torch.exp(-0.5 * square)[None]


def _shift(draws: Draws, dimensions: int, most: float) -> Tensor:
    """Return a random translation of at most `most` voxels along each axis, (1, D, 1, ...)."""
    return draws.uniforms(-most, most, dimensions).view(1, dimensions, *[1] * dimensions)
