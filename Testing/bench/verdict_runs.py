"""Make runs for the verdict benchmark: good ones from the stored linear starts, and runs broken on purpose.

Every run is kept as transform (`<out>/runs/*.h5`) and a line of `<out>/made.jsonl`; what has a line is not run again.
Usage: OMP_NUM_THREADS=1 python Testing/bench/verdict_runs.py --data DATA --starts bench/joined --out bench/advice
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from cases import Case, read_cases
from DeepVsClassicRegLib.core.api import register
from DeepVsClassicRegLib.core.device import cpu_seconds
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.transforms.files import read_transform, write_transform
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

SMALL = ("hippo", "prostate", "abdomen")
LARGE = ("malf", "lpba", "lung")
MIRRORED = (
    "malf_oasis:1003",
    "malf_oasis:1119",
    "lpba40:S02",
    "hippo 015",
    "hippo 097",
    "hippo 142",
    "liver_mr dataset19",
)
MISPLACED = ("malf_oasis:1113", "lpba40:S03", "hippo 075", "hippo 175", "hippo 249", "liver_mr dataset23", "lung")
# Fixed volume of the first, moving volume of the second.
WRONG = (
    ("hippo 015", "liver_mr dataset19 cyc_1_6"),
    ("hippo 097", "prostate mr->us 000001"),
    ("liver_mr dataset23 cyc_1_4", "hippo 142"),
    ("prostate mr->us 000000", "hippo 303"),
    ("abdomen", "hippo 355"),
    ("lpba40:S02", "lung"),
    ("lung", "malf_oasis:1003"),
    ("malf_oasis:1004", "liver_mr dataset19 cyc_1_6"),
)


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--starts", type=Path, default=Path("bench/joined"))
    parser.add_argument("--out", type=Path, default=Path("bench/advice"))
    arguments = parser.parse_args()
    (arguments.out / "runs").mkdir(parents=True, exist_ok=True)
    made = arguments.out / "made.jsonl"
    lines = made.read_text(encoding="utf-8").splitlines() if made.is_file() else []
    finished = {(entry["case"], entry["engine"], entry["kind"]) for entry in map(json.loads, lines)}
    for case, engine, kind, other in wanted(read_cases(arguments.data)):
        if (case.name, engine, kind) in finished:
            continue
        record = make(case, engine, kind, other, arguments)
        with made.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def wanted(cases: list[Case]) -> list[tuple[Case, str, str, Case | None]]:
    """Return (case, engine, kind, other case) of all runs, the cheap ones first."""
    jobs: list[tuple[Case, str, str, Case | None]] = []
    small = [case for case in cases if case.name.startswith(SMALL)]
    jobs += [(case, "instance", "plain", None) for case in small]
    jobs += [(case, "greedy", "plain", None) for case in small]
    rough = [case for case in small if not case.name.startswith("hippo")]
    jobs += [(case, engine, "plain", None) for case in rough for engine in ("ants:quick", "elastix")]
    jobs += [(case, "instance", "plain", None) for case in cases if case not in small]
    broken = [(first(cases, name), "instance", "misplaced", None) for name in MISPLACED]
    broken += [(first(cases, one), "instance", f"wrong:{other}", first(cases, other)) for one, other in WRONG]
    broken += [(first(cases, name), "instance", "mirrored", None) for name in MIRRORED]
    return jobs + sorted(broken, key=lambda job: job[0].name.startswith(LARGE))


def first(cases: list[Case], name: str) -> Case:
    """Return the first case whose name begins so."""
    return next(case for case in cases if case.name.startswith(name))


def prepared(case: Case, kind: str, other: Case | None) -> Pair:
    """Return the pair of a kind of run, with segmentations and landmarks where they still belong to it."""
    pair = case.load()
    if kind == "mirrored":
        return mirrored(pair)
    if other is not None:
        return Pair(pair.fixed, other.load().moving)
    return pair


def mirrored(pair: Pair) -> Pair:
    """Return the pair with the moving voxels mirrored left to right, as after a lost sign in a header."""
    axis = int(np.argmax(np.abs(pair.moving.grid.axes[0])))
    flip = [slice(None)] * 3
    flip[2 - axis] = slice(None, None, -1)
    moving = Volume(pair.moving.array[tuple(flip)], pair.moving.grid, "mirrored")
    labels = pair.moving_labels
    if labels is not None:
        labels = LabelMap(labels.array[tuple(flip)], labels.grid, labels.names)
    return Pair(pair.fixed, moving, fixed_labels=pair.fixed_labels, moving_labels=labels)


def misplaced(start: Transform, pair: Pair) -> Transform:
    """Return a start turned by 50 degrees and shifted by a fifth of the view."""
    center, angle = pair.fixed.grid.center_mm, np.deg2rad(50)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    wrong = Affine.about(turn, center, 0.2 * pair.fixed.grid.extent_mm)
    return Transform((wrong, *start.parts))


def safe(text: str) -> str:
    """Return a name for files."""
    return "".join(letter if letter.isalnum() else "_" for letter in text)


def make(case: Case, engine: str, kind: str, other: Case | None, arguments: argparse.Namespace) -> dict:
    """Register, keep the transform, and return the line."""
    pair = prepared(case, kind, other).without_annotations()
    if kind in ("plain", "misplaced"):
        start = read_transform(arguments.starts / f"{safe(case.name)}.h5")
        pair = pair.replace(initial=misplaced(start, pair) if kind == "misplaced" else start)
    name, _, preset = engine.partition(":")
    before = cpu_seconds()
    record = {"case": case.name, "group": case.group, "engine": engine, "kind": kind}
    try:
        result = register(pair, name, preset=preset or "default", threads=1)
    except RegistrationError as error:
        return {**record, "status": "failed", "reason": str(error)}
    stem = f"{safe(case.name)}__{safe(engine)}__{safe(kind)}"
    write_transform(result.transform, arguments.out / "runs" / f"{stem}.h5")
    if result.start is not None:
        write_transform(result.start, arguments.out / "runs" / f"{stem}.start.h5")
    return {
        **record,
        "status": "done",
        "file": f"{stem}.h5",
        "other": other.name if other else None,
        "confidence": result.diagnostics.confidence,
        "notes": list(result.diagnostics.notes),
        "cpu_seconds": round(cpu_seconds() - before, 2),
    }


if __name__ == "__main__":
    main()
