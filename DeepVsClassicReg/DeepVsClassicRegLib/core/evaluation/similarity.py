"""Similarity of intensities where both volumes overlap: correlation, mutual information, local agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..histogram import bin_numbers, joint_histogram, mutual_information, normalized_mutual_information
from ..images.intensity import limited, measured, robust_range
from ..images.volume import Volume

Array = npt.NDArray[np.floating]
Image = npt.NDArray[np.float32]
BINS = 64
FEWEST_VOXELS = 100
MOST_COMPARED = 1 << 23
Mask = npt.NDArray[np.bool_]
BLOCK = 5
SHIFT = 3
MOST_VOXELS = 1 << 21
LEAST_SHARE = 0.5
# Blocks whose standard deviation is below this fraction of that of the whole region are not compared.
FLAT = 0.02


@dataclass(frozen=True, eq=False)
class SimilarityRegion:
    """Region and histogram bins of the intensity measures, the same for all transforms of a pair.

    Voxels mapped outside the moving field of view are excluded; `overlap_percent` is the percentage of the others.

    Attributes
    ----------
    inside : (Z, Y, X) bool array
        The compared voxels: the region on the fixed grid, of large regions an evenly spread part of at most 8 million
        voxels, which changes the measures by less than 0.001.
    fixed : (N,) array
        Fixed intensities in the region.
    fixed_bins : (N,) array
        Their bin numbers, 0..63.
    moving_range : tuple of 2 float
        Robust range of the moving volume, which its bins cover.
    """

    inside: npt.NDArray[np.bool_]
    fixed: Array
    fixed_bins: npt.NDArray[np.uint8]
    moving_range: tuple[float, float]

    @classmethod
    def of(cls, fixed: Volume, moving: Volume, inside: npt.NDArray[np.bool_]) -> SimilarityRegion:
        """Return the region of a pair."""
        compared = _spread(inside, MOST_COMPARED)
        values = fixed.array[compared]
        bins = bin_numbers(values, robust_range(values), bins=BINS).astype(np.uint8)
        return cls(compared, values, bins, robust_range(measured(moving)))

    def measures(self, warped: Volume, seen: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Return NCC, MI (nats), NMI and the overlap percentage.

        Parameters
        ----------
        warped : Volume
            The moving volume on the fixed grid.
        seen : (Z, Y, X) bool array
            Voxels mapped into the moving field of view.

        References
        ----------
        Studholme et al., Pattern Recognition 32:71-86, 1999, doi 10.1016/S0031-3203(98)00091-0 (NMI).
        """
        kept = seen[self.inside]
        share = {"overlap_percent": float(100.0 * kept.mean())}
        if kept.sum() < FEWEST_VOXELS:
            return {**dict.fromkeys(("mi", "nmi", "ncc"), float("nan")), **share}
        values = warped.array[self.inside][kept]
        moving_bins = bin_numbers(values, self.moving_range, bins=BINS)
        joint = joint_histogram(self.fixed_bins[kept], moving_bins, (BINS, BINS))
        information = {"mi": mutual_information(joint), "nmi": normalized_mutual_information(joint)}
        return {**information, "ncc": correlation(self.fixed[kept], values), **share}


def _spread(inside: Mask, most: int) -> Mask:
    """Return about `most` of the voxels in a region, evenly spread; all when there are fewer."""
    step = -(-int(np.count_nonzero(inside)) // most)
    if step <= 1:
        return inside
    depth, height, width = inside.shape
    k = (7 * np.arange(depth) % step).astype(np.uint16)[:, None, None]
    j = (3 * np.arange(height) % step).astype(np.uint16)[:, None]
    i = (np.arange(width) % step).astype(np.uint16)
    # Every voxel number `step` of a row, shifted from row to row and from slice to slice.
    return inside & ((i + j + k) % step == 0)


def correlation(first: Array, second: Array) -> float:
    """Return Pearson's correlation coefficient; NaN when one side is constant."""
    a = first.astype(np.float64) - first.mean(dtype=np.float64)
    b = second.astype(np.float64) - second.mean(dtype=np.float64)
    size = float(np.sqrt(_dot(a, a) * _dot(b, b)))
    return _dot(a, b) / size if size > 0 else float("nan")


def _dot(first: Array, second: Array) -> float:
    """Return the inner product; `@` wakes the threads of BLAS, which costs more than the product itself."""
    return float(np.einsum("i,i->", first, second))


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of two volumes, computed in blocks.

    Attributes
    ----------
    mean : float
        Mean squared correlation over the blocks, 0 to 1; NaN when there is no block to compare.
    sharpness : float
        Fraction of it that is lost when the volume is shifted by three voxels of the working grid, mean over the six
        directions; negative when a shift improves the agreement.
    """

    mean: float
    sharpness: float


def local_agreement(fixed: Image, warped: Image, inside: Mask) -> Agreement:
    """Return the agreement of two volumes in blocks of 5 x 5 x 5 voxels of a grid of at most two million voxels.

    Parameters
    ----------
    fixed, warped : (Z, Y, X) arrays
        Volumes on the same grid.
    inside : (Z, Y, X) bool array
        Region of the comparison.

    Notes
    -----
    The squared correlation of a block does not depend on whether tissues are bright or dark, only on whether
    intensities change together, so it is valid for different contrasts. The shift distinguishes a
    match from two similar textures.

    References
    ----------
    Cachier et al., CVIU 89:272-298, 2003, doi 10.1016/S1077-3142(03)00002-X (local correlation).
    """
    thin = _thinning(fixed.shape)
    fixed, other = limited(fixed)[0], _pooled(limited(warped)[0], thin)
    blocks = _Blocks.of(_pooled(fixed, thin), _pooled(inside.astype(np.float32), thin) > 0.5)
    if blocks is None:
        return Agreement(float("nan"), float("nan"))
    here = blocks.mean_agreement(other)
    shifted = [blocks.mean_agreement(np.roll(other, step, axis=axis)) for axis in range(3) for step in (SHIFT, -SHIFT)]
    sharpness = 1 - float(np.mean(shifted)) / max(here, 1e-6)
    return Agreement(here, sharpness)


def mean_agreements(fixed: Image, warped: Sequence[Image], inside: Mask) -> list[float]:
    """Return `local_agreement(...).mean` of several volumes with one fixed volume, without their sharpness."""
    thin = _thinning(fixed.shape)
    blocks = _Blocks.of(_pooled(fixed, thin), _pooled(inside.astype(np.float32), thin) > 0.5)
    return [float("nan") if blocks is None else blocks.mean_agreement(_pooled(array, thin)) for array in warped]


def _thinning(shape: tuple[int, ...]) -> int:
    """Return by which factor a grid is coarsened before its blocks are compared."""
    factor = max(1, int(np.ceil((math.prod(shape) / MOST_VOXELS) ** (1 / 3) - 1e-9)))
    return max(1, min(factor, min(shape) // BLOCK))


def _pooled(array: Image, factor: int) -> Image:
    if factor == 1:
        return np.asarray(array, dtype=np.float32)
    return _sums(np.asarray(array, dtype=np.float32), factor) / np.float32(factor**3)


def _sums(array: Image, edge: int) -> Image:
    """Return the sums over blocks; incomplete blocks at the end are omitted."""
    for axis in range(3):
        rows = np.moveaxis(array, axis, 0)
        rows = rows[: len(rows) // edge * edge]
        total = rows[::edge].copy()
        for start in range(1, edge):
            total += rows[start::edge]
        array = np.moveaxis(total, 0, axis)
    return array


@dataclass(frozen=True, eq=False)
class _Blocks:
    """What the blocks of a fixed volume contribute to the agreement with any warped volume, computed once."""

    inside: Mask
    x: Image
    safe: Image
    mean_x: Image
    var_x: Image
    shows: Mask

    @classmethod
    def of(cls, one: Image, inside: Mask) -> _Blocks | None:
        """Return the blocks of a volume; None when none has enough voxels inside and structure."""
        if min(one.shape) < BLOCK or not inside.any():
            return None
        values = one[inside]
        x = np.where(inside, one - values.mean(), 0).astype(np.float32)
        count = _sums(inside.astype(np.float32), BLOCK)
        safe = np.maximum(count, 1)
        mean_x = _sums(x, BLOCK) / safe
        var_x = np.maximum(_sums(x * x, BLOCK) / safe - mean_x**2, 0)
        shows = (count >= LEAST_SHARE * BLOCK**3) & (var_x > FLAT * float(values.var()))
        return cls(inside, x, safe, mean_x, var_x, shows) if shows.any() else None

    def mean_agreement(self, other: Image) -> float:
        """Return the mean squared correlation of the blocks with a warped volume."""
        return float(np.nanmean(self.agreement(other)))

    def agreement(self, other: Image) -> Image:
        """Return the squared correlation of the blocks with a warped volume, NaN in blocks that are not compared."""
        values = other[self.inside]
        y = np.where(self.inside, other - values.mean(), 0).astype(np.float32)
        mean_y = _sums(y, BLOCK) / self.safe
        var_y = np.maximum(_sums(y * y, BLOCK) / self.safe - mean_y**2, 0)
        covariance = _sums(self.x * y, BLOCK) / self.safe - self.mean_x * mean_y
        floor_y = FLAT * float(values.var())
        # A block with structure in only one of the volumes has agreement 0.
        squared = covariance**2 / np.maximum(self.var_x * np.maximum(var_y, max(floor_y, 1e-12)), 1e-20)
        return np.where(self.shows, np.clip(squared, 0, 1), np.nan).astype(np.float32)
