"""Serial sections with known deformations: the error in pixels that `dvc.stack` leaves, for several similarities.

Run:  python Testing/bench/stacks_bench.py --data DATA --out stacks [--sections 24] [--shrink 1] [--steps 300]

Axial sections of a brain (LPBA40) are moved by independent known maps: a rotation, a shift and a smooth deformation.
The features are those of an auto-encoder (ssemnet) trained on the moved sections themselves. The error is the distance
of every brain pixel from where it was, after the shift of the whole stack that fits best (nothing tells where a stack
lies); "bend" is its part that changes slowly along the stack, "jitter" the rest. Finished lines of runs.jsonl are not
computed again; the last output is the table of STACKS.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from DeepVsClassicRegLib.core.evaluation.plotting import png_bytes
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_volume, write_volume
from DeepVsClassicRegLib.core.images.resample import sampled_on
from DeepVsClassicRegLib.core.images.sections import Sections
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.stacks.plane import composed, displacement_of, sampled
from DeepVsClassicRegLib.core.stacks.report import cuts
from DeepVsClassicRegLib.core.stacks.stack import stack
from scipy import ndimage

TURN_DEG, SHIFT_PX, FIELD_PX, FIELD_SCALE_PX = 6.0, 4.0, 2.0, 14.0
SLOW = 4.0  # sections: sigma of the slow part of the error
LNCC, MI = {"similarity": "lncc"}, {"similarity": "mi"}
SMOOTH = {"sigma_field": 2.0, "sigma_update": 3.0}


def known_maps(count: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return the random map of each section, (N, 2, Y, X) pixels."""
    rng, middle, maps = np.random.default_rng(seed), (np.array(shape) - 1) / 2, []
    for _ in range(count):
        angle = np.radians(rng.uniform(-TURN_DEG, TURN_DEG))
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = middle - matrix @ middle + rng.uniform(-SHIFT_PX, SHIFT_PX, 2)
        field = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), FIELD_SCALE_PX) for _ in range(2)])
        field *= FIELD_PX / field.std()
        maps.append(composed(field, displacement_of(np.column_stack([matrix, shift]), shape)))
    return np.stack(maps)


def judged(maps: np.ndarray, known: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """Return the mean errors in pixels inside the object."""
    total = np.stack([composed(u, g) for u, g in zip(maps, known, strict=True)])
    total -= np.array([component[inside].mean() for component in total.swapaxes(0, 1)])[None, :, None, None]
    slow = ndimage.gaussian_filter1d(total, SLOW, axis=0, mode="nearest")
    mean = lambda u: round(float(np.linalg.norm(u, axis=1)[inside].mean()), 3)  # noqa: E731
    return {"error_px": mean(total), "bend_px": mean(slow), "jitter_px": mean(total - slow)}


def trained(out: Path, volume: Volume, steps: int) -> Path:
    """Return the model folder of an auto-encoder trained on these sections."""
    write_volume(volume, out / "sections.nrrd")
    size = ",".join(str(-(-n // 16) * 16) for n in volume.grid.size[:2])
    model = out / "features"
    command = [sys.executable, "-m", "DeepVsClassicRegLib.cli.main", "train", "--method", "ssemnet", "--data"]
    command += [
        f"sections:{out / 'sections.nrrd'}",
        "--size",
        size,
        "--spacing",
        "1",
        "--batch",
        "2",
        "--steps",
        str(steps),
    ]
    command += ["--learning-rate", "2e-3", "--validation", "4", "--validate-every", "100", "--threads", "1"]
    subprocess.run([*command, "--out", str(model), "--resume", "-q"], check=True)
    return model / "model"


def runs_of(features: Path) -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return title -> engine, its settings, settings of the stack."""
    of_features = {"similarity": f"features:{features}"}
    return {
        "rigid only": ("none", {}, {}),
        "features": ("instance", {**of_features, **SMOOTH}, {}),
        "LNCC": ("instance", {**LNCC, **SMOOTH}, {}),
        "MI": ("instance", {**MI, **SMOOTH}, {}),
        "features, drift 4": ("instance", {**of_features, **SMOOTH}, {"drift": 4.0}),
        "LNCC, drift 4": ("instance", {**LNCC, **SMOOTH}, {"drift": 4.0}),
        "MI, drift 4": ("instance", {**MI, **SMOOTH}, {"drift": 4.0}),
        "rigid only, drift 4": ("none", {}, {"drift": 4.0}),
        "rigid only, 1 neighbor": ("none", {}, {"neighbors": 1}),
        "rigid only, 4 neighbors": ("none", {}, {"neighbors": 4}),
        "features, default smoothing": ("instance", of_features, {}),
        "LNCC, default smoothing": ("instance", LNCC, {}),
    }  # fmt: skip


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", type=int, default=24)
    parser.add_argument("--shrink", type=int, default=1, help="Block size of pixels and sections that are averaged.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", default="", help="Run only the lines whose titles contain this.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    whole = read_volume(options.data / "visible" / "brain_lpba40" / "S01_t1.nii.gz")
    if options.shrink > 1:
        whole = sampled_on(whole, whole.grid.with_spacing([options.shrink * s for s in whole.grid.spacing_mm]))
    first = whole.grid.size[2] // 2 - options.sections // 2
    truth = whole.array[first : first + options.sections].astype(float)
    known = known_maps(options.sections, truth.shape[1:], seed=3)
    inside = truth > 0.1 * np.percentile(truth, 99)
    given = np.stack([sampled(image, u, fill=0.0) for image, u in zip(truth, known, strict=True)])
    z, y, x = given.shape
    volume = Volume(given.astype(np.float32), Grid((x, y, z)), "S01 moved")
    log = options.out / "runs.jsonl"
    done = {row["run"]: row for row in map(json.loads, log.read_text().splitlines())} if log.is_file() else {}
    model = trained(options.out, volume, options.steps)
    for title, (engine, settings, alignment) in runs_of(model).items():
        if title in done or options.only not in title:
            continue
        cpu = time.process_time()
        found = stack(
            Sections(volume, tuple(map(str, range(z)))),
            engine,
            settings=settings,
            threads=1,
            device="cpu",
            **{"drift": 0.0, **alignment},
        )
        row = {
            "run": title, **judged(found.maps_px, known, inside), "similarity": round(found.similarity_after.mean(), 3),
            "cpu_s": round(time.process_time() - cpu, 1), "poor": len(found.poor),
        }  # fmt: skip
        (options.out / f"{title.replace(' ', '_').replace(',', '')}.png").write_bytes(png_bytes(cuts(found)))
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        done[title] = row
        print(row, flush=True)
    before = {"run": "as given", **judged(np.zeros_like(known), known, inside)}
    print("| run | error, px | bend | jitter | similarity of neighbors | CPU s |\n|---|---|---|---|---|---|")
    for row in (before, *done.values()):
        cells = (
            row["run"],
            row["error_px"],
            row["bend_px"],
            row["jitter_px"],
            row.get("similarity", ""),
            row.get("cpu_s", ""),
        )
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
