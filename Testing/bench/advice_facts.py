"""Gather once what the recommendation may know of every pair, into `<out>/facts.jsonl` (a pair with a line is skipped).

Usage: OMP_NUM_THREADS=1 python Testing/bench/advice_facts.py --data DATA --starts bench/joined --out bench/advice
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from cases import Case, read_cases
from DeepVsClassicRegLib.core.engines.instance.similarity_selection import similarity_for
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.recommendation.mutual_information import mutual_information
from DeepVsClassicRegLib.core.recommendation.tissue import rough_information
from DeepVsClassicRegLib.core.transforms.files import read_transform
from verdict_runs import safe

WORKING_MM = 2.0


def main() -> None:
    """Gather what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--starts", type=Path, default=Path("bench/joined"))
    parser.add_argument("--out", type=Path, default=Path("bench/advice"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "facts.jsonl"
    known = {json.loads(line)["case"] for line in path.read_text().splitlines()} if path.is_file() else set()
    for case in read_cases(arguments.data):
        if case.name not in known:
            record = facts(case, arguments.starts)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def facts(case: Case, starts: Path) -> dict:
    """Return the facts of a pair."""
    pair = case.load()
    record = {
        "case": case.name,
        "group": case.group,
        "kind": case.kind,
        "labels": case.labels,
        "fixed_voxels": pair.fixed.grid.voxel_count,
        "moving_voxels": pair.moving.grid.voxel_count,
        **information(pair, "mi"),
    }
    finer = case.finer()
    if finer is not None:
        record |= information(finer.load(), "mi_all")
    began = time.process_time()
    record["rough_fixed"] = rough_information(pair.fixed).to_json()
    record["rough_moving"] = rough_information(pair.moving).to_json()
    record["rough_cpu_s"] = round(time.process_time() - began, 3)
    began = time.process_time()
    aligned = pair.without_annotations().replace(initial=read_transform(starts / f"{safe(case.name)}.h5"))
    selected = similarity_for(aligned, resolution_mm=WORKING_MM, memory_gib=4.0)
    record["contrast"] = {"name": selected.name, "reason": selected.reason}
    record["contrast_cpu_s"] = round(time.process_time() - began, 3)
    return record


def information(pair: Pair, name: str) -> dict:
    """Return the mutual information of both sides."""
    if pair.fixed_labels is None or pair.moving_labels is None:
        return {}
    began = time.process_time()
    found = {
        f"{name}_fixed": mutual_information(pair.fixed, pair.fixed_labels).to_json(),
        f"{name}_moving": mutual_information(pair.moving, pair.moving_labels).to_json(),
    }
    return {**found, f"{name}_cpu_s": round(time.process_time() - began, 3)}


if __name__ == "__main__":
    main()
