"""Quality checks of a result: each check examines a report and returns a finding with a level and a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..images.grid import Grid, length_text
from ..result import DOUBTFUL_CONFIDENCE, FAILED_CONFIDENCE
from .report import Report

GOOD, CHECK, BAD = "good", "check", "bad"
UNKNOWN = "unknown"  # of an aspect that was not measured
ORDER = {GOOD: 0, CHECK: 1, BAD: 2}
SOME_FOLDING_PERCENT = 0.5
MUCH_FOLDING_PERCENT = 5.0
IMPLAUSIBLE_PERCENT = 5.0
# Measured: correct results have a sharpness of at least 0.6 within one contrast and 0.3 between CT and MR; failed ones
# (prostate MR and ultrasound, volumes of two body parts) are below 0.2.
NO_MATCH_SHARPNESS = 0.2
WEAK_MATCH_SHARPNESS = 0.3
# A deformable registration of matching volumes removes at least a fifth of the disagreement of the start.
EXPECTED_GAIN = 0.1
# Measured: correctly aligned structures have a mean Dice above 0.4; mirrored brains are below 0.1, however well the
# images match.
NO_OVERLAP_DICE = 0.2
WEAK_OVERLAP_DICE = 0.4
FALLEN_DICE = 0.02  # of estimated structures
LITTLE_VIEW_PERCENT = 50.0
LOST_VIEW_PERCENT = 15.0
ROUND_TRIP = 0.5  # in units of the fixed grid (mm for a head)


@dataclass(frozen=True)
class Finding:
    """A failed quality check.

    Attributes
    ----------
    name : str
        Name of the check.
    level : {'check', 'bad'}
        Severity.
    text : str
        One sentence.
    """

    name: str
    level: str
    text: str


def findings(report: Report) -> tuple[Finding, ...]:
    """Return the failed checks of a report, the most severe first.

    Parameters
    ----------
    report : Report
        Checks of missing measures are skipped.
    """
    found = [question(report) for question in QUESTIONS]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: -ORDER[one.level]))


def _after(report: Report, name: str) -> float | None:
    value = report.measures.after.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _start(report: Report, name: str) -> float | None:
    value = (report.measures.start or {}).get(name)
    return float(value) if isinstance(value, (int, float)) else None


def inputs(report: Report) -> Finding | None:
    """Check whether an input may be wrong."""
    notes = report.unsound
    return Finding("inputs", CHECK, " ".join(map(str, notes))) if notes else None


def _unit_mm(report: Report) -> float:
    """Return the unit of length of the fixed grid (`Grid.unit_mm`), 1 for reports without a grid."""
    fixed = report.inputs.get("fixed", {})
    if "size" not in fixed or "spacing_mm" not in fixed:
        return 1.0
    return Grid(tuple(fixed["size"]), tuple(fixed["spacing_mm"])).unit_mm


def folding(report: Report) -> Finding | None:
    """Check whether the deformation folds."""
    share = _after(report, "folding_percent")
    if share is None or share <= SOME_FOLDING_PERCENT:
        return None
    level = BAD if share > MUCH_FOLDING_PERCENT else CHECK
    return Finding("folding", level, f"{share:.2g} % of the voxels are folded, which is impossible for tissue.")


def labels(report: Report) -> Finding | None:
    """Check whether structures with the same label overlap at all, independent of the improvement."""
    dice = _after(report, "dice_mean")
    if dice is not None and dice >= WEAK_OVERLAP_DICE and report.estimated:
        return _fallen(report, dice)
    if dice is None or dice >= WEAK_OVERLAP_DICE:
        return None
    which = "Structures that a network estimated" if report.estimated else "Structures with the same label"
    text = f"{which} hardly overlap (mean Dice {dice:.2f}): "
    text += "check for swapped left and right, different label numbers in the segmentations, and unrelated volumes."
    return Finding("labels", BAD if dice < NO_OVERLAP_DICE else CHECK, text)


def _fallen(report: Report, dice: float) -> Finding | None:
    """Check whether the overlap of estimated structures fell, which alone does not decide about the result."""
    before = report.measures.before.get("dice_mean")
    if before is None or dice > before - FALLEN_DICE:
        return None
    text = f"The mean Dice of structures that a network estimated fell from {before:.2f} to {dice:.2f}."
    return Finding("labels", CHECK, text)


def implausible(report: Report) -> Finding | None:
    """Check whether the volume of too many voxels changes by more than a factor of ten."""
    share = _after(report, "implausible_percent")
    if share is None or share <= IMPLAUSIBLE_PERCENT:
        return None
    return Finding("implausible", CHECK, f"{share:.0f} % of the voxels shrink or grow by more than a factor of 10.")


def match(report: Report) -> Finding | None:
    """Check whether a shift by a few voxels reduces the local agreement; otherwise the volumes do not match."""
    sharpness = _after(report, "sharpness")
    if sharpness is None or sharpness >= WEAK_MATCH_SHARPNESS:
        return None
    lost = f"a shift by a few voxels reduces the local agreement by only {100 * max(sharpness, 0):.0f} %"
    if sharpness < NO_MATCH_SHARPNESS:
        return Finding("match", BAD, f"The volumes do not seem to match: {lost}.")
    return Finding("match", CHECK, f"The match is weak: {lost}.")


def expected_gain(report: Report) -> Finding | None:
    """Check whether the deformable part improves the agreement as usual."""
    start, after = _start(report, "local_agreement"), _after(report, "local_agreement")
    if start is None or after is None or start >= 0.9:
        return None
    gain = (after - start) / (1 - start)
    if gain < -0.01:
        return Finding("gain", CHECK, "The intensities agree less than after the linear alignment.")
    if gain < EXPECTED_GAIN:
        return Finding("gain", CHECK, "The deformation hardly improves the agreement of intensities, which is unusual.")
    return None


def alignment(report: Report) -> Finding | None:
    """Check the confidence of the linear alignment."""
    confidence = report.confidence
    if not isinstance(confidence, (int, float)) or confidence >= DOUBTFUL_CONFIDENCE:
        return None
    text = f"The linear alignment has low confidence ({100 * confidence:.0f} %)."
    return Finding("alignment", BAD if confidence < FAILED_CONFIDENCE else CHECK, text)


def view(report: Report) -> Finding | None:
    """Check whether a large part of the fixed object is mapped outside the moving volume."""
    after, start = _after(report, "overlap_percent"), _start(report, "overlap_percent")
    if after is None:
        return None
    lost = start is not None and start - after > LOST_VIEW_PERCENT
    if after >= LITTLE_VIEW_PERCENT and not lost:
        return None
    more = f", {start - after:.0f} % more than at the start" if lost and start is not None else ""
    return Finding("view", CHECK, f"{100 - after:.0f} % of the fixed object is outside the moving volume{more}.")


def round_trip(report: Report) -> Finding | None:
    """Check whether the transform can be inverted."""
    error = _after(report, "inverse_residual_mm")
    if error is None or error <= ROUND_TRIP * _unit_mm(report):
        return None
    return Finding("round-trip", CHECK, f"The mean round-trip error of the transform is {length_text(error)}.")


QUESTIONS: tuple[Callable[[Report], Finding | None], ...] = (
    inputs,
    folding,
    labels,
    match,
    alignment,
    implausible,
    expected_gain,
    view,
    round_trip,
)
# Checks of intensities that overlap and landmarks supersede.
BY_INTENSITY = frozenset({"match", "gain", "alignment"})
BY_STRUCTURE = frozenset({"labels"})
BY_MAP = frozenset({"folding", "implausible", "view", "round-trip"})
