"""Write the phantoms and the manifest of the demo cohort (`make cohort`)."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DeepVsClassicReg"))

from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom

ROLES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")


def write_cohort(folder: Path, *, count: int, size: int) -> Path:
    """Write `count` phantoms, heads and lungs by turns, and return the manifest.

    Parameters
    ----------
    folder : Path
        Receives one folder per phantom and pairs.csv.
    count : int
        Number of pairs.
    size : int
        Voxels per axis.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "subject", "group", *ROLES])
        writer.writeheader()
        for number in range(count):
            kind = ("head", "lung")[number % 2]
            name = f"{kind}-{number:02d}"
            if not (folder / name / "truth.h5").is_file():
                write_phantom(make_phantom(kind, size=size, seed=number), folder / name)
            files = {
                role: f"{name}/{role.replace('labels', 'seg')}{'.csv' if 'points' in role else '.nii.gz'}"
                for role in ROLES
            }
            writer.writerow({"id": name, "subject": f"S{number:02d}", "group": kind, **files})
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--size", type=int, default=48)
    given = parser.parse_args()
    write_cohort(given.folder, count=given.count, size=given.size)
