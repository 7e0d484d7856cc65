"""Halves of the moving volume: how often a deformation loses against its linear start where the start sees the pair.

Usage: python Testing/bench/halves.py --data DATA [--engine instance]

Every visible hippocampus pair is cut in two along two axes; engine and linear start see one half without labels. Prints
Dice in the fixed voxels that the start maps into the half, before and after.
"""

# ruff: noqa: E402 - thread limits must be set before numpy is imported

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
from cases import read_cases
from DeepVsClassicRegLib.core.api import register
from DeepVsClassicRegLib.core.engines.partial_views import seen_voxels
from DeepVsClassicRegLib.core.images.resample import warp_labels
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair

AXES = {"j": 1, "k": 2}
LOSS = 0.005


def halves(pair: Pair) -> Iterator[tuple[str, Volume, LabelMap]]:
    """Yield name, moving volume and moving labels of each half."""
    for name, axis in AXES.items():
        middle = pair.moving.grid.size[axis] // 2
        for half, first, count in (("lower", 0, middle), ("upper", middle, pair.moving.grid.size[axis] - middle)):
            start, size = [0, 0, 0], list(pair.moving.grid.size)
            start[axis], size[axis] = first, count
            grid = pair.moving.grid.cropped(start, size)
            part = tuple(slice(begin, begin + n) for begin, n in zip(start[::-1], size[::-1], strict=True))
            volume = Volume(np.ascontiguousarray(pair.moving.array[part]), grid, pair.moving.name)
            labels = LabelMap(np.ascontiguousarray(pair.moving_labels.array[part]), grid)
            yield f"{half} half along {name}", volume, labels


def dice(fixed: np.ndarray, warped: np.ndarray, inside: np.ndarray) -> float:
    """Return the mean Dice of the labels that the fixed volume has inside a region."""
    found = []
    for label in np.unique(fixed[inside & (fixed > 0)]):
        one, other = (fixed == label) & inside, (warped == label) & inside
        found.append(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))
    return float(np.mean(found)) if found else float("nan")


def main() -> None:
    """Measure, and print a line per half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--engine", default="instance")
    given = parser.parse_args()
    gains = []
    for case in read_cases(given.data):
        if not case.name.startswith("hippo"):
            continue
        pair = case.load()
        for name, volume, labels in halves(pair):
            seen_pair = Pair(pair.fixed, volume)
            start = register(seen_pair, "linear", threads=1).transform
            found = register(seen_pair.replace(initial=start), given.engine, threads=1).transform
            inside = seen_voxels(pair.fixed.grid, volume, start)
            before, after = (
                dice(pair.fixed_labels.array, warp_labels(labels, pair.fixed.grid, transform).array, inside)
                for transform in (start, found)
            )
            gains.append(after - before)
            print(f"{case.name}, {name}: {before:.3f} -> {after:.3f} ({gains[-1]:+.3f})", flush=True)
    values = np.array(gains)
    print(f"{len(values)} halves: mean {values.mean():+.3f}, {(values < -LOSS).sum()} lose, worst {values.min():+.3f}")


if __name__ == "__main__":
    main()
