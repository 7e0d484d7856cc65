"""Label fusion: one segmentation from those of several registered atlases, with probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import SettingsError, did_you_mean
from ..images.grid import Grid
from ..images.volume import LabelMap
from .atlas_average import Votes

Array = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]
RADIUS_VOX = 2
# Exponent of the expected errors and share of independent errors, as in the paper of joint label fusion.
SHARPNESS, INDEPENDENT = 2.0, 0.1
POINTS_AT_ONCE = 8000
MARGIN_VOX = 2
FEWEST_DEVIATION = 1e-3
STAPLE_ROUNDS = 25
SMALLEST_CHANCE = 1e-6


@dataclass(frozen=True, eq=False)
class WarpedAtlas:
    """An atlas on the grid of the target.

    Attributes
    ----------
    image : (Z, Y, X) array
        Intensities.
    labels : (Z, Y, X) int array
        Labels.
    """

    image: Array
    labels: npt.NDArray[np.int32]


def fuse(method: str, target: Array, atlases: Sequence[WarpedAtlas], grid: Grid, names: dict[int, str]) -> Votes:
    """Return the label probabilities of a target from registered atlases.

    Parameters
    ----------
    method : {'majority', 'staple', 'joint'}
        Equal votes; performances of the atlases estimated by STAPLE; weights of every voxel from the similarity of the
        patches around it, reduced for atlases that make the same errors.
    target : (Z, Y, X) array
        Intensities of the target.
    atlases : sequence of WarpedAtlas
        Registered atlases.
    grid : Grid
        Grid of the target.
    names : dict
        Names of labels.

    Raises
    ------
    SettingsError
        When there is no such method.

    References
    ----------
    Warfield et al., IEEE TMI 23:903-921, 2004, doi 10.1109/TMI.2004.828354 (STAPLE); Wang et al., IEEE TPAMI
    35:611-623, 2013, doi 10.1109/TPAMI.2012.143 (joint label fusion).
    """
    if method not in METHODS:
        raise SettingsError(f"There is no label fusion '{method}'.", hint=did_you_mean(method, METHODS))
    labels = np.unique([0, *np.concatenate([np.unique(one.labels) for one in atlases])]).astype(np.int64)
    codes = np.stack([np.searchsorted(labels, one.labels) for one in atlases]).astype(np.int64)
    same = (codes == codes[0]).all(axis=0)
    shares = np.zeros((len(labels), *grid.shape), np.float16)
    flat = shares.reshape(len(labels), -1)
    agreed = np.flatnonzero(same)
    flat[codes[0].ravel()[agreed], agreed] = 1
    open_points = np.flatnonzero(~same)
    if len(open_points):
        flat[:, open_points] = METHODS[method](target, atlases, codes, open_points, len(labels))
    return Votes(tuple(int(label) for label in labels), shares, grid, names)


def _majority(
    _target: Array, _atlases: Sequence[WarpedAtlas], codes: Codes, points: Codes, count: int
) -> npt.NDArray[np.float64]:
    voted = codes.reshape(len(codes), -1)[:, points]
    return _weighted(voted, np.full(voted.shape, 1 / len(codes)), count)


def _joint(
    target: Array, atlases: Sequence[WarpedAtlas], codes: Codes, points: Codes, count: int
) -> npt.NDArray[np.float64]:
    """Weight the votes by w = M^-1 1, with the expected products M of the errors of two atlases."""
    voted = codes.reshape(len(codes), -1)[:, points]
    reach = [np.pad(image, RADIUS_VOX, mode="edge") for image in (target, *(one.image for one in atlases))]
    shape = reach[0].shape
    steps = np.ravel_multi_index(
        np.meshgrid(*(np.arange(2 * RADIUS_VOX + 1),) * 3, indexing="ij"), shape
    ).ravel()  # from the corner of the patch
    corner = np.ravel_multi_index(np.unravel_index(points, target.shape), shape)
    weights = np.empty(voted.shape)
    for start in range(0, len(points), POINTS_AT_ONCE):
        part = slice(start, start + POINTS_AT_ONCE)
        place = corner[part, None] + steps
        fixed, *others = (_standardized(image.ravel()[place]) for image in reach)
        errors = np.abs(np.stack(others, axis=1) - fixed[:, None])
        products = (np.einsum("vkp,vlp->vkl", errors, errors, optimize=True) / errors.shape[-1]) ** SHARPNESS
        products += INDEPENDENT * np.eye(len(atlases))
        found = np.linalg.solve(products, np.ones((*products.shape[:2], 1)))[..., 0]
        found = np.maximum(found, 0)
        weights[:, part] = (found / found.sum(axis=1, keepdims=True)).T
    return _weighted(voted, weights, count)


def _staple(
    _target: Array, _atlases: Sequence[WarpedAtlas], codes: Codes, points: Codes, count: int
) -> npt.NDArray[np.float64]:
    """Return the posterior of the true label given the confusion matrices that SimpleITK's STAPLE estimates.

    Only voxels on which the atlases disagree, with a margin, enter: the large agreed background would dominate.
    """
    inside = np.zeros(codes.shape[1:], bool)
    inside.ravel()[points] = True
    places = np.argwhere(inside)
    low = np.maximum(places.min(axis=0) - MARGIN_VOX, 0)
    high = np.minimum(places.max(axis=0) + MARGIN_VOX + 1, inside.shape)
    box = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    images = [sitk.GetImageFromArray(one.astype(np.uint16)) for one in codes[box]]
    staple = sitk.MultiLabelSTAPLEImageFilter()
    staple.SetMaximumNumberOfIterations(STAPLE_ROUNDS)
    staple.Execute(images)
    voted = codes.reshape(len(codes), -1)[:, points]
    logs = np.zeros((count, len(points)))
    for number, votes in enumerate(voted):
        matrix = np.array(staple.GetConfusionMatrix(number)).reshape(-1, count)[:count]
        logs += np.log(np.maximum(matrix, SMALLEST_CHANCE))[votes].T
    prior = np.bincount(codes[box].ravel(), minlength=count).astype(float)
    logs += np.log(np.maximum(prior / prior.sum(), SMALLEST_CHANCE))[:, None]
    logs -= logs.max(axis=0)
    chances = np.exp(logs)
    return np.asarray(chances / chances.sum(axis=0))


METHODS: dict[str, Callable[..., npt.NDArray[np.float64]]] = {
    "majority": _majority,
    "staple": _staple,
    "joint": _joint,
}


def _standardized(patches: Array) -> Array:
    """Return patches with mean 0 and standard deviation 1."""
    centered = patches - patches.mean(axis=-1, keepdims=True)
    spread = centered.std(axis=-1, keepdims=True)
    return np.asarray(centered / np.maximum(spread, FEWEST_DEVIATION), dtype=np.float32)


def _weighted(voted: Codes, weights: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Return the sum of the weights of every label at every point, (labels, points)."""
    total = np.zeros((count, voted.shape[1]))
    every = np.arange(voted.shape[1])
    for votes, weight in zip(voted, weights, strict=True):
        total[votes, every] += weight
    return total


def dice_of(truth: LabelMap, found: LabelMap) -> dict[int, float]:
    """Return the Dice of every label of the truth."""
    result = {}
    for label in truth.labels:
        first, second = truth.array == label, found.array == label
        result[label] = float(2 * (first & second).sum() / (first.sum() + second.sum()))
    return result
