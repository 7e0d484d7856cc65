"""Fits the calibration to measured pairs, and estimates its error on new datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from .calibration import COVERAGE, SHARE, SURFACE, Calibration, EngineBand, LabelPoint, logit

Vector = npt.NDArray[np.float64]
# One dataset is left out for the error, another for the band, and two must remain for the fit.
FEWEST_DATASETS = 4
RIDGE = 1e-3


@dataclass(frozen=True)
class Example:
    """One measured run of a pair.

    Attributes
    ----------
    dataset, case, entry : str
        Dataset of the pair (the unit of cross-validation), id of the pair, 'engine' or 'engine:preset'.
    dice : float
        Mean Dice over the labels.
    points : sequence of LabelPoint
        The labels.
    label_dice : sequence of float
        Dice of each label, empty when only the mean is known.
    nats : float
        I(intensity; label) of the whole image, mean of both, for the paper's relation.
    """

    dataset: str
    case: str
    entry: str
    dice: float
    points: Sequence[LabelPoint]
    label_dice: Sequence[float] = ()
    nats: float = float("nan")


@dataclass(frozen=True)
class Judged:
    """A prediction for a pair whose dataset is left out.

    Attributes
    ----------
    example : Example
        The pair.
    predicted, baseline : float
        Mean Dice predicted, and the mean over the other datasets.
    covered : bool
        Whether the band, also computed without that dataset, contains the measured Dice.
    half_width : float
        Half width of that band, in logit(Dice).
    """

    example: Example
    predicted: float
    baseline: float
    covered: bool
    half_width: float


@dataclass(frozen=True)
class _Lines:
    coefficients: Vector
    offsets: Mapping[str, float] = field(default_factory=dict)

    def predict(self, points: Sequence[LabelPoint], entry: str) -> float:
        logits = _design(points) @ self.coefficients + self.offsets.get(entry, 0.0)
        return float(np.mean(1 / (1 + np.exp(-logits))))


def fit_calibration(examples: Sequence[Example], *, provenance: Mapping[str, Any] | None = None) -> Calibration:
    """Return the calibration fitted to all examples, with errors from leave-one-dataset-out cross-validation.

    Parameters
    ----------
    examples : sequence of Example
        Runs of classical engines on pairs of one contrast with a successful linear alignment. Examples with the Dice of
        every label determine the coefficients, all others the offsets and bands of their engines.
    provenance : mapping, optional
        Description to store with the coefficients.

    Raises
    ------
    RegistrationError
        When there are fewer than four datasets with the Dice of every label.
    """
    labeled = [example for example in examples if len(example.label_dice)]
    datasets = sorted({example.dataset for example in labeled})
    families = {family(dataset) for dataset in datasets}
    if len(families) < FEWEST_DATASETS:
        raise RegistrationError(
            f"A calibration needs the Dice of every label on {FEWEST_DATASETS} datasets, found {len(families)}.",
            hint="Add runs of other datasets with 'dice_per_label'.",
        )
    lines = _fit(examples)
    points = [point for example in labeled for point in example.points]
    engines = {}
    for entry in sorted({example.entry for example in examples}):
        judged = cross_validated(examples, entry)
        if judged:
            own = [example for example in examples if example.entry == entry]
            engines[entry] = _band(lines.offsets.get(entry, 0.0), judged, own)
    intercept, share, surface_to_volume = (float(value) for value in lines.coefficients)
    return Calibration(
        intercept,
        share,
        surface_to_volume,
        engines=engines,
        ranges={
            SHARE: _span([point.ln_share for point in points]),
            SURFACE: _span([point.ln_surface_to_volume for point in points]),
        },
        paper=_paper(labeled),
        measured=tuple(
            (float(np.exp(np.mean([point.ln_share for point in example.points]))), example.dice, example.dataset)
            for example in labeled
        ),
        provenance={**(provenance or {}), "datasets": datasets, "labels": len(points), "pairs": len(labeled)},
    )


def cross_validated(examples: Sequence[Example], entry: str) -> list[Judged]:
    """Return predictions of an engine for every pair, with coefficients and band computed without its dataset."""
    own = [example for example in examples if example.entry == entry]
    judged = []
    for dataset in sorted({example.dataset for example in own}):
        known = [example for example in examples if family(example.dataset) != family(dataset)]
        others = sorted({example.dataset for example in known if example.entry == entry})
        if len({family(other) for other in others}) < FEWEST_DATASETS - 2:
            continue
        lines = _fit(known)
        residuals = []
        for other in others:
            inner = _fit([example for example in known if family(example.dataset) != family(other)])
            residuals += _residuals(inner, [x for x in known if (x.dataset, x.entry) == (other, entry)])
        width = weighted_quantile([r for r, _ in residuals], [w for _, w in residuals], COVERAGE)
        baseline = float(
            np.mean([np.mean([x.dice for x in known if (x.dataset, x.entry) == (o, entry)]) for o in others])
        )
        for example in (example for example in own if example.dataset == dataset):
            predicted = lines.predict(example.points, entry)
            apart = abs(logit(example.dice) - logit(predicted))
            judged.append(Judged(example, predicted, baseline, apart <= width, width))
    return judged


def family(dataset: str) -> str:
    """Return the name of a dataset without its label protocol ('name/protocol'): the unit of cross-validation."""
    return dataset.partition("/")[0]


def weighted_quantile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """Return the smallest value with at least `share` of the weight below, including that of one unknown case.

    The unknown case has the mean weight of a dataset, as in split conformal prediction; with too few datasets the
    largest value is returned.
    """
    order = np.argsort(values)
    heavy = np.asarray(weights, dtype=float)[order]
    total = heavy.sum() + 1.0
    reached = np.flatnonzero(np.cumsum(heavy) / total >= share)
    return float(np.asarray(values)[order][reached[0] if len(reached) else -1])


def _fit(examples: Sequence[Example]) -> _Lines:
    """Fit logit(Dice of a label) by weighted least squares, then the mean offset of each engine on whole pairs."""
    rows, targets, weights = [], [], []
    labeled = [example for example in examples if len(example.label_dice)]
    pairs = {dataset: sum(x.dataset == dataset for x in labeled) for dataset in {x.dataset for x in labeled}}
    for example in labeled:
        share = 1 / (pairs[example.dataset] * len(example.points))
        rows.append(_design(example.points))
        targets += [logit(dice) for dice in example.label_dice]
        weights += [share] * len(example.points)
    design, weight = np.concatenate(rows), np.array(weights)
    gram = (design * weight[:, None]).T @ design + RIDGE * np.diag([0.0, 1.0, 1.0])
    coefficients = np.linalg.solve(gram, (design * weight[:, None]).T @ np.array(targets))
    lines = _Lines(coefficients)
    offsets = {}
    for entry in {example.entry for example in examples}:
        own = [example for example in examples if example.entry == entry]
        per_dataset = [
            np.mean([logit(x.dice) - logit(lines.predict(x.points, "")) for x in own if x.dataset == dataset])
            for dataset in {x.dataset for x in own}
        ]
        offsets[entry] = float(np.mean(per_dataset))
    return _Lines(coefficients, offsets)


def _residuals(lines: _Lines, examples: Sequence[Example]) -> list[tuple[float, float]]:
    """Return (|difference in logit|, weight) of the pairs of one dataset; the weights sum to 1."""
    return [(abs(logit(x.dice) - logit(lines.predict(x.points, x.entry))), 1 / len(examples)) for x in examples]


def _band(offset: float, judged: Sequence[Judged], own: Sequence[Example]) -> EngineBand:
    datasets = sorted({entry.example.dataset for entry in judged})
    share = {dataset: 1 / sum(entry.example.dataset == dataset for entry in judged) for dataset in datasets}
    weights = [share[entry.example.dataset] for entry in judged]
    apart = [abs(logit(entry.example.dice) - logit(entry.predicted)) for entry in judged]
    return EngineBand(
        offset=offset,
        half_width=weighted_quantile(apart, weights, COVERAGE),
        pairs=len(own),
        datasets=len({example.dataset for example in own}),
        error=float(np.average([abs(entry.example.dice - entry.predicted) for entry in judged], weights=weights)),
        baseline_error=float(
            np.average([abs(entry.example.dice - entry.baseline) for entry in judged], weights=weights)
        ),
        coverage=float(np.average([entry.covered for entry in judged], weights=weights)),
    )


def _paper(examples: Sequence[Example]) -> dict[str, Any]:
    """Return the paper's relation on these pairs: Dice against I and ln I of the whole image."""
    kept = [example for example in examples if np.isfinite(example.nats) and example.nats > 0]
    if len(kept) < 3 or len({example.nats for example in kept}) < 3:
        return {}
    nats, dice = np.array([x.nats for x in kept]), np.array([x.dice for x in kept])
    slope, level = np.polyfit(np.log(nats), dice, 1)
    return {
        "pairs": len(kept),
        "r": round(float(np.corrcoef(nats, dice)[0, 1]), 3),
        "r_log": round(float(np.corrcoef(np.log(nats), dice)[0, 1]), 3),
        "fit": f"Dice = {level:.3f} + {slope:.3f} ln(I)",
        "published": {"r": 0.886, "r_log": 0.933},
    }


def _design(points: Sequence[LabelPoint]) -> Vector:
    return np.array([[1.0, point.ln_share, point.ln_surface_to_volume] for point in points])


def _span(values: Sequence[float]) -> tuple[float, float]:
    return float(np.min(values)), float(np.max(values))
