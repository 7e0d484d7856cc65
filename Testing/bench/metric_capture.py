"""Capture range of learned metrics beside mutual information and MIND: two contrasts of one subject, known poses.

Run:  python Testing/bench/metric_capture.py --data /work/shared/data --out capture [--models auto] [--poses 2]

A pose is a rotation about a random axis and a shift in a random direction; all methods begin at the headers' alignment
of the moved volumes. The error is the mean distance from the known alignment inside the fixed object; a run succeeds
below 3 mm. Mutual information is the engine `linear` (rigid), with its own search. MIND (Heinrich et al., MICCAI 2013)
and the models are minimized by the same search, that of the engine `learned-metric`. The prostate pairs (MR to
ultrasound) are of one patient, and their true pose is not known: the headers' pose is taken for it, so their errors
contain its error, and a success ends below 6 mm. Finished lines of runs.jsonl are not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from DeepVsClassicRegLib.core.api import load_pair, register
from DeepVsClassicRegLib.core.device import Compute, torch_threads
from DeepVsClassicRegLib.core.engines.base import Recorder
from DeepVsClassicRegLib.core.engines.engine_input import in_units
from DeepVsClassicRegLib.core.engines.learned_metric.engine import LearnedMetricSettings, align_by
from DeepVsClassicRegLib.core.evaluation.region import fixed_region
from DeepVsClassicRegLib.core.losses.mind import mind_ssc
from DeepVsClassicRegLib.core.networks.base import PatchScores, RegistrationNetwork
from DeepVsClassicRegLib.core.networks.patch import patch_means
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from scipy.spatial.transform import Rotation

LEVELS = ((2.0, 5.0), (5.0, 5.0), (10.0, 10.0), (20.0, 20.0), (40.0, 40.0))  # mm, degrees


class Mind(RegistrationNetwork):
    """The squared difference of self-similarity descriptors, as a metric."""

    scale_free, stride, multiple = True, 4, 4

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> PatchScores:
        """Return the mean squared difference of each block of 4 voxels."""
        difference = (mind_ssc(fixed) - mind_ssc(moving)).square().mean(1, keepdim=True)
        return PatchScores(patch_means(difference, self.stride), self.stride)


def by_mutual_information(pair: Pair) -> Transform:
    """Return the alignment of the engine `linear`."""
    return register(pair, "linear", settings={"kind": "rigid"}, threads=1).transform


def by_mind(pair: Pair) -> Transform:
    """Return the alignment by MIND."""
    scaled, unit = in_units(pair)
    start = scaled.initial.affine if scaled.initial is not None else None
    compute = Compute(device="cpu", threads=1)
    with torch_threads(1):
        found = align_by(
            Mind(), scaled, start, LearnedMetricSettings(), Progress(), Recorder(compute, device="cpu"), 0, "cpu"
        )
    return Transform((found,)).scaled(unit)


def by_model(model: str) -> Callable[[Pair], Transform]:
    """Return the alignment by a learned metric."""
    return lambda pair: register(pair, "learned-metric", settings={"model": model}, threads=1).transform


def tasks(data: Path) -> dict[str, tuple[Pair, float]]:
    """Return title -> pair that is aligned, and the error below which a run succeeds."""
    brains, prostates = data / "visible" / "brain_openms", data / "visible" / "prostate_mr_us_demo"
    phantom = make_phantom("head", size=96, contrasts=("t1", "t2"), amplitude_mm=0.01, affine=Affine.identity()).pair
    found = {"phantom T2 to T1": (phantom.without_annotations(), 3.0)}
    for patient in ("patient07", "patient26"):
        found[f"{patient} T2 to T1"] = (
            load_pair(brains / f"{patient}_t1.nii.gz", brains / f"{patient}_t2.nii.gz"), 3.0,
        )  # fmt: skip
    for number in ("000000", "000001"):
        pair = load_pair(prostates / f"{number}_us.nii.gz", prostates / f"{number}_mr.nii.gz")
        found[f"prostate {number} MR to US"] = (pair, 6.0)
    return found


def pose(pair: Pair, shift: float, turn: float, seed: int) -> Affine:
    """Return a random rigid map about the center of the fixed volume."""
    axis, way = (each / np.linalg.norm(each) for each in np.random.default_rng(seed).normal(size=(2, 3)))
    return Affine.about(
        Rotation.from_rotvec(np.radians(turn) * axis).as_matrix(), pair.fixed.grid.center_mm, shift * way
    )


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="auto", metavar="A,B", help="Models, by name or folder.")
    parser.add_argument("--poses", type=int, default=2)
    parser.add_argument("--levels", default="", metavar="MM,MM", help="Only the levels with these shifts.")
    parser.add_argument("--only", default="", help="Only the tasks whose titles contain this.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "runs.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    methods: dict[str, Callable[[Pair], Transform]] = {"mutual information": by_mutual_information, "MIND": by_mind}
    methods |= {f"model {Path(name).name}": by_model(name) for name in options.models.split(",")}
    wanted = [float(entry) for entry in options.levels.split(",") if entry]
    for title, (pair, limit) in tasks(options.data).items():
        if options.only not in title:
            continue
        points = pair.fixed.grid.points()[fixed_region(pair)[0]][::50]
        for shift, turn in LEVELS:
            for number in range(options.poses if not wanted or shift in wanted else 0):
                start = pose(pair, shift, turn, 100 * int(shift) + number)
                for name, align in methods.items():
                    key = {"task": title, "shift": shift, "turn": turn, "pose": number, "method": name}
                    if any(key.items() <= row.items() for row in done):
                        continue
                    begun = time.process_time()
                    found = align(pair.replace(initial=Transform((start,))))
                    seconds = time.process_time() - begun
                    error = float(np.linalg.norm(found.apply(points) - points, axis=1).mean())
                    row = {**key, "error_mm": round(error, 2), "success": error < limit, "cpu_s": round(seconds, 1)}
                    done.append(row)
                    with log.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    table(done)


def table(rows: list[dict[str, Any]]) -> None:
    """Print a line per task and method: successes and errors of every level, and CPU time."""
    levels = sorted({(row["shift"], row["turn"]) for row in rows})
    print("| task | method |" + "".join(f" {s:g} mm, {t:g}° |" for s, t in levels) + " CPU s |")
    print("|---|---|" + "---|" * (len(levels) + 1))
    for task, method in dict.fromkeys((row["task"], row["method"]) for row in rows):
        own = [row for row in rows if (row["task"], row["method"]) == (task, method)]
        cells = []
        for level in levels:
            here = [row for row in own if (row["shift"], row["turn"]) == level]
            errors = " ".join(f"{row['error_mm']:.1f}" for row in here)
            cells.append(f"{sum(row['success'] for row in here)} of {len(here)}: {errors}" if here else "")
        print(f"| {task} | {method} | " + " | ".join(cells) + f" | {np.mean([row['cpu_s'] for row in own]):.0f} |")


if __name__ == "__main__":
    main()
