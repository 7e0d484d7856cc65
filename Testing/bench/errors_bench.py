"""How good the estimated error is: on generated pairs, on real ones with a known error, and at landmarks.

Run:  python Testing/bench/errors_bench.py MODEL --data /work/shared/data --labels FOLDER [--calibrate]

The first half of the generated pairs gives the factors that make the quantiles hold (`--calibrate` writes them into
the card); everything reported of generated pairs is the second half. The page is `ERRORS.md`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from cases import read_cases
from DeepVsClassicRegLib.core.api import load_pair, register
from DeepVsClassicRegLib.core.engines.error_map import estimate_error
from DeepVsClassicRegLib.core.evaluation.error_map import ErrorMap
from DeepVsClassicRegLib.core.files import write_json
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.networks.card import CARD_FILE
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.training.config import DataSettings
from DeepVsClassicRegLib.core.training.misalignment import MisalignmentSettings, drawn_error
from DeepVsClassicRegLib.core.training.source_factory import make_source
from DeepVsClassicRegLib.core.training.synthesis.draws import Draws
from DeepVsClassicRegLib.core.transforms.transform import DisplacementField, Transform

PER_PAIR = 2000  # places compared of each pair
SEED = 90_001  # of no training
QUANTILES = (0.1, 0.5, 0.9)


def samples(found: ErrorMap, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return true error, and low, middle and high estimate, (places, 4) mm."""
    known = np.flatnonzero(found.trusted & (truth >= 0))
    chosen = rng.choice(known, min(PER_PAIR, len(known)), replace=False)
    maps = [found.low or found.volume, found.volume, found.high or found.volume]
    return np.stack([truth.reshape(-1)[chosen], *(each.array.reshape(-1)[chosen] for each in maps)], 1)


def generated(spec: str, count: int, model: str, size: int = 72, spacing_mm: float = 2.0) -> list[np.ndarray]:
    """Return the samples of generated pairs, one registration of each."""
    source = make_source(DataSettings(spec, (size,) * 3, spacing_mm, validation=0), seed=SEED, supervision="error")
    grid, rng, rows = Grid((size,) * 3, (spacing_mm,) * 3), np.random.default_rng(0), []
    for number in range(count):
        batch = source.sample(number)
        fixed, moving, error = (each[0, 0].numpy() for each in (batch.fixed, batch.moving, batch.error))
        found = estimate_error(Pair(Volume(fixed, grid), Volume(moving, grid)), Transform(), model=model, threads=1)
        truth = warp_volume(Volume(spacing_mm * error, grid), found.volume.grid, None, fill=-1.0).array
        if found.trusted.any():
            rows.append(samples(found, truth, rng))
    return rows


def drawn_field(fixed: Grid, number: int) -> DisplacementField:
    """Return the error of a registration on a coarse grid around the fixed one."""
    ends = fixed.index_to_point(np.array([[0, 0, 0], np.array(fixed.size) - 1.0]))
    low, high = ends.min(0) - 20, ends.max(0) + 20
    size = [int(np.ceil(n / 4)) for n in high - low]
    grid = Grid((size[0], size[1], size[2]), (4.0, 4.0, 4.0), tuple(low.tolist()))
    error = drawn_error(Draws(SEED, "bench", number), grid.shape, MisalignmentSettings(), 4.0).numpy()
    return DisplacementField(4.0 * np.moveaxis(error[::-1], 0, -1).astype(np.float32), grid)


def known_errors(pair: Pair, count: int, model: str) -> list[np.ndarray]:
    """Return the samples of an aligned real pair after so many drawn registrations."""
    rng, rows = np.random.default_rng(1), []
    for number in range(count):
        field = drawn_field(pair.fixed.grid, number)
        found = estimate_error(pair, Transform((field,)), model=model, threads=1)
        truth = np.linalg.norm(Transform((field,)).displacement_on(found.volume.grid).array_mm, axis=-1)
        rows.append(samples(found, truth, rng))
    return rows


def at_landmarks(pair: Pair, transform: Transform, model: str) -> np.ndarray:
    """Return true error, and low, middle and high estimate at the landmarks of a pair, (points, 4) mm."""
    found = estimate_error(pair, transform, model=model, threads=1)
    true = np.linalg.norm(transform.apply(pair.fixed_points) - pair.moving_points, axis=1)
    index = np.rint(found.volume.grid.point_to_index(pair.fixed_points)).astype(int)
    inside = ((index >= 0) & (index < np.array(found.volume.grid.size))).all(1)
    places = tuple(index[inside][:, ::-1].T)
    maps = [found.low or found.volume, found.volume, found.high or found.volume]
    rows = np.stack([true[inside], *(each.array[places] for each in maps)], 1)
    return rows[found.trusted[places]]


def summary(rows: np.ndarray) -> str:
    """Return a line of the page: places, true error, correlation, RMS, parts below the quantiles, part in the band."""
    true, low, middle, high = rows.T
    correlation = np.corrcoef(true, middle)[0, 1] if true.std() > 0 and middle.std() > 0 else float("nan")
    rms, plain = np.sqrt(np.mean((true - middle) ** 2)), true.std()
    below = [100 * np.mean(true <= edge) for edge in (low, middle, high)]
    band = 100 * np.mean((true >= low) & (true <= high))
    numbers = [f"{true.mean():.2f}", f"{middle.mean():.2f}", f"{correlation:.2f}", f"{rms:.2f}", f"{plain:.2f}"]
    return " | ".join([str(len(true)), *numbers, *(f"{part:.0f}" for part in below), f"{band:.0f}"])


def calibration(rows: np.ndarray, quantiles: tuple[float, ...] = QUANTILES) -> dict[str, float]:
    """Return the factor of each quantile with which it holds on these places."""
    true, *estimates = rows.T
    ratio = [true / np.maximum(estimate, 1e-3) for estimate in estimates]
    return {f"{q:g}": round(float(np.quantile(r, q)), 4) for q, r in zip(quantiles, ratio, strict=True)}


def line(title: str, rows: np.ndarray) -> None:
    """Print a line of the page."""
    print(f"| {title} | {summary(rows)} |", flush=True)


def generated_part(options: argparse.Namespace) -> None:
    """Print what generated pairs say, and write the factors of the quantiles into the card when asked."""
    specs = {"generated shapes": "shapes"}
    if options.labels:
        specs["generated heads"] = f"labels:{options.labels}"
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for title, spec in specs.items():
        rows = generated(spec, options.pairs, options.model)
        for half, part in zip(halves, (rows[::2], rows[1::2]), strict=True):
            half.extend(part)
        line(title, np.concatenate(rows[1::2]))
    factors = calibration(np.concatenate(halves[0]))
    line(f"all of these times {factors}", np.concatenate(halves[1]) * np.array([1.0, *factors.values()]))
    if options.calibrate:
        path = Path(options.model) / CARD_FILE
        card = json.loads(path.read_text(encoding="utf-8"))
        former = card["validation"].get("calibration", {})
        card["validation"]["calibration"] = {q: round(former.get(q, 1.0) * f, 4) for q, f in factors.items()}
        write_json(path, card, indent=2)


def known_part(options: argparse.Namespace) -> None:
    """Print what real pairs with drawn errors say: two contrasts of one person, which are aligned."""
    folder = options.data / "visible" / "brain_openms"
    for person in ("patient07", "patient26"):
        for fixed, moving in (("t1", "t2"), ("t2", "t1")):
            pair = load_pair(folder / f"{person}_{fixed}.nii.gz", folder / f"{person}_{moving}.nii.gz")
            line(f"{person} {moving} to {fixed}", np.concatenate(known_errors(pair, options.fields, options.model)))


def landmark_part(options: argparse.Namespace) -> None:
    """Print what landmarks say of the runs of some engines."""
    everything = []
    for case in read_cases(options.data):
        if "fixed_points" not in case.files:
            continue
        pair = case.load()
        for engine in options.engines.split(","):
            result = register(pair, engine, threads=1)
            everything.append(at_landmarks(pair, result.transform, options.model))
            line(f"{case.name}, {engine}", everything[-1])
    line("all landmarks", np.concatenate(everything))


PARTS = {"generated": generated_part, "known": known_part, "landmarks": landmark_part}
COLUMNS = ("pairs", "places", "true, mean", "estimated, mean", "correlation", "RMS", "SD of truth", "<10 %", "<50 %",
           "<90 %", "in band")  # fmt: skip


def main() -> None:
    """Print the page's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", default="")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--fields", type=int, default=8)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--engines", default="linear,instance")
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for part in options.parts.split(","):
        PARTS[part](options)


if __name__ == "__main__":
    main()
