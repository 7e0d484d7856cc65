"""How well the domain check tells foreign volumes from those of a model's training domain: real and simulated shifts.

Profiles are kept in `<out>/profiles.jsonl` (a volume with a line is not looked at again); writes `domain.md` and
`domain_roc.png`. Usage: OMP_NUM_THREADS=1 python Testing/bench/domain_roc.py --data DATA --out bench/advice
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.recommendation.domain import THRESHOLD, distance_of, statistics_of
from DeepVsClassicRegLib.core.recommendation.profile import PARTS, Profile, profile_of
from table import markdown

SPACING_MM = (2.0, 2.0, 2.0)
TRAINING = {"LPBA40": 20, "OASIS": 10}
# Folder of the visible data -> pattern -> name of the group.
VISIBLE = (
    ("brain_malf_oasis", "*_t1.nii.gz", "OASIS"),
    ("brain_lpba40", "*_t1.nii.gz", "LPBA40"),
    ("brain_fs", "*_t1.nii.gz", "brains of other sources (T1)"),
    ("brain_openms", "*_t1.nii.gz", "MS brains (T1)"),
    ("brain_openms", "*_t2.nii.gz", "MS brains (T2)"),
    ("hippocampus_msd", "*", "hippocampus crops"),
    ("liver_mr_eth", "*.nii.gz", "liver MR"),
    ("lung_ct_elastix", "*", "lung CT"),
    ("abdomen_ct_mr_ts", "*", "abdomen CT and MR"),
    ("prostate_mr_us_demo", "*", "prostate MR and US"),
)
NOT_IMAGES = ("label", "seg", "mask", "_fs.", "_neuromorph", "_lpba", "organs", "gland", "_hippo", "tissue")
HELD_OUT_SIMULATED = 8


def main() -> None:
    """Look at what is missing, then judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("bench/advice"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "profiles.jsonl"
    known = read_profiles(path)
    for name, group, role, shift, load in volumes(arguments.data):
        if (name, shift) in known:
            continue
        profile = profile_of(SHIFTS[shift](load()), spacing_mm=SPACING_MM)
        record = {"name": name, "group": group, "role": role, "shift": shift, "spacing": profile.spacing_mm}
        record["parts"] = {part: [round(float(v), 6) for v in values] for part, values in profile.parts.items()}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    write_results(list(read_profiles(path).values()), arguments.out)


def volumes(data: Path) -> Iterator[tuple[str, str, str, str, Callable[[], Volume]]]:
    """Yield name, group, role ('training', 'held out', 'foreign'), shift and how to read the volume."""
    for folder, group in (("lpba40", "LPBA40"), ("malf_oasis", "OASIS")):
        files = sorted((data / "training" / "indomain_2mm" / folder).glob("*_t1.nii.gz"))
        for number, file in enumerate(files):
            role = "training" if number < TRAINING[group] else "held out"
            yield f"2mm/{file.name}", group, role, "none", lambda file=file: read_volume(file)
        for file in files[TRAINING[group] :][:HELD_OUT_SIMULATED]:
            for shift in SHIFTS:
                if shift != "none":
                    yield f"2mm/{file.name}", group, "held out", shift, lambda file=file: read_volume(file)
    for folder, pattern, group in VISIBLE:
        for file in sorted((data / "visible" / folder).glob(pattern)):
            if file.is_file() and ".nii" in file.name + file.suffix and not any(w in file.name for w in NOT_IMAGES):
                yield f"{folder}/{file.name}", group, "held out", "none", lambda file=file: read_volume(file)


def _changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Volume], Volume]:
    def apply(volume: Volume) -> Volume:
        low, high = np.percentile(volume.array, (0.5, 99.5))
        unit = np.clip((volume.array - low) / max(high - low, 1e-6), 0, 1)
        return Volume(change(unit).astype(np.float32), volume.grid, volume.name)

    return apply


def _bias(unit: np.ndarray) -> np.ndarray:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in unit.shape), indexing="ij")
    return unit * np.exp(0.5 * (x + 0.6 * y - 0.4 * z))


def _noise(unit: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.hypot(unit + random.normal(0, 0.08, unit.shape), random.normal(0, 0.08, unit.shape))


def _blurred(unit: np.ndarray) -> np.ndarray:
    for axis in range(3):
        for _ in range(2):
            unit = (np.roll(unit, 1, axis) + unit + np.roll(unit, -1, axis)) / 3
    return unit


def _thick(volume: Volume) -> Volume:
    grid, step = volume.grid, 3
    count = volume.array.shape[0] // step
    array = volume.array[: count * step].reshape(count, step, *volume.array.shape[1:]).mean(axis=1)
    spacing = (grid.spacing_mm[0], grid.spacing_mm[1], grid.spacing_mm[2] * step)
    return Volume(array, Grid((grid.size[0], grid.size[1], count), spacing, grid.origin_mm, grid.direction))


def _upside_down(volume: Volume) -> Volume:
    return Volume(volume.array[::-1, ::-1].copy(), volume.grid)


def _cropped(volume: Volume) -> Volume:
    z, y, x = (n // 4 for n in volume.array.shape)
    grid = volume.grid.cropped((x, y, z), [n - 2 * c for n, c in zip(volume.grid.size, (x, y, z), strict=True)])
    return Volume(volume.array[z : z + grid.size[2], y : y + grid.size[1], x : x + grid.size[0]], grid)


SHIFTS: dict[str, Callable[[Volume], Volume]] = {
    "none": lambda volume: volume,
    "gamma 2": _changed(lambda unit: unit**2),
    "gamma 1.3": _changed(lambda unit: unit**1.3),
    "bias field": _changed(_bias),
    "inverted tissue": _changed(lambda unit: np.where(unit > 0.05, 1.05 - unit, 0)),
    "noise 8 %": _changed(_noise),
    "blur": _changed(_blurred),
    "thick slices": _thick,
    "upside down": _upside_down,
    "half the view": _cropped,
}


def read_profiles(path: Path) -> dict[tuple[str, str], dict]:
    """Return the stored profiles by (volume, shift)."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {(entry["name"], entry["shift"]): entry for entry in map(json.loads, lines)}


def as_profile(entry: dict) -> Profile:
    """Return a stored profile."""
    x, y, z = entry["spacing"]
    return Profile((x, y, z), {part: np.array(entry["parts"][part]) for part in PARTS})


def area(inside: np.ndarray, foreign: np.ndarray) -> float:
    """Return the area under the ROC curve: the chance that a foreign volume scores higher."""
    return float(np.mean((foreign[:, None] > inside) + 0.5 * (foreign[:, None] == inside)))


def write_results(entries: list[dict], out: Path) -> None:
    """Write the table and the picture."""
    head = ["domain", "shift", "volumes", "area under ROC", "called foreign", "median score", "what differs most"]
    rows, curves = [], {}
    for domain in TRAINING:
        training = [entry for entry in entries if (entry["group"], entry["role"]) == (domain, "training")]
        statistics = statistics_of([as_profile(entry) for entry in training], name=domain)
        groups: dict[str, list] = {}
        for entry in entries:
            if entry["role"] == "training" and entry["group"] == domain:
                continue
            if entry["shift"] != "none" and entry["group"] != domain:
                continue
            simulated = entry["shift"] != "none"
            name = f"simulated: {entry['shift']}" if simulated else entry["group"]
            if name == domain:
                name = f"{domain} held out, " + ("2 mm" if entry["name"].startswith("2mm") else "original 1 mm")
            groups.setdefault(name, []).append(distance_of(as_profile(entry), statistics))
        inside = np.array([r.score for name, found in groups.items() if name.startswith(domain) for r in found])
        for name, found in groups.items():
            scores = np.array([report.score for report in found])
            worst = [max(report.parts, key=report.parts.get) for report in found]
            own = name.startswith(domain)
            rows.append(
                [
                    domain,
                    name,
                    str(len(found)),
                    "" if own else f"{area(inside, scores):.3f}",
                    f"{int((scores > THRESHOLD).sum())}/{len(scores)}",
                    f"{np.median(scores):.2f}",
                    max(set(worst), key=worst.count),
                ]
            )
            curves[domain, name] = (inside, scores, own)
    (out / "domain.md").write_text(markdown(head, rows) + "\n", encoding="utf-8")
    write_picture(curves, out / "domain_roc.png")


def write_picture(curves: dict, path: Path) -> None:
    """Draw the ROC of all real and all simulated shifts, and the scores of every group."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    for row, domain in enumerate(TRAINING):
        own = {name: entry for (which, name), entry in curves.items() if which == domain}
        roc, strip = figure.add_subplot(2, 2, 2 * row + 1), figure.add_subplot(2, 2, 2 * row + 2)
        inside = next(iter(own.values()))[0]
        for kind in ("real", "simulated"):
            foreign = [e[1] for name, e in own.items() if not e[2] and name.startswith("simulated") == (kind != "real")]
            scores = np.concatenate(foreign)
            levels = np.concatenate([[np.inf], np.sort(np.concatenate([inside, scores]))[::-1], [-np.inf]])
            x = [(inside > level).mean() for level in levels]
            y = [(scores > level).mean() for level in levels]
            roc.step(x, y, where="post", label=f"{kind} shifts, area {area(inside, scores):.3f}")
            roc.plot((inside > THRESHOLD).mean(), (scores > THRESHOLD).mean(), "k+", markersize=10)
        roc.set(xlabel="own volumes called foreign", ylabel="foreign volumes found", title=f"domain {domain}")
        roc.legend(loc="lower right")
        for number, (_, scores, mine) in enumerate(own.values()):
            strip.plot(scores, [number] * len(scores), "o", color="tab:green" if mine else "tab:red", alpha=0.5)
        strip.axvline(THRESHOLD, color="k", linestyle=":")
        strip.set(xscale="log", xlabel="score (dotted: threshold)", yticks=range(len(own)))
        strip.set_yticklabels(list(own), fontsize=7)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
