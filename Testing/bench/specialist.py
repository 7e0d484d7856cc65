"""Which pairs the bundled specialist accepts: own ones, shifted ones, two scans of one subject, other anatomy.

Writes `specialist.md` into --out. Usage: OMP_NUM_THREADS=1 python Testing/bench/specialist.py --data DATA --out FOLDER
(the folder of methods_bench.py, which holds the crops of other sources and the linear starts).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cases import Case, read_cases
from DeepVsClassicRegLib.core.engines.network.model_choice import choose_model
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from domain_roc import SHIFTS
from scipy.spatial.transform import Rotation
from table import markdown
from verdict_runs import safe

TRAINING = "training/indomain_1mm/hippocampus_msd"
NAME = "vfa-hippocampus"
TRAINING_PAIRS = 100


def main() -> None:
    """Ask the domain check about every pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    own = read_cases(arguments.data, only="hippo")
    starts = arguments.out / "classical-in_domain"
    groups = {
        "own: visible pairs, linear start": (pair_of(case, starts) for case in own),
        "own: pairs of the training data": training_pairs(arguments.data / TRAINING),
        "crops of other brains, linear start": crops(arguments.out),
        "other anatomy: all other visible pairs": (
            case.load() for case in read_cases(arguments.data) if "hippo" not in case.name
        ),
        "one subject: noise, brightness, turned and shifted": (
            rescan(case.load().fixed, n) for n, case in enumerate(own)
        ),
    }
    for shift in SHIFTS:
        if shift != "none":
            groups[shift] = (shifted(pair_of(case, starts), shift) for case in own)
    rows = []
    for group, pairs in groups.items():
        answers = [choose_model(pair.without_annotations(), NAME).in_domain for pair in pairs]
        rows.append([group, str(len(answers)), str(sum(answers))])
        print(*rows[-1], flush=True)
    table = markdown(["pairs", "number", "accepted"], rows)
    (arguments.out / "specialist.md").write_text(table + "\n", encoding="utf-8")


def pair_of(case: Case, starts: Path) -> Pair:
    """Return the pair with its linear start."""
    return case.load().replace(initial=read_transform(starts / f"{safe(case.name)}.h5"))


def crops(out: Path) -> Iterator[Pair]:
    """Yield the hippocampus crops of brains of other sources."""
    for case in read_cases(out / "crops"):
        yield pair_of(case, out / "classical-elsewhere")


def training_pairs(folder: Path) -> Iterator[Pair]:
    """Yield random pairs of the training data, by their headers."""
    files = sorted(folder.glob("*_t1*"))
    draws = np.random.default_rng(0)
    for _ in range(TRAINING_PAIRS):
        fixed, moving = draws.choice(len(files), 2, replace=False)
        yield Pair(read_volume(files[fixed]), read_volume(files[moving]))


def rescan(volume: Volume, seed: int) -> Pair:
    """Return a volume and the same subject with noise and another brightness, turned by 5 degrees, shifted by 2 mm."""
    draws = np.random.default_rng(seed)
    axis = draws.normal(size=3)
    turn = Rotation.from_rotvec(np.deg2rad(5) * axis / np.linalg.norm(axis)).as_matrix()
    moved = warp_volume(volume, volume.grid, Transform((Affine.about(turn, volume.grid.center_mm, [2.0, 0.0, 0.0]),)))
    noise = draws.normal(scale=0.1 * volume.array.std(), size=volume.array.shape)
    return Pair(volume, Volume((1.2 * moved.array + noise).astype(np.float32), volume.grid))


def shifted(pair: Pair, shift: str) -> Pair:
    """Return the pair with both volumes changed."""
    change = SHIFTS[shift]
    return Pair(change(pair.fixed), change(pair.moving), initial=pair.initial)


if __name__ == "__main__":
    main()
