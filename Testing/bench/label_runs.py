"""Dice of every label for the kept runs of an engine, as lines that `dvcreg calibrate` takes.

Pairs with finer labels of the same images get a second line, of the dataset 'name/neuromorph'.
Usage: OMP_NUM_THREADS=1 python Testing/bench/label_runs.py --data DATA --out bench/advice
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cases import Case, read_cases
from DeepVsClassicRegLib.core.images.resample import warp_labels
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.core.transforms.transform import Transform


def main() -> None:
    """Score what was made by verdict_runs.py and has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("bench/advice"))
    parser.add_argument("--engine", default="instance")
    arguments = parser.parse_args()
    path = arguments.out / "labels.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    finished = {(run["case"], run["engine"]) for run in map(json.loads, lines)}
    cases = {case.name: case for case in read_cases(arguments.data)}
    for made in map(json.loads, (arguments.out / "made.jsonl").read_text(encoding="utf-8").splitlines()):
        case, engine = cases[made["case"]], made["engine"]
        if (made["kind"], engine) != ("plain", arguments.engine) or (case.name, engine) in finished:
            continue
        if "fixed_labels" not in case.files:
            continue
        transform = read_transform(arguments.out / "runs" / made["file"])
        record = {"case": case.name, "group": case.group, "engine": engine, "status": "done", **scored(case, transform)}
        records = [record]
        finer = case.finer()
        if finer is not None:
            files = {
                name: str(finer.files[key].relative_to(arguments.data))
                for name, key in (("fixed_label", "fixed_labels"), ("moving_label", "moving_labels"))
            }
            records.append({**record, "group": f"{case.group}/neuromorph", **files, **scored(finer, transform)})
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in records)


def scored(case: Case, transform: Transform) -> dict:
    """Return the mean Dice and that of every label, as `evaluate` counts it (nearest neighbor), and nothing else."""
    return dice_of(case.load(), case.labels, transform)


def dice_of(pair: Pair, labels: Sequence[int] | None, transform: Transform) -> dict:
    """Return the mean Dice and that of every label that both segmentations hold."""
    fixed = pair.fixed_labels.array
    warped = warp_labels(pair.moving_labels, pair.fixed_labels.grid, transform).array
    size = 1 + max(int(fixed.max()), int(pair.moving_labels.array.max()))
    in_fixed, in_warped = (np.bincount(array.ravel(), minlength=size) for array in (fixed, warped))
    in_both = np.bincount(fixed[fixed == warped].ravel(), minlength=size)
    shared = set(pair.fixed_labels.labels) & set(pair.moving_labels.labels)
    chosen = sorted(shared if labels is None else shared & set(labels))
    dice = {str(label): round(float(2 * in_both[label] / (in_fixed[label] + in_warped[label])), 5) for label in chosen}
    return {"dice": round(float(np.mean(list(dice.values()))), 5), "dice_per_label": dice}


if __name__ == "__main__":
    main()
