"""Tissue classes estimated from an image, used when there is no segmentation."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..images.volume import LabelMap, Volume
from .mutual_information import MutualInformation, mutual_information

Array = npt.NDArray[np.float64]
LEVELS = 256
CLASSES = 3


def rough_information(volume: Volume) -> MutualInformation:
    """Return I(intensity; class) with tissue classes estimated from the smoothed image itself.

    Notes
    -----
    The classes are computed from the mean of the 27 voxels around each voxel, the intensity is that of the voxel.
    Without noise the intensity determines the class; noise and texture reduce the information. It measures how
    distinct the tissues are, not structures without visible borders, and is therefore marked as rough.
    """
    return dataclasses.replace(mutual_information(volume, tissue_classes(volume)), rough=True)


def tissue_classes(volume: Volume) -> LabelMap:
    """Return background 0 (Otsu) and tissue classes 1, 2, ... from dark to bright (k-means), on the image's grid."""
    smooth = ndimage.uniform_filter(volume.array, size=3, mode="nearest")
    low, high = np.percentile(smooth.ravel()[:: max(1, smooth.size // (1 << 20))], (0.1, 99.9))
    if high <= low:
        return LabelMap(np.zeros(volume.array.shape, dtype=np.int32), volume.grid, name="tissue classes")
    level = np.clip((smooth - low) * (LEVELS / (high - low)), 0, LEVELS - 1).astype(np.int32)
    histogram = np.bincount(level.ravel(), minlength=LEVELS).astype(np.float64)
    threshold = otsu_level(histogram)
    table = np.zeros(LEVELS, dtype=np.int32)
    table[threshold:] = 1 + kmeans_levels(histogram[threshold:], CLASSES)
    return LabelMap(table[level], volume.grid, name="tissue classes")


def otsu_level(histogram: Array) -> int:
    """Return the first level of the brighter class that separates the two classes best.

    References
    ----------
    Otsu, IEEE TSMC 9:62-66, 1979, doi 10.1109/TSMC.1979.4310076.
    """
    level = np.arange(len(histogram))
    below, mass = np.cumsum(histogram)[:-1], np.cumsum(histogram * level)[:-1]
    total, whole = histogram.sum(), float((histogram * level).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (whole * below / total - mass) ** 2 / (below * (total - below))
    best = np.nan_to_num(between, nan=0.0, posinf=0.0)
    # All empty levels between two peaks are equally good; the middle one is farthest from both.
    ties = np.flatnonzero(best >= best.max() * (1 - 1e-12))
    return int(ties[len(ties) // 2]) + 1


def kmeans_levels(histogram: Array, classes: int) -> npt.NDArray[np.int32]:
    """Return the class (0, 1, ... from dark to bright) of each level of a histogram by globally optimal k-means.

    In one dimension the optimal classes are intervals, found by dynamic programming.

    References
    ----------
    Fisher, JASA 53:789-798, 1958, doi 10.1080/01621459.1958.10501479.
    """
    count = len(histogram)
    level = np.arange(count, dtype=np.float64)
    sums = [np.concatenate([[0.0], np.cumsum(histogram * level**power)]) for power in (0, 1, 2)]
    weight, first, second = (total[None, :] - total[:, None] for total in sums)
    # cost[a, b]: sum of squares within the levels a to b - 1.
    cost = second - first**2 / np.maximum(weight, 1e-12)
    cost[np.tril_indices(count + 1)] = np.inf
    best = cost[0]
    cuts = []
    for _ in range(min(classes, count) - 1):
        total = best[:, None] + cost
        cuts.append(np.argmin(total, axis=0))
        best = np.min(total, axis=0)
    result = np.zeros(count, dtype=np.int32)
    end = count
    for number, cut in reversed(list(enumerate(cuts, start=1))):
        start = int(cut[end])
        result[start:end] = number
        end = start
    return result
