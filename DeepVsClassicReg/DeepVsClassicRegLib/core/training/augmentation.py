"""Augmentation of pairs: pose, elastic deformation and intensities; labels and known displacements are updated."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch

from ..networks.base import Batch, map_tensors
from ..networks.flow import identity_grid, warp
from ..settings import option, to_json
from .sources import Source, WrappedSource
from .synthesis import artifacts
from .synthesis.draws import Draws
from .synthesis.random_maps import RandomMap, random_map
from .synthesis.settings import SynthesisSettings

Tensor = torch.Tensor


@dataclass(frozen=True)
class AugmentationSettings:
    """Ranges of the augmentation, symmetric about 0; the defaults change nothing."""

    chance: float = option(1.0, "Probability of augmentation of a pair", minimum=0, maximum=1)
    same: float = option(
        0.0,
        "Chance that the fixed image is its own moving image",
        tooltip="Shown with other noise, brightness and bias; the network learns to leave equal images where they are.",
        minimum=0,
        maximum=1,
    )
    rotation_deg: float = option(0.0, "Rotation of the pair", unit="degrees", minimum=0, maximum=180)
    scale: float = option(0.0, "Scale of the pair", tooltip="Logarithm, along each axis.", minimum=0, maximum=0.7)
    shear: float = option(0.0, "Shear of the pair", minimum=0, maximum=0.5)
    translation_mm: float = option(0.0, "Translation of the pair", unit="mm", minimum=0)
    apart_rotation_deg: float = option(0.0, "Independent rotation of each image", unit="degrees", minimum=0, maximum=90)
    apart_scale: float = option(0.0, "Independent scale of each image", minimum=0, maximum=0.7)
    apart_translation_mm: float = option(0.0, "Independent translation of each image", unit="mm", minimum=0)
    elastic_mm: float = option(
        0.0, "Elastic deformation of each image", unit="mm", tooltip="Standard deviation of the velocity.", minimum=0
    )
    elastic_scale_mm: float = option(24.0, "Scale of the elastic deformation", unit="mm", minimum=1)
    gamma: float = option(0.0, "Gamma", tooltip="Standard deviation of its logarithm.", minimum=0)
    bias: float = option(0.0, "Bias field", tooltip="Standard deviation of its logarithm.", minimum=0)
    bias_scale_mm: float = option(60.0, "Scale of the bias field", unit="mm", minimum=1)
    noise: float = option(0.0, "Noise", tooltip="Maximum standard deviation; intensities are 0 to 1.", minimum=0)


USUAL = AugmentationSettings(
    rotation_deg=10.0,
    scale=0.1,
    shear=0.03,
    translation_mm=4.0,
    apart_rotation_deg=3.0,
    apart_scale=0.03,
    apart_translation_mm=2.0,
    elastic_mm=1.0,
    gamma=0.15,
    bias=0.15,
    noise=0.03,
)
"""A moderate augmentation of every kind (our choice), `--augment usual`."""


class AugmentedSource(WrappedSource):
    """Training pairs with random augmentation.

    Parameters
    ----------
    inner : Source
        Source of the pairs; its validation pairs do not change.
    settings : AugmentationSettings
        Ranges of the augmentation.
    seed : int
        Determines, with the step, the augmentation of each pair.
    """

    def __init__(self, inner: Source, settings: AugmentationSettings, *, seed: int) -> None:
        super().__init__(inner)
        self.settings, self.seed = settings, seed

    def changed(self, batch: Batch, step: int) -> Batch:
        """Return the batch with an independent augmentation of every pair."""
        device = batch.fixed.device
        samples = []
        for number in range(len(batch.fixed)):
            draws = Draws(self.seed, "augmentation", step, number, device=device)
            pair = map_tensors(batch, itemgetter(slice(number, number + 1)))
            samples.append(augmented(draws, pair, self.settings, self.spacing_mm))
        return _joined(samples)

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {**super().describe(), "augmentation": to_json(self.settings)}


def augmented(draws: Draws, pair: Batch, settings: AugmentationSettings, spacing_mm: float) -> Batch:
    """Return one pair (a batch of one) after random changes.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    pair : Batch
        One pair.
    settings : AugmentationSettings
        Ranges of the augmentation.
    spacing_mm : float
        Voxel size.
    """
    if not draws.chance(settings.chance):
        return pair
    shape = pair.fixed.shape[2:]
    pose: dict[str, Any] = {
        "rotation_deg": settings.rotation_deg,
        "scale": settings.scale,
        "shear": settings.shear,
        "translation_mm": settings.translation_mm,
    }
    apart: dict[str, Any] = {
        "rotation_deg": settings.apart_rotation_deg,
        "scale": settings.apart_scale,
        "shear": settings.apart_scale / 2,
        "translation_mm": settings.apart_translation_mm,
    }
    elastic = settings.elastic_mm, settings.elastic_scale_mm
    together = random_map(draws, shape, spacing_mm, **pose)
    if settings.same and draws.chance(settings.same):
        pair = Batch(pair.fixed, pair.fixed, pair.fixed_labels, pair.fixed_labels, _nowhere(pair.displacement))
        return _changed(draws, pair, (together, together), settings, spacing_mm)
    fixed_map = random_map(draws, shape, spacing_mm, after=together, elastic_mm=elastic, **apart)
    moving_map = random_map(draws, shape, spacing_mm, after=together, elastic_mm=elastic, **apart)
    return _changed(draws, pair, (fixed_map, moving_map), settings, spacing_mm)


def _nowhere(displacement: Tensor | None) -> Tensor | None:
    return None if displacement is None else torch.zeros_like(displacement)


def _changed(
    draws: Draws, pair: Batch, maps: tuple[RandomMap, RandomMap], settings: AugmentationSettings, spacing_mm: float
) -> Batch:
    """Return the pair with each image sampled along its map and with other intensities."""
    fixed_map, moving_map = maps
    return Batch(
        _scanned(draws, _seen(pair.fixed, fixed_map, "border"), settings, spacing_mm),
        _scanned(draws, _seen(pair.moving, moving_map, "border"), settings, spacing_mm),
        None if pair.fixed_labels is None else _seen(pair.fixed_labels, fixed_map, "zeros"),
        None if pair.moving_labels is None else _seen(pair.moving_labels, moving_map, "zeros"),
        None if pair.displacement is None else carried_displacement(pair.displacement, fixed_map, moving_map),
    )


def carried_displacement(displacement: Tensor, fixed_map: RandomMap, moving_map: RandomMap) -> Tensor:
    """Return the displacement between images that were sampled along maps.

    Parameters
    ----------
    displacement : (1, D, *shape) tensor
        Displacement between the original images, voxels.
    fixed_map, moving_map : RandomMap
        The new fixed image at x is the original one at fixed_map(x), the moving one likewise.
    """
    x = identity_grid(displacement.shape[2:], displacement)
    there = fixed_map.applied(x)
    matched = there + warp(displacement, there - x)
    return moving_map.undone(matched) - x


def _seen(image: Tensor, mapping: RandomMap, padding: str) -> Tensor:
    x = identity_grid(image.shape[2:], image)
    return warp(image, mapping.applied(x) - x, padding=padding)


def _scanned(draws: Draws, image: Tensor, settings: AugmentationSettings, spacing_mm: float) -> Tensor:
    """Return the image (1, 1, *shape) with random gamma, bias field and noise."""
    plain = image[0, 0]
    if settings.bias:
        scan = SynthesisSettings(bias=settings.bias, bias_scale_mm=settings.bias_scale_mm)
        plain = artifacts.biased(draws, plain, spacing_mm, scan)
    if settings.noise:
        plain = plain + draws.uniform(0, settings.noise) * draws.voxels(plain.shape)
    if settings.gamma:
        plain = plain.clamp(0, 1).pow(float(torch.tensor(settings.gamma * draws.normal()).exp()))
    return plain.clamp(0, 1)[None, None]


def _joined(samples: list[Batch]) -> Batch:
    def all_of(name: str) -> Tensor | None:
        tensors = [getattr(sample, name) for sample in samples]
        return None if tensors[0] is None else torch.cat(tensors)

    fixed, moving = (torch.cat([getattr(sample, side) for sample in samples]) for side in ("fixed", "moving"))
    return Batch(fixed, moving, all_of("fixed_labels"), all_of("moving_labels"), all_of("displacement"))
