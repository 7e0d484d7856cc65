"""Mutual information of intensity and label, which limits registration by intensities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import histogram
from ..errors import GeometryError, RegistrationError
from ..images.resample import warp_labels
from ..images.volume import LabelMap, Volume

Counts = npt.NDArray[np.float64]
BINS = 64
PERCENTILES = (0.1, 99.9)
SAMPLE = 1 << 20
WIDEST_LABEL = 1 << 16


@dataclass(frozen=True)
class Information:
    """The information of one variable about another, in nats.

    Attributes
    ----------
    nats : float
        Mutual information I(i;s) after the Miller-Madow correction of its small-sample bias, at least 0.
    entropy : float
        H(s) of the labels in the same voxels (plug-in estimate).
    bias : float
        The bias subtracted from the plug-in estimate.
    voxels : int
        Number of voxels.
    """

    nats: float
    entropy: float
    bias: float
    voxels: int

    @property
    def uncertainty_coefficient(self) -> float:
        """U = I/H(s): fraction of the uncertainty of the label that is explained by the intensity, 0 to 1."""
        return min(self.nats / self.entropy, 1.0) if self.entropy > 0 else 0.0

    def to_json(self) -> dict[str, float]:
        """Return the numbers as plain JSON values."""
        return {
            "nats": round(self.nats, 6),
            "entropy": round(self.entropy, 6),
            "uncertainty_coefficient": round(self.uncertainty_coefficient, 6),
            "bias": round(self.bias, 8),
            "voxels": self.voxels,
        }


@dataclass(frozen=True)
class LabelInformation:
    """The information of the intensities about one label, and its size.

    Attributes
    ----------
    label, name : int, str
        Number and name of the label.
    information : Information
        I(i; 1[s = label]) over the whole image.
    volume_mm3, surface_mm2 : float
        Size; the surface is the area of voxel faces, about 1.5 times that of a smooth object.
    """

    label: int
    name: str
    information: Information
    volume_mm3: float
    surface_mm2: float

    @property
    def surface_to_volume(self) -> float:
        """Surface divided by volume, 1/mm: relative volume error for a boundary error of 1 mm."""
        return self.surface_mm2 / self.volume_mm3 if self.volume_mm3 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain JSON values."""
        return {
            "label": self.label,
            "name": self.name,
            **self.information.to_json(),
            "volume_mm3": round(self.volume_mm3, 3),
            "surface_mm2": round(self.surface_mm2, 3),
        }


@dataclass(frozen=True)
class MutualInformation:
    """I(intensity; label) of one image and its segmentation.

    Attributes
    ----------
    whole : Information
        All voxels, with the background as a label (the definition of the paper).
    foreground : Information
        Only voxels with a label above 0.
    labels : tuple of LabelInformation
        Each label against the rest.
    bins : int
        Number of equal-width bins between the 0.1 and the 99.9 percentile.
    rough : bool
        Whether the labels are tissue classes estimated from the image itself.
    """

    whole: Information
    foreground: Information
    labels: tuple[LabelInformation, ...]
    bins: int = BINS
    rough: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain JSON values; top-level entries such as `nats` are of the whole image."""
        return {
            **self.whole.to_json(),
            "foreground": self.foreground.to_json(),
            "labels": [label.to_json() for label in self.labels],
            "bins": self.bins,
            "base": "e",
            "percentiles": list(PERCENTILES),
            "rough": self.rough,
        }


def mutual_information(volume: Volume, labels: LabelMap, *, bins: int = BINS) -> MutualInformation:
    """Return the mutual information of the intensities of an image and its segmentation.

    Parameters
    ----------
    volume : Volume
        The image.
    labels : LabelMap
        Its segmentation; resampled on the grid of the image if necessary.
    bins : int
        Number of equal-width intensity bins between the 0.1 and 99.9 percentile (values outside are counted in the
        first and last bin).

    Returns
    -------
    MutualInformation
        In nats (natural logarithm).

    Raises
    ------
    RegistrationError
        When the segmentation is empty or does not overlap the image.

    Notes
    -----
    I = H(s) - H(s|i) = H(i) + H(s) - H(i,s) from the joint histogram. The bias of the plug-in estimate, about
    (K_is - K_i - K_s + 1) / 2N with K the numbers of occupied cells and N voxels, is subtracted. The voxels are treated
    as independent, as in the paper; neighboring voxels are not, so the true bias is slightly higher.

    References
    ----------
    Jena et al., NeurIPS 2024, arXiv 2408.05839, section 4; Miller 1955; Theil 1970 (uncertainty coefficient).

    Examples
    --------
    >>> from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
    >>> pair = make_phantom("head", size=24).pair
    >>> found = mutual_information(pair.fixed, pair.fixed_labels)
    >>> 0 < found.foreground.uncertainty_coefficient < 1
    True
    """
    on_grid = labels if labels.grid.same_as(volume.grid) else _moved(labels, volume)
    values, codes = _coded(on_grid.array)
    if not (values != 0).any():
        raise RegistrationError(
            f"The segmentation '{labels.name}' has no label inside '{volume.name}'.",
            hint="Check that both are in the same patient coordinates.",
        )
    joint = histogram.joint_histogram(codes, intensity_bins(volume.array, bins=bins), (len(values), bins))
    surfaces = _surfaces(codes, len(values), volume.grid.spacing_mm)
    sizes = joint.sum(axis=1) * volume.grid.voxel_volume_mm3
    per_label = tuple(
        LabelInformation(
            int(value),
            on_grid.names.get(int(value), str(int(value))),
            table_information(np.stack([joint.sum(axis=0) - joint[row], joint[row]])),
            float(sizes[row]),
            float(surfaces[row]),
        )
        for row, value in enumerate(values)
        if value != 0
    )
    return MutualInformation(table_information(joint), table_information(joint[values != 0]), per_label, bins)


def table_information(joint: npt.ArrayLike) -> Information:
    """Return the information of the columns (intensity bins) of a table of counts about its rows (labels).

    Examples
    --------
    >>> round(table_information([[500, 0], [0, 500]]).uncertainty_coefficient, 3)
    1.0
    """
    table = np.asarray(joint, dtype=np.float64)
    total = float(table.sum())
    if total == 0:
        return Information(0.0, 0.0, 0.0, 0)
    bias = histogram.miller_madow_bias(table)
    nats = max(histogram.mutual_information(table) - bias, 0.0)
    return Information(nats, histogram.entropy(table.sum(axis=1)), bias, int(total))


def intensity_bins(array: npt.NDArray[np.float32], *, bins: int = BINS) -> npt.NDArray[np.int32]:
    """Return the bin number of each voxel, 0 to `bins` - 1, same shape."""
    flat = array.ravel()
    low, high = (float(value) for value in np.percentile(flat[:: max(1, flat.size // SAMPLE)], PERCENTILES))
    if high <= low:
        low, high = float(array.min()), float(array.max())
    return histogram.bin_numbers(array, (low, high), bins=bins)


def _moved(labels: LabelMap, volume: Volume) -> LabelMap:
    try:
        return warp_labels(labels, volume.grid)
    except RuntimeError as error:
        raise GeometryError(f"'{labels.name}' cannot be resampled on the grid of '{volume.name}': {error}") from error


def _coded(array: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the ascending label values and, for each voxel, the index of its value (fast for small labels)."""
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= WIDEST_LABEL:
        found, codes = np.unique(array, return_inverse=True)
        return found.astype(np.int64), codes.reshape(array.shape).astype(np.int32)
    values = np.flatnonzero(np.bincount(array.ravel(), minlength=high + 1)).astype(np.int64)
    table = np.zeros(high + 1, dtype=np.int32)
    table[values] = np.arange(len(values), dtype=np.int32)
    return values, table[array]


def _surfaces(codes: npt.NDArray[np.int32], count: int, spacing_mm: tuple[float, float, float]) -> Counts:
    """Return the area of the voxel faces between each label and the others in mm^2, without the image border."""
    areas = np.zeros(count)
    for axis, spacing in enumerate(reversed(spacing_mm)):
        face = float(np.prod(spacing_mm)) / spacing
        ahead = codes[(slice(None),) * axis + (slice(1, None),)]
        behind = codes[(slice(None),) * axis + (slice(None, -1),)]
        apart = ahead != behind
        areas += face * np.bincount(ahead[apart], minlength=count)
        areas += face * np.bincount(behind[apart], minlength=count)
    return areas


def summary(mutual: Mapping[str, Any]) -> str:
    """Return a `MutualInformation.to_json()` as a phrase."""
    share = 100 * mutual["foreground"]["uncertainty_coefficient"]
    return f"I(intensity; label) = {mutual['nats']:.2f} nats, {share:.0f} % of the label entropy inside the organ"
