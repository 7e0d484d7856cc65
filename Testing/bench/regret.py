"""How good the recommendation is: regret against every fixed choice and against chance, datasets left out one by one.

Uses stored runs only (`runs.jsonl` of bench.py, the facts of advice_facts.py, `labels.jsonl` of label_runs.py); writes
`regret.md`. Usage: python Testing/bench/regret.py --runs bench/joined/runs.jsonl --out bench/advice [--write FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from DeepVsClassicRegLib.core.engines.catalogue import get_engine
from DeepVsClassicRegLib.core.files import write_json
from DeepVsClassicRegLib.core.recommendation.calibration import label_points
from DeepVsClassicRegLib.core.recommendation.evidence import Evidence
from DeepVsClassicRegLib.core.recommendation.examples import MULTIMODAL, read_runs
from DeepVsClassicRegLib.core.recommendation.facts import EngineFacts, Facts
from DeepVsClassicRegLib.core.recommendation.fitting import Example, cross_validated, fit_calibration
from DeepVsClassicRegLib.core.recommendation.rules import apply_rules
from DeepVsClassicRegLib.core.recommendation.runtime import EngineSeconds, fit_seconds, probe_seconds
from DeepVsClassicRegLib.core.recommendation.strengths import gain, measure_strengths
from DeepVsClassicRegLib.core.result import DOUBTFUL_CONFIDENCE
from DeepVsClassicRegLib.core.version import VERSION
from table import markdown

ENTRIES = ("instance", "elastix", "greedy", "ants:quick", "network", "network+refine", "linear")


def main() -> None:
    """Judge, and write the shipped calibration when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("bench/joined/runs.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("bench/advice"))
    parser.add_argument("--write", type=Path, help="also write the evidence fitted on everything")
    arguments = parser.parse_args()
    runs = [run for run in read_runs([arguments.runs]) if run["engine"] in ENTRIES]
    labeled = read_runs([arguments.out / "labels.jsonl"])
    lines = (arguments.out / "facts.jsonl").read_text(encoding="utf-8").splitlines()
    facts = {entry["case"]: entry for entry in map(json.loads, lines)}
    examples, left_out = examples_of(runs, labeled, facts)
    text = "\n\n".join([regret_tables(runs, facts), coverage_table(examples)])
    (arguments.out / "regret.md").write_text(text + "\n", encoding="utf-8")
    if arguments.write:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        about = {
            "name": "visible part of the shared benchmark, Testing/bench/RESULTS.md and RECOMMENDATION.md",
            "date": date.today().isoformat(),
            "commit": commit.stdout.strip(),
            "version": VERSION,
            "labels_engine": "instance",
            "left_out": left_out,
        }
        seconds = seconds_of(runs, facts)
        fitted = fit_calibration(examples, provenance=about)
        evidence = Evidence(fitted, measure_strengths(runs), seconds, probe_seconds())
        write_json(arguments.write, evidence.to_json())


def examples_of(runs: Sequence[dict], labeled: Sequence[dict], facts: dict) -> tuple[list[Example], list[str]]:
    """Return what `dvcreg calibrate` gathers, from the stored facts instead of the volumes."""
    confidence = {run["case"]: run["confidence"] for run in runs if run["engine"] == "linear"}
    per_label = {(run["case"], run["group"], run["engine"]): run for run in labeled}
    merged = {(run["case"], run["group"], run["engine"]): run for run in runs} | per_label
    examples, left_out = [], {}
    for (case, group, engine), run in merged.items():
        about = facts[case]
        if run.get("dice") is None or "mi_fixed" not in about:
            left_out[case] = "no segmentations"
        elif MULTIMODAL in about["kind"]:
            left_out[case] = "different contrasts, which the relation is not about"
        elif confidence[case] < DOUBTFUL_CONFIDENCE:
            left_out[case] = f"doubtful linear alignment (confidence {confidence[case]:.2f})"
        else:
            side = "mi_all" if "/" in group else "mi"
            examples.append(example_of(run, engine, group, about, side))
    return examples, [f"{case}: {reason}" for case, reason in left_out.items()]


def example_of(run: dict, engine: str, group: str, about: dict, side: str) -> Example:
    """Return one example."""
    fixed, moving = about[f"{side}_fixed"], about[f"{side}_moving"]
    dice = {int(label): value for label, value in (run.get("dice_per_label") or {}).items()}
    wanted = list(dice) or about["labels"]
    shared = {entry["label"] for entry in fixed["labels"]} & {entry["label"] for entry in moving["labels"]}
    order = [entry["label"] for entry in fixed["labels"]]
    chosen = [label for label in order if label in shared and (wanted is None or label in wanted)]
    points = label_points(fixed, moving, labels=chosen)
    nats = (fixed["nats"] + moving["nats"]) / 2
    return Example(group, run["case"], engine, run["dice"], points, [dice[n] for n in chosen] if dice else (), nats)


def seconds_of(runs: Sequence[dict], facts: dict) -> dict[str, EngineSeconds]:
    """Return the cost of every engine."""
    measured: dict[str, list[tuple[int, float, float]]] = {}
    for run in runs:
        cost = (facts[run["case"]]["fixed_voxels"], run["cpu_seconds"], run["seconds"])
        measured.setdefault(run["engine"], []).append(cost)
    return {entry: fit_seconds(costs) for entry, costs in sorted(measured.items())}


def recommended(case: str, runs: Sequence[dict], facts: dict) -> str:
    """Return what the rules say of a pair when its dataset was never measured."""
    group = facts[case]["group"]
    strengths = measure_strengths([run for run in runs if run["group"] != group])
    linear = next(run for run in runs if (run["case"], run["engine"]) == (case, "linear"))
    infos = {entry: get_engine(entry.partition(":")[0]).info for entry in ENTRIES}
    engines = tuple(
        EngineFacts(info.name, info.family, info.multimodal, True, (entry,)) for entry, info in infos.items()
    )
    seen = facts[case]["contrast"]
    compared = "could not be compared" not in seen["reason"]
    answer = apply_rules(
        Facts(
            engines=engines,
            strengths=strengths,
            same_contrast=seen["name"] == "lncc" if compared else None,
            contrast_words=seen["reason"],
            confidence=linear["confidence"],
        )
    )
    return answer.ranking[0]


def regret_tables(runs: Sequence[dict], facts: dict) -> str:
    """Return regret per choice over all pairs and per dataset, and what was recommended."""
    by_case: dict[str, dict[str, dict]] = {}
    for run in runs:
        by_case.setdefault(run["case"], {})[run["engine"]] = run
    complete = {case: table for case, table in by_case.items() if all(entry in table for entry in ENTRIES)}
    advice = {case: recommended(case, runs, facts) for case in complete}
    choices = ["recommended", *(f"always {entry}" for entry in ENTRIES), "at random"]
    regrets: dict[str, list[tuple[str, str, float, float, float]]] = {choice: [] for choice in choices}
    for case, table in complete.items():
        measure = "tre_mm" if table["linear"].get("dice") is None else "dice"
        value = {entry: table[entry][measure] * (-1 if measure == "tre_mm" else 1) for entry in ENTRIES}
        share = {entry: gain(table[entry], table["linear"]) or 0.0 for entry in ENTRIES}
        for choice in choices:
            chosen = ENTRIES if choice == "at random" else [advice[case] if choice == "recommended" else choice[7:]]
            lost = float(np.mean([max(value.values()) - value[entry] for entry in chosen]))
            lost_share = float(np.mean([max(share.values()) - share[entry] for entry in chosen]))
            # Every deformable run had the linear alignment first.
            cpu = table["linear"]["cpu_seconds"] + float(
                np.mean([table[entry]["cpu_seconds"] * (entry != "linear") for entry in chosen])
            )
            regrets[choice].append((case, measure, lost, lost_share, cpu))
    rows = []
    for choice, entries in regrets.items():
        dice = [entry for entry in entries if entry[1] == "dice"]
        tre = [entry for entry in entries if entry[1] == "tre_mm"]
        groups = sorted({facts[entry[0]]["group"] for entry in dice})
        per_group = [np.mean([e[2] for e in dice if facts[e[0]]["group"] == group]) for group in groups]
        rows.append(
            [
                choice,
                f"{np.mean([entry[2] for entry in dice]):.4f}",
                f"{np.mean(per_group):.4f}",
                f"{np.max([entry[2] for entry in dice]):.3f}",
                f"{np.mean([entry[2] for entry in tre]):.2f}" if tre else "",
                f"{np.mean([entry[3] for entry in entries]):.3f}",
                f"{np.mean([entry[4] for entry in entries]):.1f}",
            ]
        )
    head = [
        "choice",
        f"regret Dice, {len(dice)} pairs",
        f"the same, mean over {len(groups)} datasets",
        "worst Dice regret",
        f"regret mm, {len(tre)} pairs",
        "regret, share of the linear error",
        "CPU s with linear",
    ]
    said = {entry: [case for case in advice if advice[case] == entry] for entry in ENTRIES}
    what = "; ".join(
        f"{entry}: {len(cases)}" + (f" ({', '.join(cases)})" if len(cases) < 8 else "")
        for entry, cases in said.items()
        if cases
    )
    return markdown(head, rows) + f"\n\nRecommended (each dataset left out of the ranking): {what}."


def coverage_table(examples: Sequence[Example]) -> str:
    """Return error and coverage of the predicted Dice, datasets left out one by one."""
    rows = []
    for entry in ENTRIES:
        judged = cross_validated(examples, entry)
        datasets = sorted({one.example.dataset for one in judged})
        for dataset in datasets:
            own = [one for one in judged if one.example.dataset == dataset]
            rows.append(
                [
                    entry,
                    dataset,
                    str(len(own)),
                    f"{np.mean([one.example.dice for one in own]):.3f}",
                    f"{np.mean([one.predicted for one in own]):.3f}",
                    f"{np.mean([one.baseline for one in own]):.3f}",
                    f"{np.mean([one.half_width for one in own]):.2f}",
                    f"{sum(one.covered for one in own)}/{len(own)}",
                ]
            )
    head = ["engine", "dataset left out", "pairs", "Dice", "predicted", "mean of the others", "band, logit", "in band"]
    calibration = fit_calibration(examples)
    summary = [
        [
            entry,
            str(band.pairs),
            f"{band.error:.3f}",
            f"{band.baseline_error:.3f}",
            f"{band.half_width:.2f}",
            f"{100 * band.coverage:.0f} %",
        ]
        for entry, band in calibration.engines.items()
    ]
    short = ["engine", "pairs", "mean error", "error of the mean", "half width of the band, logit", "coverage"]
    numbers = {key: getattr(calibration, key) for key in ("intercept", "share", "thinness")}
    said = ", ".join(f"{key} {value:.3f}" for key, value in numbers.items())
    about = f"{said}; ranges {calibration.ranges}; the paper's relation here: {calibration.paper}"
    return "\n\n".join([markdown(short, summary), f"Coefficients: {about}.", markdown(head, rows)])


if __name__ == "__main__":
    main()
