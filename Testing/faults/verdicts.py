"""The verdict on a report: a good one, and one change of it after the other that must be seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from DeepVsClassicRegLib.core.evaluation.make_report import judged
from DeepVsClassicRegLib.core.evaluation.report import Report
from DeepVsClassicRegLib.core.evaluation.verdict import judge_report

from . import Call, Case, Gives, Run


def _judged(changes: Mapping[str, Any], **more: Any) -> Callable[[Path], Call]:
    """Return a `build` that judges a good report with a few measures changed."""
    before = {"dice_mean": 0.4, "mi": 0.3, "overlap_percent": 90.0}
    good = {"dice_mean": 0.8, "mi": 0.9, "folding_percent": 0.0, "sharpness": 0.7, "overlap_percent": 95.0}
    start = {"dice_mean": 0.6, "mi": 0.6, "local_agreement": 0.5, "overlap_percent": 95.0}
    measures = {"before": before, "start": start, "after": {**good, "local_agreement": 0.8, **changes}}

    def build(_folder: Path) -> Call:
        def run() -> tuple[str, str]:
            report = Report.from_json({"measures": measures, "confidence": 0.9, **more})
            verdict = judged(report).to_json()["verdict"]
            return verdict["level"], " ".join(verdict["reasons"])

        return run

    return build


def _verdict_case(name: str, changes: Mapping[str, Any], wanted: str, words: Sequence[str], **more: Any) -> Case:
    def read(run: Run) -> list[Any]:
        return [run.value[0], *(word for word in words if word in run.value[1])]

    return Case("J", f"report with {name}", _judged(changes, **more), Gives([wanted, *words], read=read))


def _judged_alike() -> bool:
    content = {"measures": {"after": {"dice_mean": 0.8, "folding_percent": 6.0}}, "confidence": 0.9}
    return judge_report(content) == judge_report(Report.from_json(content))


NO_LABELS = {"dice_mean": None}
CASES = [
    _verdict_case("nothing against it", {}, "good", []),
    _verdict_case("0.6 % of folds", {"folding_percent": 0.6}, "check", ["0.6 % of the voxels are folded"]),
    _verdict_case("6 % of folds", {"folding_percent": 6.0}, "bad", ["6 % of the voxels are folded"]),
    _verdict_case("structures that hardly overlap", {"dice_mean": 0.35}, "bad", ["swapped left and right"]),
    _verdict_case("a Dice better than before and below 0.4", {"dice_mean": 0.39}, "bad", ["mean Dice 0.39"]),
    _verdict_case("a Dice below the linear one", {"dice_mean": 0.55}, "check", []),
    _verdict_case("no match, no labels", {**NO_LABELS, "sharpness": 0.1}, "bad", ["do not seem to match"]),
    _verdict_case("a weak match, no labels", {**NO_LABELS, "sharpness": 0.25}, "check", ["match is weak"]),
    _verdict_case("a weak match that labels answer", {"sharpness": 0.25}, "good", ["match is weak"]),
    _verdict_case("a failed linear alignment, no labels", NO_LABELS, "bad", ["confidence (10 %)"], confidence=0.1),
    _verdict_case("a doubtful linear alignment, no labels", NO_LABELS, "check", ["confidence (50 %)"], confidence=0.5),
    _verdict_case("a deformation that made it worse", {**NO_LABELS, "local_agreement": 0.4}, "check", ["agree less"]),
    _verdict_case("a deformation without gain", {**NO_LABELS, "local_agreement": 0.51}, "check", ["hardly improves"]),
    _verdict_case("tissue that grows tenfold", {"implausible_percent": 8.0}, "check", ["factor of 10"]),
    _verdict_case("much outside the moving volume", {"overlap_percent": 40.0}, "check", ["60 % of the fixed object"]),
    _verdict_case("more outside than at the start", {"overlap_percent": 70.0}, "check", ["25 % more"]),
    _verdict_case("a map that cannot be undone", {"inverse_residual_mm": 1.2}, "check", ["round-trip error", "1.2 mm"]),
    _verdict_case("nothing measured", {"dice_mean": None, "mi": None}, "check", []),
    _verdict_case("an unsound input", {}, "check", ["Gap closed."], unsound=["Gap closed."]),
    _verdict_case("an unsound input and 6 % of folds", {"folding_percent": 6.0}, "bad", ["Gap."], unsound=["Gap."]),
    Case("J", "the content of a report.json is judged as the report is", lambda folder: _judged_alike, Gives(True)),
]
