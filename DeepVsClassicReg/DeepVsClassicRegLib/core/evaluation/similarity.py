"""Similarity of intensities where both volumes are seen: correlation and mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.intensity import robust_range
from ..images.volume import Volume

Array = npt.NDArray[np.floating]
BINS = 64
FEWEST_VOXELS = 100


@dataclass(frozen=True, eq=False)
class SimilarityRegion:
    """Where and with which bins intensities are compared: one region and one set of bins for every transform of a pair.

    Voxels mapped beyond the moving field of view are left out; `overlap_percent` says how many are left.

    Attributes
    ----------
    inside : (Z, Y, X) bool array
        The region on the fixed grid.
    fixed : (N,) array
        Fixed intensities in the region.
    fixed_bins : (N,) array
        Their bin numbers, 0..63.
    moving_range : tuple of 2 float
        Robust range of the moving volume, over which its bins are spread.
    """

    inside: npt.NDArray[np.bool_]
    fixed: Array
    fixed_bins: npt.NDArray[np.uint8]
    moving_range: tuple[float, float]

    @classmethod
    def of(cls, fixed: Volume, moving: Volume, inside: npt.NDArray[np.bool_]) -> SimilarityRegion:
        """Return the region of a pair."""
        values = fixed.array[inside]
        return cls(inside, values, binned(values, robust_range(values)), robust_range(moving.array))

    def measures(self, warped: Volume, seen: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Return NCC, MI (nats), NMI and the share of the region that was seen.

        Parameters
        ----------
        warped : Volume
            The moving volume on the fixed grid.
        seen : (Z, Y, X) bool array
            Voxels that were mapped into the moving field of view.

        References
        ----------
        Studholme et al., Pattern Recognition 32:71-86, 1999, doi 10.1016/S0031-3203(98)00091-0 (NMI).
        """
        kept = seen[self.inside]
        share = {"overlap_percent": float(100.0 * kept.mean())}
        if kept.sum() < FEWEST_VOXELS:
            return {**dict.fromkeys(("mi", "nmi", "ncc"), float("nan")), **share}
        values = warped.array[self.inside][kept]
        pairs = self.fixed_bins[kept].astype(np.int64) * BINS + binned(values, self.moving_range)
        joint = np.bincount(pairs, minlength=BINS * BINS).reshape(BINS, BINS)
        information, normalized = mutual_information(joint)
        return {"mi": information, "nmi": normalized, "ncc": correlation(self.fixed[kept], values), **share}


def correlation(first: Array, second: Array) -> float:
    """Return Pearson's correlation; NaN when one side is constant."""
    a = first.astype(np.float64) - first.mean(dtype=np.float64)
    b = second.astype(np.float64) - second.mean(dtype=np.float64)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def mutual_information(joint: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Return MI in nats and NMI = (H(F)+H(W))/H(F,W) of a joint histogram; NMI is NaN without any entropy."""
    first, second, both = (_entropy(counts) for counts in (joint.sum(1), joint.sum(0), joint.ravel()))
    return max(0.0, first + second - both), (first + second) / both if both > 0 else float("nan")


def binned(values: Array, limits: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Return bin numbers 0..63 of equal-width bins over the limits; what lies beyond joins the outer bins."""
    low, high = limits
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values - np.float32(low)) * np.float32(BINS / (high - low))
    return np.clip(scaled, 0, BINS - 1).astype(np.uint8)


def _entropy(counts: npt.NDArray[np.integer]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
