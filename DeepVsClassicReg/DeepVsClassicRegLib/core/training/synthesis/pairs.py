"""Creates a pair from the labels of two images: contrasts, artifacts, fields of view, memberships."""

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
    """One pair: images (*shape), 0 to 1, and optionally memberships (K, *shape) and the displacement (D, *shape)."""

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    displacement: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Looked:
    """Labels of one image.

    Attributes
    ----------
    painted : (points, *shape) int64 tensor
        Labels visible in the image (some may be removed).
    true : (points, *shape) int64 tensor
        Labels of the memberships.
    mapping : RandomMap or None
        Positions of the voxels in the label map, when the displacement of the pair is needed.
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
    """Create both images with artifacts, and compute the memberships of the selected labels.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    fixed, moving : Looked
        The labels of the two images.
    count : int
        Labels 1..count.
    channel_of : (count + 1,) int64 tensor
        Channel of every label, 1..channels; 0 for labels without a channel.
    channels : int
        Number of channels.
    spacing_mm : float
        Voxel size.
    settings : SynthesisSettings
        Settings of the images.
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
