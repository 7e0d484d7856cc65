"""From labels looked up for two images to a pair: contrasts, scans, fields of view, memberships."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from . import artifacts, contrast, sampling
from .draws import Draws
from .random_maps import RandomMap, known_displacement
from .settings import SynthesisSettings

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class GeneratedPair:
    """One pair: images of (*shape), 0 to 1, memberships of (K, *shape), and maybe the displacement (D, *shape)."""

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor
    moving_labels: Tensor
    displacement: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Looked:
    """Labels of one image.

    Attributes
    ----------
    painted : (points, *shape) int64 tensor
        Labels that the image shows (some may have been removed).
    true : (points, *shape) int64 tensor
        Labels that are compared.
    mapping : RandomMap or None
        Where the voxels lie in the label map, when the displacement of the pair is wanted.
    """

    painted: Tensor
    true: Tensor
    mapping: RandomMap | None = None


def finished_pair(
    draws: Draws,
    fixed: Looked,
    moving: Looked,
    *,
    count: int,
    channel_of: Tensor,
    channels: int,
    spacing_mm: float,
    settings: SynthesisSettings,
    alike: Sequence[Sequence[int]] = (),
) -> GeneratedPair:
    """Paint both images, scan them, and count the memberships of the chosen labels.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    fixed, moving : Looked
        The labels of the two images.
    count : int
        Labels 1..count.
    channel_of : (count + 1,) int64 tensor
        Channel of every label, 0 for labels that are not compared, else 1..channels.
    channels : int
        Number of channels.
    spacing_mm : float
        Voxel size.
    settings : SynthesisSettings
        What images look like.
    alike : groups of labels
        Labels of similar intensity (`contrast.random_contrast`).
    """
    first = contrast.random_contrast(draws, count, settings, alike=alike)
    if draws.chance(settings.same_contrast):
        second = contrast.similar(draws, first)
    else:
        second = contrast.random_contrast(draws, count, settings, alike=alike)
    empty = draws.chance(settings.empty_background)
    part = artifacts.field_of_view(draws, fixed.true.shape[1:], settings)
    images, shares = [], []
    for side, intensities in ((fixed, first), (moving, second)):
        image = contrast.painted(draws, side.painted, intensities)
        image = artifacts.degraded(draws, image, spacing_mm, settings)
        if empty:
            image = image * (side.painted > 0).sum(dim=0).mul_(2).ge_(len(side.painted))
        images.append(artifacts.only_inside(image, part))
        shares.append(artifacts.only_inside(sampling.memberships(side.true, channel_of, channels), part))
    displacement = None
    if fixed.mapping is not None and moving.mapping is not None:
        displacement = known_displacement(fixed.mapping, moving.mapping, images[0].shape, images[0])
    return GeneratedPair(images[0], images[1], shares[0], shares[1], displacement)
