"""Capture range of the learned metric beside mutual information: two contrasts of one person, moved by known poses.

Run:  python Testing/bench/metric_capture.py --data /work/shared/data [--model auto] [--poses 2]

A pose is a turn about a random axis and a shift in a random direction; both engines begin at the headers' alignment of
the moved volumes. A run succeeds when its mean error inside the head is below 3 mm.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from DeepVsClassicRegLib.core.api import load_pair, register
from DeepVsClassicRegLib.core.evaluation.region import fixed_region
from DeepVsClassicRegLib.core.transforms.affine import Affine
from DeepVsClassicRegLib.core.transforms.transform import Transform
from scipy.spatial.transform import Rotation

SUCCESS_MM = 3.0
LEVELS = ((5.0, 5.0), (10.0, 10.0), (20.0, 20.0), (40.0, 40.0))  # mm, degrees


def main() -> None:
    """Print a line per size of the pose."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--poses", type=int, default=2)
    options = parser.parse_args()
    folder, rng = options.data / "visible" / "brain_openms", np.random.default_rng(5)
    pair = load_pair(folder / "patient07_t1.nii.gz", folder / "patient07_t2.nii.gz")
    points = pair.fixed.grid.points()[fixed_region(pair)[0]][::50]
    print("| shift mm, turn degrees | engine | successes | errors mm | seconds |\n|---|---|---|---|---|", flush=True)
    for shift, turn in LEVELS:
        starts = []
        for _ in range(options.poses):
            axis, way = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
            matrix = Rotation.from_rotvec(np.radians(turn) * axis).as_matrix()
            starts.append(Affine.about(matrix, pair.fixed.grid.center_mm, shift * way))
        for engine, settings in (("linear", {"kind": "rigid"}), ("learned-metric", {"model": options.model})):
            errors, begun = [], time.perf_counter()
            for start in starts:
                found = register(pair.replace(initial=Transform((start,))), engine, settings=settings, threads=1)
                errors.append(float(np.linalg.norm(found.transform.apply(points) - points, axis=1).mean()))
            seconds = (time.perf_counter() - begun) / len(starts)
            words = " ".join(f"{error:.1f}" for error in errors)
            won = sum(error < SUCCESS_MM for error in errors)
            print(f"| {shift:g}, {turn:g} | {engine} | {won} of {len(starts)} | {words} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
