"""Rigid agents beside the linear alignment: success, error, steps and CPU seconds over start offsets; writes AGENTS.md.

Run:  python Testing/bench/agents_bench.py --data /work/shared/data --model FOLDER [--out FOLDER] [--poses 2]

A pose is a turn about a random axis and a shift in a random direction, known exactly, from which both engines start.
The volumes of a case show one head, so that the true map is the identity. A run succeeds when its mean error inside the
object is below 3 mm. Each run is stored as a JSON file in --out; an interrupted benchmark continues there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from DeepVsClassicRegLib.core.api import load_pair, register
from DeepVsClassicRegLib.core.evaluation.region import fixed_region
from DeepVsClassicRegLib.core.files import write_json
from DeepVsClassicRegLib.core.networks.model_store import get_model
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from scipy.spatial.transform import Rotation

SUCCESS_MM = 3.0
LEVELS = ((2.0, 5.0), (10.0, 10.0), (20.0, 20.0), (30.0, 30.0), (40.0, 40.0))  # mm, degrees
PAGE = Path(__file__).with_name("AGENTS.md")
MEASURES = "<!-- measured -->"


def cases(data: Path) -> dict[str, Callable[[], Pair]]:
    """Return the pairs, each of one head: title -> function that loads it."""
    visible = data / "visible"

    def open_ms() -> Pair:
        folder = visible / "brain_openms"
        return load_pair(folder / "patient07_t1.nii.gz", folder / "patient07_t2.nii.gz")

    def phantom() -> Pair:
        made = make_phantom("head", size=64, contrasts=("t1", "t2"), amplitude_mm=1e-6, affine=Affine.identity()).pair
        return Pair(made.fixed, made.moving)

    def brain() -> Pair:
        return load_pair(visible / "brain_fs" / "bert_t1.nii.gz", visible / "brain_fs" / "bert_t1.nii.gz")

    return {"phantom T1/T2": phantom, "open_ms T1/T2": open_ms, "brain T1 (bert)": brain}


def starts(pair: Pair, shift_mm: float, turn_deg: float, count: int) -> list[Affine]:
    """Return random poses of a size about the middle of the fixed volume, the same in each run."""
    rng, found = np.random.default_rng([5, round(shift_mm)]), []
    for _ in range(count):
        axis, way = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
        matrix = Rotation.from_rotvec(np.radians(turn_deg) * axis).as_matrix()
        found.append(Affine.about(matrix, pair.fixed.grid.center_mm, shift_mm * way))
    return found


def measured(pair: Pair, start: Affine, engine: str, settings: dict[str, Any], points: Any) -> dict[str, Any]:
    """Return the mean error before and after in mm, CPU seconds and steps of a run."""
    result = register(pair.replace(initial=Transform((start,))), engine, settings=settings, threads=1)
    errors = [float(np.linalg.norm(each.apply(points) - points, axis=1).mean()) for each in (start, result.transform)]
    diagnostics = result.diagnostics
    return {
        "before_mm": errors[0],
        "after_mm": errors[1],
        "cpu_seconds": sum(diagnostics.cpu_seconds.values()),
        "steps": sum(point.iteration > 0 for point in diagnostics.trace),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows grouped by case, offset and engine as a Markdown table."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["offset"], row["engine"]), []).append(row)
    lines = [
        "| case | start: mm, degrees | engine | before mm | success | final error mm | steps | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (case, offset, engine), found in groups.items():
        won = sum(row["after_mm"] < SUCCESS_MM for row in found)
        after = " ".join(f"{row['after_mm']:.1f}" for row in found)
        means = [float(np.mean([row[name] for row in found])) for name in ("before_mm", "steps", "cpu_seconds")]
        steps = f"{means[1]:.0f}" if engine == "agent" else ""
        lines.append(
            f"| {case} | {offset} | {engine} | {means[0]:.1f} | {won} of {len(found)} | {after} | {steps} | "
            f"{means[2]:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and write the table between the marks of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="auto", help="Model of the rigid agent; '' for the linear alignment only.")
    parser.add_argument("--out", type=Path, default=Path("agents-runs"))
    parser.add_argument("--poses", type=int, default=2)
    options = parser.parse_args()
    engines: dict[str, dict[str, Any]] = {"linear": {"kind": "rigid"}}
    name = ""
    if options.model:
        model = options.model
        engines["agent"] = {"model": model}
        name = "" if model == "auto" else get_model(model).card.sha256[:8]
    rows = []
    for case, load in cases(options.data).items():
        pair: Pair | None = None
        for shift, turn in LEVELS:
            for number in range(options.poses):
                for engine, settings in engines.items():
                    tag = f"{case}-{shift:g}-{turn:g}-{number}-{engine}{name if engine == 'agent' else ''}"
                    path = options.out / f"{tag.replace(' ', '_').replace('/', '_')}.json"
                    if not path.is_file():
                        pair = pair or load()
                        points = pair.fixed.grid.points()[fixed_region(pair)[0]][::50]
                        start = starts(pair, shift, turn, options.poses)[number]
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_json(path, measured(pair, start, engine, settings, points))
                    row = json.loads(path.read_text(encoding="utf-8"))
                    rows.append({"case": case, "offset": f"{shift:g}, {turn:g}", "engine": engine, **row})
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else f"# Agents\n\n{MEASURES}\n{MEASURES}\n"
    before, _, after = text.split(MEASURES)
    PAGE.write_text(f"{before}{MEASURES}\n{table(rows)}\n{MEASURES}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
