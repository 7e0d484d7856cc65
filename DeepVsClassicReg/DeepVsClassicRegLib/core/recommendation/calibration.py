"""The calibration: predicts the Dice of a classical registration from mutual information and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError
from ..files import from_plain, jsonable
from .advice import Band, Plot, PlotPoint

Vector = npt.NDArray[np.float64]
COVERAGE = 0.8
LEAST_SHARE = 1e-3
CURVE_POINTS = 40
CURVE_REACH = 0.1  # natural logarithm
# Distance from the fitted range (natural logarithms) up to which a prediction is given.
MARGIN = float(np.log(1.5))
# Keys of calibration files, as the first release named them.
SHARE, SURFACE, SURFACE_SLOPE = "ln_share", "ln_thinness", "thinness"


@dataclass(frozen=True)
class LabelPoint:
    """The predictors of one label.

    Attributes
    ----------
    name : str
        Name shown to users.
    ln_share : float
        ln(I/H): logarithm of the uncertainty coefficient of label against background, mean of both images.
    ln_surface_to_volume : float
        ln(surface/volume * mm), mean of both images.
    """

    name: str
    ln_share: float
    ln_surface_to_volume: float


@dataclass(frozen=True)
class EngineBand:
    """Offset of an engine from the one of the label fit, and errors of its predictions.

    Attributes
    ----------
    offset : float
        Mean difference of logit(Dice).
    half_width : float
        Half width of the band in logit(Dice): it contains 80 % of the held-out pairs (datasets equally weighted).
    pairs, datasets : int
        Number of measured pairs and datasets.
    error, baseline_error : float
        Mean absolute error of the mean Dice in leave-one-dataset-out cross-validation: of the calibration, and of
        the mean of the other datasets as prediction.
    coverage : float
        Fraction of pairs (datasets equally weighted) whose Dice is in the band when neither the prediction nor the
        width of the band uses their dataset.
    """

    offset: float
    half_width: float
    pairs: int
    datasets: int
    error: float
    baseline_error: float
    coverage: float


@dataclass(frozen=True)
class Calibration:
    """Coefficients and their provenance.

    logit(Dice of a label) = intercept + share * ln(I/H) + surface_to_volume * ln(surface/volume) + engine offset.
    The Dice of a pair is the mean over its labels.

    Attributes
    ----------
    intercept, share, surface_to_volume : float
        Coefficients, fitted on labels with equally weighted datasets.
    engines : mapping of str to EngineBand
        Entry ('engine' or 'engine:preset') -> its band.
    ranges : mapping of str to (float, float)
        `SHARE`, `SURFACE` -> range of the labels of the fit.
    paper : mapping
        The paper's relation on the same pairs: r against MI and ln MI, and the logarithmic fit.
    measured : tuple of (float, float, str)
        Mean I/H, Dice and dataset of every pair of the fit.
    provenance : mapping
        Datasets, pairs, labels, engine, commit, date, notes.
    """

    intercept: float
    share: float
    surface_to_volume: float
    engines: Mapping[str, EngineBand]
    ranges: Mapping[str, tuple[float, float]]
    paper: Mapping[str, Any] = field(default_factory=dict)
    measured: tuple[tuple[float, float, str], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def label_dice(self, point: LabelPoint, entry: str, *, shift: float = 0.0) -> float:
        """Return the predicted Dice of a label with an engine; `shift` is added to its logit."""
        return sigmoid(self._logit(point) + self.engines[entry].offset + shift)

    def predict(self, points: Sequence[LabelPoint], entry: str) -> Band:
        """Return the predicted mean Dice over labels with an engine, and the band that covers 80 % of cases.

        Raises
        ------
        KeyError
            When the engine is not calibrated.
        """
        middle = float(np.mean([self.label_dice(point, entry) for point in points]))
        width, center = self.engines[entry].half_width, logit(middle)
        return Band(sigmoid(center - width), middle, sigmoid(center + width))

    def outside(self, points: Sequence[LabelPoint]) -> str:
        """Return a description of how a case is outside the fitted range; '' when it is inside."""
        checks = (
            (SHARE, [point.ln_share for point in points], "the intensities carry {} information on the labels"),
            (SURFACE, [point.ln_surface_to_volume for point in points], "the labels are {}"),
        )
        words = {SHARE: ("less", "more"), SURFACE: ("thicker", "thinner or smaller")}
        for name, values, text in checks:
            low, high = self.ranges[name]
            middle = float(np.mean(values))
            if middle < low - MARGIN:
                return text.format(words[name][0]) + " than in any dataset of the calibration"
            if middle > high + MARGIN:
                return text.format(words[name][1]) + " than in any dataset of the calibration"
        return ""

    def plot(self, points: Sequence[LabelPoint], entry: str) -> Plot:
        """Return the curve (for labels as thin as those of the case), its band, the case and its labels."""
        thin = [point.ln_surface_to_volume for point in points] or list(self.ranges[SURFACE])
        surface_to_volume = float(np.mean(thin))
        low, high = self.ranges[SHARE]
        # Only slightly beyond the shown points; a longer curve is not relevant for this case.
        shown = [np.log(share) for share, _dice, _group in self.measured] + [point.ln_share for point in points]
        reach = max(shown, default=high) + CURVE_REACH
        shares = np.exp(np.linspace(low, max(min(high, reach, 0.0), low), CURVE_POINTS))
        curve = tuple(
            self._point("", LabelPoint("", float(np.log(share)), surface_to_volume), entry) for share in shares
        )
        labels = tuple(self._point(point.name, point, entry) for point in points)
        case = None
        if points:
            mean_share = float(np.exp(np.mean([point.ln_share for point in points])))
            case = PlotPoint("this pair", mean_share, self.predict(points, entry))
        return Plot(entry, curve, self.measured, case, labels)

    def to_json(self) -> dict[str, Any]:
        """Return the calibration as plain JSON values."""
        return {
            "model": "logit(Dice) = intercept + share*ln(I/H) + thinness*ln(surface/volume*mm) + offset(engine)",
            "coverage": COVERAGE,
            "intercept": round(self.intercept, 5),
            "share": round(self.share, 5),
            SURFACE_SLOPE: round(self.surface_to_volume, 5),
            "engines": jsonable(self.engines, places=4),
            "ranges": {name: [round(low, 5), round(high, 5)] for name, (low, high) in self.ranges.items()},
            "paper": dict(self.paper),
            "measured": [[round(share, 4), round(dice, 4), group] for share, dice, group in self.measured],
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Calibration:
        """Return a stored calibration.

        Raises
        ------
        FileError
            When the content is not a calibration.
        """
        try:
            return cls(
                float(content["intercept"]),
                float(content["share"]),
                float(content[SURFACE_SLOPE]),
                {entry: from_plain(EngineBand, band) for entry, band in content["engines"].items()},
                {name: (float(low), float(high)) for name, (low, high) in content["ranges"].items()},
                dict(content.get("paper", {})),
                tuple((float(x), float(y), str(group)) for x, y, group in content.get("measured", ())),
                dict(content.get("provenance", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"The calibration cannot be read ({error!r}).", hint="Create it again.") from error

    def _logit(self, point: LabelPoint) -> float:
        return self.intercept + self.share * point.ln_share + self.surface_to_volume * point.ln_surface_to_volume

    def _point(self, name: str, point: LabelPoint, entry: str) -> PlotPoint:
        width = self.engines[entry].half_width
        low, middle, high = (self.label_dice(point, entry, shift=shift) for shift in (-width, 0.0, width))
        return PlotPoint(name, float(np.exp(point.ln_share)), Band(low, middle, high))


def label_points(
    fixed: Mapping[str, Any], moving: Mapping[str, Any] | None = None, *, labels: Sequence[int] | None = None
) -> list[LabelPoint]:
    """Return the predictors of the labels that exist in both images.

    Parameters
    ----------
    fixed, moving : mapping
        `MutualInformation.to_json()` of each image; that of the fixed image suffices.
    labels : sequence of int, optional
        The labels to use; default: all.
    """
    sides = [{entry["label"]: entry for entry in side["labels"]} for side in (fixed, moving) if side is not None]
    shared = [label for label in sides[0] if all(label in side for side in sides)]
    wanted = [label for label in shared if labels is None or label in labels]
    found = []
    for label in wanted:
        entries = [side[label] for side in sides]
        share = np.mean([np.log(max(entry["uncertainty_coefficient"], LEAST_SHARE)) for entry in entries])
        thin = np.mean([np.log(max(entry["surface_mm2"], 1e-9) / entry["volume_mm3"]) for entry in entries])
        found.append(LabelPoint(str(entries[0].get("name", label)), float(share), float(thin)))
    return found


def logit(dice: float) -> float:
    """Return ln(d / (1 - d)), with the Dice clipped to 0.02..0.98."""
    kept = float(np.clip(dice, 0.02, 0.98))
    return float(np.log(kept / (1 - kept)))


def sigmoid(value: float) -> float:
    """Return 1 / (1 + exp(-x))."""
    return float(1 / (1 + np.exp(-value)))
