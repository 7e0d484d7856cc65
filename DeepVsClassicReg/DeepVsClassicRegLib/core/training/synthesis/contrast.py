"""Random contrasts: a Gaussian of intensities for every label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .draws import Draws
from .settings import SynthesisSettings

Tensor = torch.Tensor


# Standard deviations of the differences of means: between the labels of a group, and between similar images.
ALIKE, SIMILAR = 0.04, 0.03


@dataclass(frozen=True)
class Contrast:
    """Mean and standard deviation of the intensities of every label, (labels,) each; label 0 is background."""

    means: Tensor
    deviations: Tensor


def random_contrast(
    draws: Draws, count: int, settings: SynthesisSettings, *, alike: Sequence[Sequence[int]] = ()
) -> Contrast:
    """Return a random contrast of `count` labels and the background.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    count : int
        Labels 1..count.
    settings : SynthesisSettings
        Ranges of means and standard deviations, probability of merged labels.
    alike : sequence of groups of labels
        Labels whose means differ by about `ALIKE` only (left and right, one tissue).
    """
    means = draws.uniforms(settings.mean_low, settings.mean_high, count + 1)
    deviations = draws.uniforms(settings.deviation_low, settings.deviation_high, count + 1)
    shift = ALIKE * draws.normals(count + 1)
    for group in alike:
        index = torch.tensor(group)
        means[index] = float(means[group[0]])
        deviations[index] = float(deviations[group[0]])
    if alike:
        means = means + shift
    if draws.chance(settings.merged):
        means, deviations = _merged(draws, means, deviations)
    dark = draws.chance(0.8)
    means[0] = draws.uniform(0, 0.1) if dark else draws.uniform(settings.mean_low, settings.mean_high)
    deviations[0] = draws.uniform(0, 0.03)
    return Contrast(means.clamp(0, 1).to(draws.device), deviations.to(draws.device))


def similar(draws: Draws, contrast: Contrast) -> Contrast:
    """Return the contrast of another image of the same kind, with small differences."""
    shift = SIMILAR * draws.normals(len(contrast.means)).to(draws.device)
    return Contrast((contrast.means + shift).clamp(0, 1), contrast.deviations)


def painted(draws: Draws, samples: Tensor, contrast: Contrast) -> Tensor:
    """Return an image from the labels at several points of every voxel.

    Parameters
    ----------
    draws : Draws
        Where the noise comes from.
    samples : (points, *shape) int64 tensor
        Labels from `sampling.lookup`; their means are averaged, which gives partial volumes.
    contrast : Contrast
        Intensities of the labels.

    Returns
    -------
    tensor of `shape`
    """
    image = contrast.means[samples[0]]
    for point in samples[1:]:
        image += contrast.means[point]
    image /= len(samples)
    return image.addcmul_(contrast.deviations[samples[0]], draws.voxels(image.shape))


def _merged(draws: Draws, means: Tensor, deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Assign the intensities of other labels to some labels."""
    count = len(means)
    number = draws.integer(1, max(1, count // 3))
    order = torch.tensor(draws.order(count))
    targets, origins = order[:number], order[-number:]
    means, deviations = means.clone(), deviations.clone()
    means[targets], deviations[targets] = means[origins], deviations[origins]
    return means, deviations
