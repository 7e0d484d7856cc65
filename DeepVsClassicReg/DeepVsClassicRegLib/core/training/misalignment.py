"""Misaligned pairs with known error, for training of metrics, error estimates and agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import SettingsError
from ..networks.base import Batch
from ..networks.flow import identity_grid, warp
from ..settings import option, to_json
from ..transforms.transform import fit_affine
from .sources import LazyBatches, Source, WrappedSource
from .synthesis import warps
from .synthesis.draws import Draws
from .synthesis.noise import smooth_noise
from .synthesis.random_maps import RandomMap, inverted

Tensor = torch.Tensor
PARTS = ("rigid", "affine", "spline")
AXES = 3
NEAR = 0.2  # of the largest error
FITTED = 4000  # about how many voxels a rigid map is fitted to


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
    near: float = option(
        0.0,
        "Probability of a small rigid or affine error",
        tooltip="At most a fifth of the largest; agents need poses near alignment.",
        minimum=0,
        maximum=1,
    )
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
    rigid : bool
        Whether all errors are rigid and the pose is known (`Batch.pose`), for agents.

    Notes
    -----
    Both images are interpolated: an aligned image without interpolation blur could be recognized by the network.

    References
    ----------
    Eppenhof and Pluim, J. Med. Imaging 5(2):024003, 2018; Haskins et al., IJCARS 14:417-425, 2019.
    """

    def __init__(self, inner: Source, settings: MisalignmentSettings, *, seed: int, rigid: bool = False) -> None:
        super().__init__(inner)
        self.settings, self.seed = settings, seed
        self.make: Callable[..., Batch] = posed if rigid else misaligned

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
        pairs = []
        for place in range(len(batch.fixed)):
            true = None if batch.displacement is None else batch.displacement[place : place + 1]
            pair = batch.fixed[place : place + 1], batch.moving[place : place + 1]
            for pose in range(self.settings.poses):
                draws = Draws(self.seed, "misalignment", use, number, place, pose, device=batch.fixed.device)
                pairs.append(self.make(draws, *pair, true, self.settings, self.spacing_mm))
        errors = [pair.error for pair in pairs if pair.error is not None]
        poses = [pair.pose for pair in pairs if pair.pose is not None]
        return Batch(
            torch.cat([pair.fixed for pair in pairs]),
            torch.cat([pair.moving for pair in pairs]),
            error=torch.cat(errors) if errors else None,
            pose=torch.cat(poses) if poses else None,
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


def posed(
    draws: Draws,
    fixed: Tensor,
    moving: Tensor,
    displacement: Tensor | None,
    settings: MisalignmentSettings,
    spacing_mm: float,
) -> Batch:
    """Return one pair whose moving image is a known rigid map away from alignment; see `misaligned`.

    Of a known displacement only the rigid map nearest to it is undone (least squares over what the fixed image shows):
    what remains of the deformation stays in the pair, as between two subjects after a perfect rigid alignment.
    """
    shape, dimensions = fixed.shape[2:], fixed.ndim - 2
    if draws.chance(settings.aligned):
        jitter = draws.uniforms(-settings.jitter_mm, settings.jitter_mm, dimensions).double()
        error = torch.cat([torch.eye(dimensions, dtype=torch.float64), jitter[:, None]], 1)
    else:
        error = _drawn_matrix(draws, dimensions, settings, affine=False)
    error[:, -1] /= spacing_mm
    if displacement is None:
        together = _shift(draws, dimensions, 0.5).to(fixed).expand(1, -1, *shape)
        fixed, true = warp(fixed, together), torch.eye(dimensions, dimensions + 1, dtype=torch.float64)
        true[:, -1] = together.flatten(2)[0, :, 0]
    else:
        true = _nearest_rigid(displacement, fixed)
    x = identity_grid(shape, fixed)
    to_center, from_center = warps.mm_of_grid(shape, 1.0), warps.grid_of_mm(shape, 1.0)
    whole = warps.chain(from_center, warps.chain(warps.chain(true, error), to_center))
    return Batch(fixed, warp(moving, RandomMap(whole).applied(x) - x), pose=inverted(error)[None].to(fixed))


def _nearest_rigid(displacement: Tensor, fixed: Tensor) -> Tensor:
    """Return the rigid map nearest to a displacement over the foreground, (D, D + 1) voxels about the middle."""
    shape, dimensions = fixed.shape[2:], fixed.ndim - 2
    if dimensions != AXES:
        raise SettingsError("Rigid poses are known for volumes only.", hint="Give --size in three numbers.")
    shown = (fixed[0, 0] != 0).flatten().nonzero()[:, 0]
    if len(shown) < FITTED // 100:
        shown = torch.arange(fixed[0, 0].numel(), device=fixed.device)
    chosen = shown[:: max(1, len(shown) // FITTED)]
    middle = torch.tensor([(count - 1) / 2 for count in shape], device=fixed.device)
    here = identity_grid(shape, fixed)[0].flatten(1)[:, chosen].T - middle
    there = here + displacement[0].flatten(1)[:, chosen].T
    found = fit_affine(here.cpu().numpy(), there.cpu().numpy(), kind="rigid")
    return torch.from_numpy(np.concatenate([found.matrix, found.translation_mm[:, None]], 1))


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
    matrix = _drawn_matrix(draws, len(shape), settings, affine=affine)
    to_mm, from_mm = warps.mm_of_grid(shape, spacing_mm), warps.grid_of_mm(shape, spacing_mm)
    x = identity_grid(shape, torch.zeros((), device=draws.device))
    return (RandomMap(warps.chain(from_mm, warps.chain(matrix, to_mm))).applied(x) - x)[0]


def _drawn_matrix(draws: Draws, dimensions: int, settings: MisalignmentSettings, *, affine: bool) -> Tensor:
    """Return the map of a rigid or affine error, (D, D + 1) in mm about the middle of the grid."""
    part = draws.uniform(0, 1)
    if settings.near and draws.chance(settings.near):
        part *= NEAR
    return warps.random_affine(
        draws,
        dimensions,
        rotation_deg=part * settings.rotation_deg,
        scale=part * settings.scale if affine else 0.0,
        shear=part * settings.shear if affine else 0.0,
        translation_mm=part * settings.translation_mm,
    )


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
