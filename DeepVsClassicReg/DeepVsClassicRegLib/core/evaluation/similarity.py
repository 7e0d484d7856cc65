"""Similarity of intensities where both volumes overlap: correlation and mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..histogram import bin_numbers, joint_histogram, mutual_information, normalized_mutual_information
from ..images.intensity import measured, robust_range
from ..images.volume import Volume

Array = npt.NDArray[np.floating]
BINS = 64
FEWEST_VOXELS = 100


@dataclass(frozen=True, eq=False)
class SimilarityRegion:
    """Region and histogram bins of the intensity measures, the same for all transforms of a pair.

    Voxels mapped outside the moving field of view are excluded; `overlap_percent` is the percentage of the others.

    Attributes
    ----------
    inside : (Z, Y, X) bool array
        The region on the fixed grid.
    fixed : (N,) array
        Fixed intensities in the region.
    fixed_bins : (N,) array
        Their bin numbers, 0..63.
    moving_range : tuple of 2 float
        Robust range of the moving volume, which its bins cover.
    """

    inside: npt.NDArray[np.bool_]
    fixed: Array
    fixed_bins: npt.NDArray[np.int32]
    moving_range: tuple[float, float]

    @classmethod
    def of(cls, fixed: Volume, moving: Volume, inside: npt.NDArray[np.bool_]) -> SimilarityRegion:
        """Return the region of a pair."""
        values = fixed.array[inside]
        return cls(inside, values, bin_numbers(values, robust_range(values), bins=BINS), robust_range(measured(moving)))

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


def correlation(first: Array, second: Array) -> float:
    """Return Pearson's correlation coefficient; NaN when one side is constant."""
    a = first.astype(np.float64) - first.mean(dtype=np.float64)
    b = second.astype(np.float64) - second.mean(dtype=np.float64)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")
