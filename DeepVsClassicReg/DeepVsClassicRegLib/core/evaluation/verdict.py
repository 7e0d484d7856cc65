"""The quality checks of a registration, and the verdict from all of them: a level, and a sentence in plain words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..images.grid import Grid, length_text
from ..images.volume import percent_text
from ..result import DOUBTFUL_CONFIDENCE, FAILED_CONFIDENCE, TOTAL
from .measures import MEASURES, Measure
from .report import Aspect, Measured, Report, Verdict

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
NO_VIEW_PERCENT = 1.0
ROUND_TRIP = 0.5  # in units of the fixed grid (mm for a head)
# Checks of intensities that overlap and landmarks supersede.
BY_INTENSITY = frozenset({"match", "gain", "alignment"})
BY_STRUCTURE = frozenset({"labels"})
BY_MAP = frozenset({"folding", "implausible", "view", "round-trip"})
# The decisive measure of a result: the first of these that was measured.
DECISIVE = ("tre_mm_mean", "dice_mean", "mi")
ANSWERS = ("tre_mm_mean", "dice_mean")
HEADLINES = {CHECK: "Check the result", BAD: "Do not use the result"}
CHECKS = {"folding": "Check the folds", "inputs": "Check the inputs"}


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
    return Finding("folding", level, f"{percent_text(share)} of the voxels are folded, which is impossible for tissue.")


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
    level = CHECK if after >= NO_VIEW_PERCENT else BAD
    return Finding("view", level, f"{100 - after:.0f} % of the fixed object is outside the moving volume{more}.")


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


@dataclass(frozen=True)
class Tile:
    """A number shown in large type: title, value, and value before registration."""

    title: str
    value: str
    remark: str


def judge_report(given: Report | Mapping[str, Any]) -> Verdict:
    """Return the verdict on a report, or on the content of a report.json.

    Segmentations and landmarks decide, if available; intensities, Jacobian, round-trip error, the confidence of the
    linear alignment and inputs that may be wrong can only lower the level.
    """
    report = given if isinstance(given, Report) else Report.from_json(given)
    base = _verdict_before_checks(report)
    found = findings(report)
    base = dataclasses.replace(base, reasons=tuple(one.text for one in found), aspects=aspects_of(report, found))
    worst = _lowering(report, base)
    if worst is None:
        return base
    more = "" if worst.name in _measured_checks(report) else f" {worst.text}"
    return dataclasses.replace(base, level=worst.level, headline=_headline(worst), sentence=base.sentence + more)


def aspects_of(report: Report, found: Sequence[Finding]) -> tuple[Aspect, ...]:
    """Return the match of intensities, the match of structures and the plausibility of the map, each judged alone.

    Parameters
    ----------
    report : Report
        Measures before and after.
    found : sequence of Finding
        Failed checks of the report, the most severe first.
    """
    aspects = []
    for name, title, measured, checks in ASPECTS:
        level, text = measured(report)
        worst = _failed(level, checks, found)
        aspects.append(Aspect(name, worst.level, title, worst.text) if worst else Aspect(name, level, title, text))
    return tuple(aspects)


def _failed(level: str, checks: frozenset[str], found: Sequence[Finding]) -> Finding | None:
    """Return the most severe failed check of an aspect when it is worse than this level."""
    worst = next((one for one in found if one.name in checks), None)
    return worst if worst is not None and ORDER[worst.level] > ORDER.get(level, 0) else None


def _intensities(report: Report) -> tuple[str, str]:
    measure, after = MEASURES["mi"], report.measures.after
    if after.get("mi") is None:
        return UNKNOWN, "Not measured."
    before = _reference(report.measures).get("mi")
    improved = before is None or measure.better(after["mi"], before)
    return (GOOD if improved else CHECK), _change(measure, before, after["mi"])


def _structures(report: Report) -> tuple[str, str]:
    measured = report.measures
    measure = next((MEASURES[name] for name in ANSWERS if measured.after.get(name) is not None), None)
    if measure is None:
        return UNKNOWN, "No segmentations of both volumes and no landmarks."
    before, after = measured.before.get(measure.name), measured.after[measure.name]
    worse = before is not None and not measure.better(after, before)
    below_start = measured.start is not None and measure.better(measured.start.get(measure.name), after)
    of_estimates = measure.name == "dice_mean" and report.estimated
    level = (CHECK if of_estimates else BAD) if worse else CHECK if below_start else GOOD
    remark = " The segmentations are estimated by a network." if of_estimates else ""
    return level, _change(measure, before, after) + remark


def _map(report: Report) -> tuple[str, str]:
    folded = report.measures.after.get("folding_percent")
    if folded is None:
        return UNKNOWN, "Not measured."
    return GOOD, f"{percent_text(folded)} of the voxels are folded." if folded > 0 else "No voxel is folded."


ASPECTS: tuple[tuple[str, str, Callable[[Report], tuple[str, str]], frozenset[str]], ...] = (
    ("intensities", "Match of intensities", _intensities, BY_INTENSITY),
    ("structures", "Match of structures", _structures, BY_STRUCTURE),
    ("map", "Plausible map", _map, BY_MAP),
)


def further_reasons(report: Report) -> tuple[str, ...]:
    """Return the reasons that neither the sentence nor the aspects of the verdict state, the most severe first."""
    found = findings(report)
    in_aspects = [_failed(measured(report)[0], checks, found) for _, _, measured, checks in ASPECTS]
    shown = {one.name for one in (_lowering(report, _verdict_before_checks(report)), *in_aspects) if one is not None}
    return tuple(one.text for one in found if one.name not in shown | _measured_checks(report))


def _lowering(report: Report, base: Verdict) -> Finding | None:
    """Return the failed check that lowers the level of the verdict, if any; the sentence includes it."""
    trusted = _answered(report) and base.level == GOOD
    counted = [one for one in findings(report) if not (trusted and one.name in BY_INTENSITY)]
    return counted[0] if counted and ORDER[counted[0].level] > ORDER[base.level] else None


def _measured_checks(report: Report) -> set[str]:
    """Return the checks that the sentence about the decisive measure includes."""
    return {"folding"} if _decisive(report) is not None else set()


def best_report(reports: Sequence[Report]) -> int:
    """Return the index of the best of several reports on one pair.

    Reports with the verdict bad rank last. Then the first measure of `DECISIVE` that all reports have decides; in a tie
    the earlier report is best.
    """
    sound = [index for index, report in enumerate(reports) if judge_report(report).level != BAD]
    rivals = sound or list(range(len(reports)))
    columns = [report.measures.after for report in reports]
    known = [name for name in DECISIVE if all(columns[index].get(name) is not None for index in rivals)]
    evaluator = next((name for name in known if all(name in _deciding(report, known) for report in reports)), None)
    best = rivals[0]
    if evaluator is None:
        return best
    for index in rivals[1:]:
        if MEASURES[evaluator].better(columns[index][evaluator], columns[best][evaluator]):
            best = index
    return best


def _headline(finding: Finding) -> str:
    headline = HEADLINES[finding.level]
    return CHECKS.get(finding.name, headline) if finding.level == CHECK else headline


def _answered(report: Report) -> bool:
    """Return whether the result was evaluated with segmentations or landmarks."""
    return any(report.measures.after.get(name) is not None for name in _deciding(report, ANSWERS))


def _decisive(report: Report) -> Measure | None:
    """Return the first measure of `DECISIVE` that the report has."""
    after = report.measures.after
    return next((MEASURES[name] for name in _deciding(report, DECISIVE) if after.get(name) is not None), None)


def _deciding(report: Report, names: Sequence[str]) -> list[str]:
    """Return the measures that can decide: the overlap of estimated segmentations can only lower the level."""
    return [name for name in names if not (name == "dice_mean" and report.estimated)]


def _verdict_before_checks(report: Report) -> Verdict:
    measured = report.measures
    before, start, after = measured.before, measured.start, measured.after
    measure = _decisive(report)
    if measure is None:
        return Verdict(CHECK, "Check the pictures", "No measure of the quality of the result is available.")
    reference = _reference(measured) if measure.name == "mi" else before
    before_it = reference.get(measure.name)  # without a value when the volumes hardly overlapped
    improved = before_it is None or measure.better(after[measure.name], before_it)
    below_start = start is not None and measure.better(start.get(measure.name), after[measure.name])
    folding = after.get("folding_percent") or 0.0
    sentence = _change(measure, before.get(measure.name), after[measure.name])
    if folding > 0:
        sentence += f" {percent_text(folding)} of the voxels are folded."
    elif after.get("folding_percent") is not None:
        sentence += " No voxel is folded."
    if not improved:
        return Verdict(BAD, "Not improved", sentence)
    if below_start:
        return Verdict(CHECK, "Check the result", sentence + " The linear alignment alone is better.")
    return Verdict(GOOD, "Better aligned", sentence)


def _reference(measured: Measured) -> Mapping[str, Any]:
    """Return the reference of the intensity measures: the start, or none, when the volumes hardly overlapped before.

    The mutual information of a small random overlap is not meaningful.
    """
    before, start = measured.before, measured.start
    met = before.get("overlap_percent")
    if isinstance(met, (int, float)) and met < LITTLE_VIEW_PERCENT:
        return dict(start or {})
    return dict(before)


def tiles(report: Report) -> list[Tile]:
    """Return the numbers shown in large type at the top of a report."""
    before, after = report.measures.before, report.measures.after
    shown = []
    for name in ("dice_mean", "tre_mm_mean", "hd95_mm_mean", "mi", "folding_percent", "sd_log_jacobian"):
        measure = MEASURES[name]
        if after.get(name) is None or (name == "mi" and after.get("dice_mean") is not None):
            continue
        earlier = before.get(name)
        remark = f"before {measure.text(earlier)}" if earlier is not None else ""
        unit = f" {measure.unit}" if measure.unit else ""
        shown.append(Tile(measure.title, measure.text(after[name]) + unit, remark))
    memory = report.peak_memory_mb
    remark = f"peak memory {memory / 1000:.1f} GB" if memory else ""
    shown.append(Tile("Time", seconds_text(report.seconds[TOTAL]), remark))
    return shown


def seconds_text(seconds: float) -> str:
    """Return a duration as text.

    Examples
    --------
    >>> seconds_text(0.42), seconds_text(34.2), seconds_text(200)
    ('0.4 s', '34 s', '3 min 20 s')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def _change(measure: Measure, before: float | None, after: float) -> str:
    unit = f" {measure.unit}" if measure.unit else ""
    title = {"dice_mean": "Dice", "tre_mm_mean": "The landmark error", "mi": "Mutual information"}[measure.name]
    if before is None:
        return f"{title} is {measure.text(after)}{unit}."
    verb = "rose" if after > before else "fell" if after < before else "stayed"
    if verb == "stayed":
        return f"{title} is unchanged at {measure.text(after)}{unit}."
    return f"{title} {verb} from {measure.text(before)} to {measure.text(after)}{unit}."
