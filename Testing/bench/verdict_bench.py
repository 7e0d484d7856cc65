"""What the verdict says of good, bad and deliberately broken runs, without and with the answers (labels, landmarks).

Judges the runs kept by verdict_runs.py and two breaks made from them here: a folded field and an inverted map. Every
judged run is a line of `<out>/judged.jsonl` (not judged again); writes `verdict.md`.
Usage: OMP_NUM_THREADS=1 python Testing/bench/verdict_bench.py --data DATA --out bench/advice
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case, read_cases
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.evaluation.report import Report
from DeepVsClassicRegLib.core.evaluation.verdict import findings, judge_report
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.result import Diagnostics, Result
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.core.transforms.transform import DisplacementField, Transform
from label_runs import dice_of
from table import markdown
from verdict_runs import prepared

DERIVED = ("folded field", "inverted map")
DERIVED_FROM = "instance"
WORSE = 0.005
FOLDED_PERCENT = 1.0


def main() -> None:
    """Judge what has no line yet, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("bench/joined/runs.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("bench/advice"))
    parser.add_argument("--only-table", action="store_true", help="judge nothing new")
    arguments = parser.parse_args()
    path = arguments.out / "judged.jsonl"
    known = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    if not arguments.only_table:
        finished = {(entry["case"], entry["engine"], entry["kind"]) for entry in known}
        cases = {case.name: case for case in read_cases(arguments.data)}
        for made, kind in wanted(arguments.out, arguments.runs):
            if (made["case"], made["engine"], kind) not in finished:
                record = judged(made, kind, cases, arguments.out)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                known.append(record)
    (arguments.out / "verdict.md").write_text(tables([rejudged(entry) for entry in known]) + "\n", encoding="utf-8")


def wanted(out: Path, runs: Path) -> Iterator[tuple[dict, str]]:
    """Yield the kept runs and the breaks made from them, those with few voxels first."""
    lines = [json.loads(line) for line in (out / "made.jsonl").read_text(encoding="utf-8").splitlines()]
    linear = [json.loads(line) for line in runs.read_text(encoding="utf-8").splitlines() if line]
    confidence = {run["case"]: run["confidence"] for run in linear if run["engine"] == "linear"}
    facts = map(json.loads, (out / "facts.jsonl").read_text(encoding="utf-8").splitlines())
    voxels = {entry["case"]: entry["fixed_voxels"] for entry in facts}
    jobs = []
    for made in (made for made in lines if made["status"] == "done"):
        if made["kind"] == "plain":
            made["confidence"] = confidence.get(made["case"])
            if made["engine"] == DERIVED_FROM:
                jobs += [(made, kind) for kind in DERIVED]
        jobs.append((made, made["kind"]))
    yield from sorted(jobs, key=lambda job: voxels[job[0]["case"]])


def judged(made: dict, kind: str, cases: dict[str, Case], out: Path) -> dict:
    """Return the line of a run: its truth, and the verdict without and with the answers."""
    case = cases[made["case"]]
    pair = prepared(case, made["kind"], cases.get(made["other"]) if made["other"] else None)
    start = read_transform(out / "runs" / made["file"].replace(".h5", ".start.h5"))
    transform = broken(read_transform(out / "runs" / made["file"]), start, pair, kind)
    result = Result(transform, Diagnostics(), start=start)
    blind = pair.replace(fixed_labels=None, moving_labels=None)
    found = evaluate(blind, result, measures=("similarity", "regularity", "consistency", "landmarks"), threads=1)
    columns: dict[str, Any] = {
        "before": dict(found.before),
        "start": dict(found.start or {}),
        "after": dict(found.after),
    }
    answers = {name: column.pop("tre_mm_mean", None) for name, column in columns.items()}
    for column in columns.values():
        for name in [name for name in column if name.startswith("tre_")]:
            column.pop(name)
    measure = "tre_mm_mean"
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        measure = "dice_mean"
        steps = {"before": Transform(), "start": start, "after": transform}
        answers = {name: dice_of(pair, case.labels, step)["dice"] for name, step in steps.items()}
    report = {"measures": columns, "confidence": made["confidence"]}
    without = judge_report(Report.from_json(report))
    record = {"case": made["case"], "group": made["group"], "engine": made["engine"], "kind": kind}
    record |= {"truth": answers, "measure": measure, "bad": is_bad(kind, answers, measure, columns["after"])}
    record |= {"without": without.level, "findings": [one.name for one in findings(Report.from_json(report))]}
    record["features"] = {name: number(value) for name, value in columns["after"].items()}
    record["start_features"] = {name: number(value) for name, value in columns["start"].items()}
    record["confidence"] = made["confidence"]
    if answers["after"] is not None:
        for name, column in columns.items():
            column[measure] = answers[name]
        record["with"] = judge_report(Report.from_json(report)).level
    return record


def rejudged(entry: dict) -> dict:
    """Return the line with the light that today's questions give with answers, from the stored features."""
    truth, measure = entry["truth"], entry["measure"]
    if truth["after"] is None:
        return entry
    columns = {
        "before": {measure: truth["before"]},
        "start": {**entry["start_features"], measure: truth["start"]},
        "after": {**entry["features"], measure: truth["after"]},
    }
    return {
        **entry,
        "with": judge_report(Report.from_json({"measures": columns, "confidence": entry["confidence"]})).level,
    }


def number(value: Any) -> float | None:
    """Return a number as JSON takes it."""
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def broken(transform: Transform, start: Transform, pair: Pair, kind: str) -> Transform:
    """Return the transform, broken as the kind says."""
    if kind == "inverted map":
        return Transform((start.affine.inverse(),)) if start.affine else start
    if kind != "folded field":
        return transform
    grid = pair.fixed.grid
    coarse = grid.with_spacing([max(s, e / 48) for s, e in zip(grid.spacing_mm, grid.extent_mm, strict=True)])
    points = coarse.points() - coarse.center_mm
    wave = 2 * np.pi / (0.25 * float(grid.extent_mm.min()))
    # The steepest slope is 1.5, so that space folds over where the sine falls.
    bent = (1.5 / wave) * np.sin(wave * points[..., [1, 2, 0]] + points[..., [0, 1, 2]] * wave)
    return Transform((DisplacementField(bent, coarse), *transform.parts))


def is_bad(kind: str, answers: dict, measure: str, after: dict) -> bool:
    """Return whether a run deserves a warning: broken on purpose, worse than its start, or folded."""
    if kind != "plain":
        return True
    if (after.get("folding_percent") or 0) > FOLDED_PERCENT:
        return True
    if answers["after"] is None:
        return False
    worse = answers["after"] - answers["start"] if measure == "tre_mm_mean" else answers["start"] - answers["after"]
    return worse > WORSE


def tables(entries: list[dict]) -> str:
    """Return how many runs of each kind got which light."""
    rows = []
    order = ("good", "bad: worse than the start or folded", "misplaced start", "wrong pair", "mirrored", *DERIVED)
    groups: dict[str, list[dict]] = {name: [] for name in order}
    for entry in entries:
        kind = "wrong pair" if entry["kind"].startswith("wrong") else entry["kind"]
        kind = {"misplaced": "misplaced start"}.get(kind, kind)
        if kind == "plain":
            kind = order[1] if entry["bad"] else order[0]
        groups[kind].append(entry)
    for name, chosen in groups.items():
        row = [name, str(len(chosen))]
        for side in ("without", "with"):
            known = [entry[side] for entry in chosen if side in entry]
            row += [f"{known.count(light)}" if known else "" for light in ("good", "check", "bad")]
        rows.append(row)
    head = ["runs", "number", "green", "yellow", "red", "green with answers", "yellow with answers", "red with answers"]
    missed = [
        f"{entry['case']} {entry['engine']} {entry['kind']}"
        for entry in entries
        if entry["bad"] and entry["without"] == "good"
    ]
    accused = [
        f"{entry['case']} {entry['engine']} ({', '.join(entry['findings'])})"
        for entry in entries
        if not entry["bad"] and entry["without"] != "good"
    ]
    notes = [f"Missed without answers: {'; '.join(missed) or 'none'}.", f"Accused: {'; '.join(accused) or 'none'}."]
    return "\n\n".join([markdown(head, rows), *notes])


if __name__ == "__main__":
    main()
