"""The list of measures: name, title, unit, better direction and definition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HIGHER, LOWER, NEUTRAL = "higher", "lower", ""
ROUNDING_ERROR = 1e-12
FAMILIES = ("overlap", "surface", "landmarks", "similarity", "regularity", "consistency", "estimate")
# Families that take long and have no part in the verdict, with the names shown to users: these may follow later.
LATER: Mapping[str, str] = {"surface": "distances of surfaces (HD95, HD, ASSD)"}


@dataclass(frozen=True)
class Measure:
    """The description of a measure.

    Attributes
    ----------
    name, title : str
        Key in `Evaluation.before/start/after` and in `report.json`; the title shown to users.
    family : str
        One of `FAMILIES`, which `evaluate(measures=...)` selects.
    direction : {'higher', 'lower', ''}
        Whether higher or lower values are better; '' when neither is.
    unit : str
        'mm', '%', 'nats' or '' for ratios.
    decimals : int
        Number of decimals shown.
    definition : str
        Definition in one sentence.
    per_item : bool
        Whether the value is a mapping per label or a list per landmark instead of one number.
    main : bool
        Whether it is shown in short tables.
    short : str
        Short title for narrow tables; the title when empty.
    """

    name: str
    title: str
    family: str
    direction: str
    unit: str = ""
    decimals: int = 3
    definition: str = ""
    per_item: bool = False
    main: bool = False
    short: str = ""

    @property
    def heading(self) -> str:
        """The short title with unit and an arrow toward better values."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.short or self.title}{unit} {self.arrow}".strip()

    @property
    def arrow(self) -> str:
        """An arrow toward better values; empty when there is no better direction."""
        return {HIGHER: "↑", LOWER: "↓"}.get(self.direction, "")

    def text(self, value: Any) -> str:
        """Return the value as text, a dash when there is none."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "–"
        if not isinstance(value, (int, float)):
            return str(value)
        least = 10.0**-self.decimals
        if ROUNDING_ERROR < abs(value) < least / 2:
            return f"<{least:.{self.decimals}f}" if value > 0 else f"-{0:.{self.decimals}f}"
        return f"{value:.{self.decimals}f}"

    def better(self, value: float | None, than: float | None) -> bool:
        """Return whether `value` is strictly better than `than`; missing numbers never are."""
        if not (_is_number(value) and _is_number(than)) or not self.direction:
            return False
        first, second = float(value or 0), float(than or 0)
        return first > second if self.direction == HIGHER else first < second


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


_SHARED = "labels that exist in both segmentations"
_REGION = "inside the fixed mask or else the fixed foreground"
_SEEN = f"{_REGION}, where the moving volume overlaps"
_ALL = (
    Measure(
        "dice_mean",
        "Dice, mean over labels",
        "overlap",
        HIGHER,
        main=True,
        short="Dice",
        definition=f"Mean of 2|F∩W|/(|F|+|W|) over the {_SHARED}; nearest-neighbor warped labels.",
    ),
    Measure("dice_per_label", "Dice per label", "overlap", HIGHER, per_item=True),
    Measure(
        "dice_pooled",
        "Dice, all labels pooled",
        "overlap",
        HIGHER,
        definition="2Σ|F∩W|/Σ(|F|+|W|): large labels have more weight (Klein et al. 2009).",
    ),
    Measure(
        "soft_dice_mean",
        "Soft Dice, mean over labels",
        "overlap",
        HIGHER,
        definition="2Σpq/(Σp+Σq) with p the linearly warped membership and q the fixed label.",
    ),
    Measure("soft_dice_per_label", "Soft Dice per label", "overlap", HIGHER, per_item=True),
    Measure(
        "target_overlap_mean",
        "Target overlap, mean",
        "overlap",
        HIGHER,
        definition="Mean of |F∩W|/|F|: fraction of the fixed structure that is covered.",
    ),
    Measure(
        "volume_similarity_mean",
        "Volume similarity, mean",
        "overlap",
        HIGHER,
        definition="Mean of 1-||F|-|W||/(|F|+|W|): compares volumes only, independent of position.",
    ),
    Measure(
        "labels_lost",
        "Lost labels",
        "overlap",
        LOWER,
        decimals=0,
        definition="Number of labels of both segmentations that are warped out of the fixed field of view.",
    ),
    Measure(
        "hd95_mm_mean",
        "95 % Hausdorff distance, mean",
        "surface",
        LOWER,
        "mm",
        2,
        main=True,
        short="HD95",
        definition="Larger of the two directed 95th percentiles of boundary distances, mean over labels.",
    ),
    Measure("hd95_mm_per_label", "95 % Hausdorff distance per label", "surface", LOWER, "mm", 2, per_item=True),
    Measure(
        "hd_mm_mean",
        "Hausdorff distance, mean",
        "surface",
        LOWER,
        "mm",
        2,
        definition="Largest boundary distance, mean over labels.",
    ),
    Measure("hd_mm_per_label", "Hausdorff distance per label", "surface", LOWER, "mm", 2, per_item=True),
    Measure(
        "assd_mm_mean",
        "Average surface distance, mean",
        "surface",
        LOWER,
        "mm",
        2,
        definition="Mean of all boundary distances in both directions, mean over labels.",
    ),
    Measure("assd_mm_per_label", "Average surface distance per label", "surface", LOWER, "mm", 2, per_item=True),
    Measure(
        "tre_mm_mean",
        "Landmark error (TRE), mean",
        "landmarks",
        LOWER,
        "mm",
        2,
        main=True,
        short="TRE",
        definition="Distance of the mapped fixed landmarks from the corresponding moving landmarks.",
    ),
    Measure("tre_mm_median", "Landmark error, median", "landmarks", LOWER, "mm", 2),
    Measure("tre_mm_max", "Landmark error, largest", "landmarks", LOWER, "mm", 2),
    Measure("tre_mm_per_point", "Landmark error per point", "landmarks", LOWER, "mm", 2, per_item=True),
    Measure(
        "mi",
        "Mutual information",
        "similarity",
        HIGHER,
        "nats",
        main=True,
        short="MI",
        definition=f"64 x 64 equal-width bins over the robust ranges, natural logarithm, {_SEEN}.",
    ),
    Measure(
        "nmi",
        "Normalized mutual information",
        "similarity",
        HIGHER,
        definition="(H(F)+H(W))/H(F,W), 1 to 2, same histogram (Studholme 1999).",
    ),
    Measure(
        "ncc",
        "Correlation (NCC)",
        "similarity",
        NEUTRAL,
        main=True,
        short="NCC",
        definition=f"Pearson correlation of the intensities {_SEEN}; higher is better for equal contrasts only.",
    ),
    Measure(
        "overlap_percent",
        "Overlap of the fields of view",
        "similarity",
        HIGHER,
        "%",
        1,
        definition=f"Percentage of the voxels {_REGION} that are mapped into the moving field of view.",
    ),
    Measure(
        "local_agreement",
        "Local agreement",
        "similarity",
        HIGHER,
        definition=f"Mean squared correlation in blocks of 5 voxels of a grid of at most 2 million voxels {_SEEN}.",
    ),
    Measure(
        "sharpness",
        "Sharpness of the match",
        "similarity",
        HIGHER,
        definition="Fraction of the local agreement lost by a shift of 3 voxels of that grid, mean of 6 directions.",
    ),
    Measure(
        "folding_percent",
        "Folded voxels",
        "regularity",
        LOWER,
        "%",
        3,
        main=True,
        short="Folded",
        definition=f"Percentage of voxels with Jacobian determinant <= 0 {_REGION}.",
    ),
    Measure(
        "implausible_percent",
        "Implausible volume change",
        "regularity",
        LOWER,
        "%",
        2,
        definition=f"Percentage of voxels with Jacobian determinant below 0.1 or above 10 {_REGION}.",
    ),
    Measure(
        "sd_log_jacobian",
        "Spread of volume change (SD log J)",
        "regularity",
        LOWER,
        main=True,
        short="SD log J",
        definition=f"Standard deviation of the log Jacobian determinant {_REGION}.",
    ),
    Measure("jacobian_min", "Smallest Jacobian", "regularity", NEUTRAL),
    Measure("jacobian_max", "Largest Jacobian", "regularity", NEUTRAL),
    Measure(
        "inverse_residual_mm",
        "Round trip error, mean",
        "consistency",
        LOWER,
        "mm",
        3,
        definition="Distance of points from their start after the transform and its numerical inverse.",
    ),
    Measure("inverse_residual_mm_max", "Round trip error, largest", "consistency", LOWER, "mm", 2),
    Measure(
        "estimated_error_mm_median",
        "Estimated error, median",
        "estimate",
        LOWER,
        "mm",
        2,
        main=True,
        short="Est. error",
        definition=f"Median of the error that a network estimates from both images, {_SEEN}; no truth is known.",
    ),
    Measure(
        "estimated_error_mm_p95",
        "Estimated error, 95th percentile",
        "estimate",
        LOWER,
        "mm",
        2,
        main=True,
        short="Est. error, 95 %",
        definition=f"95 % of the places have a smaller estimated error, {_SEEN}.",
    ),
    Measure(
        "estimated_error_mm_max",
        "Estimated error, largest",
        "estimate",
        LOWER,
        "mm",
        2,
        definition=f"Largest estimated error {_SEEN}.",
    ),
)
MEASURES: Mapping[str, Measure] = {measure.name: measure for measure in _ALL}
SECONDS = Measure("seconds", "Time", "cost", LOWER, "s", 1, main=True, definition="Wall time of all stages.")


def scalars(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the scalar measures, in the order of `MEASURES`."""
    return {name: values[name] for name, measure in MEASURES.items() if name in values and not measure.per_item}
