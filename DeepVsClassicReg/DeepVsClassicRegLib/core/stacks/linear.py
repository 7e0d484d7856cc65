"""Rigid and affine alignment of two sections in their plane, by mutual information (SimpleITK)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import RegistrationError
from .plane import shown

Array = npt.NDArray[np.floating]
RIGID, AFFINE = "rigid", "affine"
BINS, FEW_BINS = 32, 16
MANY_PIXELS = 128 * 128  # fewer do not fill the joint histogram of many bins
STEP_PX, AFFINE_STEP_PX = 0.5, 0.1
SMALLEST = 32  # pixels of the shorter edge on the coarsest level
TURN_STEP_DEG = 10.0
TRIED = 2  # starts that are optimized
ITERATIONS = 150


class NotAligned(RegistrationError):
    """Two sections without common content, or of which one is empty."""


def aligned_linearly(fixed: Array, moving: Array, *, kind: str, turn_deg: float, start: Array) -> Array:
    """Return the linear map of pixel positions (y, x) of the fixed to those of the moving section, (2, 3).

    Parameters
    ----------
    fixed, moving : (Y, X) arrays
        Intensities of sections on one grid.
    kind : {'rigid', 'affine'}
        What the map may do.
    turn_deg : float
        Largest rotation that is searched, in both directions.
    start : (2, 3) array
        A further start, such as the map of the neighbor.

    Raises
    ------
    NotAligned
        When a section is constant or no start leaves an overlap.

    Notes
    -----
    Starts are the identity, `start`, and rotations about the centers of what both sections show. The two with the
    highest information on the coarsest level are optimized.
    """
    if np.ptp(fixed) == 0 or np.ptp(moving) == 0:
        raise NotAligned("A section is empty.")
    images = [sitk.GetImageFromArray(image.astype(np.float32)) for image in (fixed, moving)]
    images[1] = _padded(images[1], moving)
    levels = [factor for factor in (4, 2, 1) if factor == 1 or min(fixed.shape) / factor >= SMALLEST]
    bins = BINS if fixed.size >= MANY_PIXELS else FEW_BINS
    method = _method(levels, bins, STEP_PX)
    small = [sitk.Shrink(sitk.DiscreteGaussian(image, [levels[0] / 2] * 2), [levels[0]] * 2) for image in images]
    middle = (np.array(fixed.shape) - 1) / 2
    starts = [_euler(np.eye(2, 3), middle), _euler(start, middle), *_turned(fixed, moving, turn_deg)]
    ranked = sorted(((value, n) for n, each in enumerate(starts) if (value := _value(small, each, bins)) is not None))
    found = [run for _value_, n in ranked[:TRIED] if (run := _optimized(method, images, starts[n])) is not None]
    if not found:
        raise NotAligned("The sections have no common content.")
    value, best = min(found, key=lambda run: run[0])
    if kind == AFFINE:
        freer = sitk.AffineTransform(2)
        freer.SetMatrix(best.GetMatrix())
        freer.SetCenter(best.GetCenter())
        freer.SetTranslation(best.GetTranslation())
        run = _optimized(_method(levels, bins, AFFINE_STEP_PX), images, freer)
        best = run[1] if run is not None and run[0] < value else best
    return _matrix(best)


def _padded(image: sitk.Image, array: Array) -> sitk.Image:
    """Return the moving section with a margin of its border's median.

    Pixels mapped outside an image do not count: without the margin a map that moves the background out of the image
    would increase the information.
    """
    border = np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])
    margin = [size // 2 for size in image.GetSize()]
    return sitk.ConstantPad(image, margin, margin, float(np.median(border)))


def _metric(bins: int) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(bins)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _method(levels: list[int], bins: int, step_px: float) -> sitk.ImageRegistrationMethod:
    method = _metric(bins)
    method.SetOptimizerAsRegularStepGradientDescent(step_px, 0.005, ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(levels)
    method.SetSmoothingSigmasPerLevel([0.5 * level if level > 1 else 0.0 for level in levels])
    return method


def _value(images: list[sitk.Image], start: sitk.Transform, bins: int) -> float | None:
    method = _metric(bins)
    method.SetInitialTransform(start, inPlace=False)
    try:
        return float(method.MetricEvaluate(*images))
    except RuntimeError:  # no overlap
        return None


def _optimized(
    method: sitk.ImageRegistrationMethod, images: list[sitk.Image], start: sitk.Transform
) -> tuple[float, Any] | None:
    """Return the objective and the map, None when the sections lose their overlap."""
    moved = type(start)(start)
    method.SetInitialTransform(moved, inPlace=True)
    try:
        method.Execute(*images)
    except RuntimeError:
        return None
    return float(method.GetMetricValue()), moved


def _turned(fixed: Array, moving: Array, turn_deg: float) -> list[sitk.Euler2DTransform]:
    middles = [_middle(image) for image in (fixed, moving)]
    steps = int(turn_deg // TURN_STEP_DEG)
    found = []
    for number in range(-steps, steps + 1):
        turn = sitk.Euler2DTransform()
        turn.SetCenter(middles[0].tolist())
        turn.SetAngle(float(np.radians(number * TURN_STEP_DEG)))
        turn.SetTranslation((middles[1] - middles[0]).tolist())
        found.append(turn)
    return found


def _middle(image: Array) -> Array:
    """Return the center (x, y) of what a section shows."""
    places = np.argwhere(shown(image))
    return places.mean(axis=0)[::-1] if len(places) else (np.array(image.shape)[::-1] - 1) / 2


def _euler(matrix: Array, center: Array) -> sitk.Euler2DTransform:
    """Return the rigid map closest to a linear map of (y, x) around a center (y, x)."""
    turn = sitk.Euler2DTransform()
    turn.SetCenter(center[::-1].tolist())
    left, _sizes, right = np.linalg.svd(matrix[:, :2])
    rotation = left @ np.diag([1.0, np.sign(np.linalg.det(left @ right))]) @ right
    # y and x are exchanged in SimpleITK: the angle has the other sign.
    turn.SetAngle(float(np.arctan2(rotation[0, 1], rotation[0, 0])))
    turn.SetTranslation((matrix[:, :2] @ center + matrix[:, 2] - center)[::-1].tolist())
    return turn


def _matrix(transform: Any) -> Array:
    origin = np.array(transform.TransformPoint((0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(unit)) - origin for unit in ((0.0, 1.0), (1.0, 0.0))]
    return np.column_stack([*columns, origin])[::-1]
