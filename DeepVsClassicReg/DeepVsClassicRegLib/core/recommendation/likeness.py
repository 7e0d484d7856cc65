"""How much alike two volumes are after an affine alignment: it tells one subject from two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import SimpleITK as sitk

from ..images.intensity import normalized
from ..images.resample import sampled_on, to_sitk
from ..images.volume import Volume
from ..pair import Pair

MOST_VOXELS = 48  # of the working grid along an axis
ITERATIONS = 60


def likeness(pair: Pair) -> float:
    """Return the correlation of both volumes after an affine alignment, -1 to 1.

    The volumes are smoothed by one voxel of a coarse grid; noise and voxel size hardly matter.

    Parameters
    ----------
    pair : Pair
        The alignment begins with the affine part of `pair.initial`, or with the headers. Segmentations are not used.

    Returns
    -------
    float
        0 when the volumes do not overlap or one is constant.
    """
    grid = pair.fixed.grid
    spacing = [max(own, own * size / MOST_VOXELS) for own, size in zip(grid.spacing_mm, grid.size, strict=True)]
    fixed = _smooth(sampled_on(_scaled(pair.fixed), grid.with_spacing(spacing)))
    moving_grid = pair.moving.grid.with_spacing(np.maximum(pair.moving.grid.spacing_mm, min(spacing)).tolist())
    moving = _smooth(sampled_on(_scaled(pair.moving), moving_grid))
    start = None if pair.initial is None else pair.initial.affine
    placed = sitk.Transform() if start is None else start.to_sitk()
    try:
        found = _registration(grid.center_mm.tolist(), placed).Execute(fixed, moving)
    except RuntimeError:  # the volumes hardly overlap
        return 0.0
    both = sitk.CompositeTransform([placed, found])
    warped = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, both, sitk.sitkLinear, float("nan")))
    seen = np.isfinite(warped)
    a, b = sitk.GetArrayFromImage(fixed)[seen], warped[seen]
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def most_alike(volumes: Sequence[Volume]) -> float:
    """Return the highest `likeness` of neighbors in a list of volumes of different subjects; 0 for a single volume."""
    found = [likeness(Pair(fixed, moving)) for fixed, moving in pairwise(volumes)]
    return max(found, default=0.0)


def _scaled(volume: Volume) -> Volume:
    return Volume(normalized(volume), volume.grid, volume.name)


def _smooth(volume: Volume) -> sitk.Image:
    image = to_sitk(volume)
    return sitk.DiscreteGaussian(image, [step**2 for step in image.GetSpacing()])


def _registration(center_mm: Sequence[float], start: sitk.Transform) -> sitk.ImageRegistrationMethod:
    """Return an affine registration by correlation that continues from `start`."""
    affine = sitk.AffineTransform(3)
    affine.SetCenter(center_mm)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMovingInitialTransform(start)
    method.SetInitialTransform(affine, inPlace=False)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=ITERATIONS, relaxationFactor=0.5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([0, 0])
    return method
