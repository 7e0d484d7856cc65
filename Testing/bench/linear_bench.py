"""Benchmark of the linear alignment: Dice, landmark error, CPU seconds and confidence of every listed pair.

Usage: OMP_NUM_THREADS=1 python Testing/bench/linear_bench.py DATA [--out CSV] [--preset P] [--only TEXT] [--set k=v]
DATA holds manifest.json; pairs already in the CSV are not run again.
"""

# ruff: noqa: E402 - thread limits must be set before numpy is imported

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DeepVsClassicReg"))

from DeepVsClassicRegLib.core.device import Compute, cpu_seconds, sitk_threads
from DeepVsClassicRegLib.core.engines.linear.engine import LinearEngine
from DeepVsClassicRegLib.core.engines.linear.settings import LinearSettings
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume
from DeepVsClassicRegLib.core.images.points import read_landmarks
from DeepVsClassicRegLib.core.images.resample import warp_labels
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.settings import make_settings

COLUMNS = [
    "id",
    "dice_header",
    "dice_centred",
    "dice",
    "tre_header",
    "tre_mean_translation",
    "tre",
    "cpu_s",
    "confidence",
    "kept",
    "notes",
]


def main() -> None:
    """Run every pair that has no row yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/bench/linear.csv"))
    parser.add_argument("--preset", default="default")
    parser.add_argument("--only", default="", help="run only pairs whose id holds this text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    settings = make_settings(LinearSettings, "linear", options.preset, dict(item.split("=", 1) for item in options.set))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = read_rows(options.out)
    for entry in json.loads((options.data / "manifest.json").read_text(encoding="utf-8")):
        if options.only not in entry["id"]:
            continue
        if entry["id"] not in rows:
            rows[entry["id"]] = run(entry, options.data, settings, options.seed)
            write_rows(options.out, rows)
        show(rows[entry["id"]])
    summarize(list(rows.values()))


def run(entry: dict, data: Path, settings: LinearSettings, seed: int) -> dict[str, str]:
    """Align one pair and measure it."""

    pair = load(entry, data)
    compute = Compute(device="cpu", threads=1, seed=seed)
    with sitk_threads(1):
        begin = cpu_seconds()
        result = LinearEngine().run(pair.without_annotations(), settings, Progress(), compute)
        seconds = cpu_seconds() - begin
        row = {
            "id": entry["id"],
            "dice_header": entry.get("dice_header"),
            "dice_centred": entry.get("dice_centred"),
            "dice": mean_dice(pair, entry.get("labels"), result.transform) if pair.fixed_labels else None,
            "tre_header": entry.get("tre_header_mm"),
            "tre_mean_translation": entry.get("tre_after_mean_translation_mm"),
            "tre": landmark_error(pair, result.transform) if pair.fixed_points is not None else None,
            "cpu_s": seconds,
            "confidence": result.diagnostics.confidence,
            "kept": result.diagnostics.stop_condition.split()[0],
            "notes": " | ".join(result.diagnostics.notes),
        }
    return {key: f"{value:.3f}" if isinstance(value, float) else str(value or "") for key, value in row.items()}


def load(entry: dict, data: Path) -> Pair:
    """Read the volumes, labels and landmarks of a manifest entry."""

    def part(key: str, reader, **options):
        return reader(data / entry[key], **options) if entry.get(key) else None

    def points(path: Path, prefix: str):
        return read_landmarks(path, prefix=prefix).points_mm

    return Pair(
        read_volume(data / entry["fixed"]),
        read_volume(data / entry["moving"]),
        fixed_labels=part("fixed_label", read_labels),
        moving_labels=part("moving_label", read_labels),
        fixed_points=part("landmarks", points, prefix="fixed_"),
        moving_points=part("landmarks", points, prefix="moving_"),
    )


def mean_dice(pair, labels, transform) -> float:
    """Return the mean Dice of the listed labels, nearest neighbor warping."""
    warped = warp_labels(pair.moving_labels, pair.fixed_labels.grid, transform).array
    fixed = pair.fixed_labels.array
    top = int(max(warped.max(), fixed.max())) + 1
    both = np.bincount(fixed[fixed == warped].ravel(), minlength=top)
    sizes = np.bincount(fixed.ravel(), minlength=top) + np.bincount(warped.ravel(), minlength=top)
    return float(np.mean([2 * both[label] / sizes[label] if sizes[label] else 0.0 for label in labels]))


def landmark_error(pair, transform) -> float:
    """Return the mean distance of mapped fixed landmarks from their partners, mm."""
    return float(np.linalg.norm(transform.apply(pair.fixed_points) - pair.moving_points, axis=1).mean())


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a former run by pair."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def write_rows(path: Path, rows: dict[str, dict[str, str]]) -> None:
    """Write all rows, in one go."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows.values())


def show(row: dict[str, str]) -> None:
    """Print one row, marking pairs worse than centring (or the header, where that is better)."""
    worse = False
    if row["dice"]:
        worse = float(row["dice"]) < max(float(row["dice_header"]), float(row["dice_centred"]))
    if row["tre"]:
        worse = worse or float(row["tre"]) > float(row["tre_mean_translation"])
    print(
        f"{row['id']:40s} header {row['dice_header']:>6s} centred {row['dice_centred']:>6s} ours {row['dice']:>6s}  "
        f"TRE {row['tre_header']:>6s} {row['tre_mean_translation']:>6s} {row['tre']:>6s}  {row['cpu_s']:>6s} s  "
        f"confidence {row['confidence']} {row['kept']:10s} {'WORSE' if worse else ''} {row['notes']}",
        flush=True,
    )


def summarize(rows: list[dict[str, str]]) -> None:
    """Print means over the pairs."""
    dice = [float(row["dice"]) for row in rows if row["dice"]]
    error = [float(row["tre"]) for row in rows if row["tre"]]
    seconds = [float(row["cpu_s"]) for row in rows]
    text = [f"{len(rows)} pairs, CPU mean {np.mean(seconds):.2f} s, max {np.max(seconds):.2f} s"]
    text += [f"mean Dice {np.mean(dice):.4f}"] if dice else []
    text += [f"mean TRE {np.mean(error):.2f} mm"] if error else []
    print("; ".join(text))


if __name__ == "__main__":
    main()
