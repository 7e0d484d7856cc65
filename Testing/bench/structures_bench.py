"""How good estimated segmentations are, and what they do for verdict and registration, on the visible brains.

Run:  OMP_NUM_THREADS=1 python Testing/bench/structures_bench.py MODEL --data /work/shared/data --out FOLDER
          [--parts dice,verdict,instance] [--page Testing/bench/STRUCTURES.md]

Every measurement is a line of FOLDER/measured.jsonl and is not repeated; segmentations are kept beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from cases import Case, read_cases
from DeepVsClassicRegLib.core.api import evaluate, register
from DeepVsClassicRegLib.core.device import cpu_seconds
from DeepVsClassicRegLib.core.engines.segmentation import segment
from DeepVsClassicRegLib.core.images.freesurfer import STRUCTURES
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume, write_labels
from DeepVsClassicRegLib.core.images.resample import warp_labels
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.networks.model_store import get_model
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from verdict_runs import mirrored, misplaced

# LPBA40's number -> FreeSurfer's numbers of the same structure; its cortex is divided in another way.
LPBA = {161: (11,), 162: (50,), 163: (12,), 164: (51,), 165: (17,), 166: (53,), 181: (7, 8, 46, 47), 182: (16,)}
# The tissues derived by Otsu's thresholds on T1 -> what of FreeSurfer's structures is of that tissue.
TISSUES = {2: (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 17, 53, 18, 54), 3: (2, 41, 7, 46, 16)}
TISSUE_NAMES = {2: "gray matter", 3: "white matter"}
LPBA_NAMES = {161: "Left-Caudate", 162: "Right-Caudate", 163: "Left-Putamen", 164: "Right-Putamen",
              165: "Left-Hippocampus", 166: "Right-Hippocampus", 181: "Cerebellum", 182: "Brain-Stem"}  # fmt: skip
PAIRS = ("malf_oasis:1003", "malf_oasis:bert", "openms:patient26->patient07 (t2->t1)", "malf_oasis:1119")
REGISTERED = ("lpba40:S02", "malf_oasis:1003")
FAR_MM = 40.0
BAD_DICE, LOW_DICE = 0.2, 0.4  # the thresholds of the quality check 'labels'
KINDS = ("given", "auto")  # without and with estimated structures


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default="dice,verdict")
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments.model, arguments.data, arguments.out)
    parts = {"dice": bench.dice, "verdict": bench.verdict, "instance": bench.instance}
    for part in arguments.parts.split(","):
        parts[part]()
    if arguments.page:
        arguments.page.write_text(page(bench.records, arguments.model), encoding="utf-8")


class Bench:
    """The measurements of one model."""

    def __init__(self, model: str, data: Path, out: Path) -> None:
        self.model, self.data, self.out = model, data, out
        self.file = out / "measured.jsonl"
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []
        self.records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.cases = read_cases(data)

    def has(self, **key: str) -> bool:
        return any(all(record.get(name) == value for name, value in key.items()) for record in self.records)

    def add(self, **record: Any) -> None:
        self.records.append(record)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record)[:200], flush=True)

    def segmented(self, volume: Volume, name: str) -> LabelMap:
        """Return the segmentation of a volume, made once."""
        path = self.out / f"{name}.seg.nrrd"
        if not path.is_file():
            before = cpu_seconds()
            write_labels(segment(volume, model=self.model, device="cpu", threads=1), path)
            self.add(part="seconds", scan=name, seconds=round(cpu_seconds() - before, 2))
        return read_labels(path)

    def dice(self) -> None:
        """Compare the segmentation of every visible brain with the labels it has."""
        structures = [int(value) for value in get_model(self.model).card.settings["structures"]]
        for group, name, volume, labels, numbers in interleaved(list(scans(self.data, structures))):
            if not self.has(part="dice", scan=name):
                turned = group == "LPBA40"
                found = self.segmented(in_place(read_volume(volume), turned=turned), name)
                truth = read_labels(labels)
                self.add(part="dice", group=group, scan=name, dice=overlaps(found.array, truth.array, numbers))

    def verdict(self) -> None:
        """Measure the overlap of estimated structures after good and broken alignments."""
        for case in self.chosen(PAIRS):
            if self.has(part="verdict", case=case.name):
                continue
            pair = case.load().without_annotations()
            fixed = self.segmented(pair.fixed, case.files["fixed"].name.partition(".")[0])
            moving = self.segmented(pair.moving, case.files["moving"].name.partition(".")[0])
            start = register(pair, "linear", threads=1).transform
            lost = mirrored(pair)
            lost_start = register(lost, "linear", threads=1).transform
            lost_labels = self.segmented(lost.moving, case.files["moving"].name.partition(".")[0] + "_mirrored")
            center = pair.fixed.grid.center_mm
            broken = {
                "aligned": start,
                "turned by 50 degrees and shifted": misplaced(start, pair),
                "turned by 180 degrees": Transform((Affine.about(np.diag([-1.0, -1.0, 1.0]), center), *start.parts)),
                "map mirrored left to right": Transform((Affine.about(np.diag([-1.0, 1, 1]), center), *start.parts)),
                f"shifted by {FAR_MM:g} mm": Transform((Affine(np.eye(3), np.array([FAR_MM, 0, 0])), *start.parts)),
            }
            found = {kind: shared_dice(fixed, moving, transform) for kind, transform in broken.items()}
            found["voxels mirrored, header not"] = shared_dice(fixed, lost_labels, lost_start)
            self.add(part="verdict", case=case.name, dice=found)

    def instance(self) -> None:
        """Register with and without estimated structures; the real labels evaluate."""
        for case in self.chosen(REGISTERED):
            for structures in KINDS:
                if self.has(part="instance", case=case.name, structures=structures):
                    continue
                pair, before = case.load(), cpu_seconds()
                result = register(pair, "instance", settings={"structures": structures}, threads=1)
                after = evaluate(pair, result, threads=1, measures=("overlap", "regularity")).after
                self.add(
                    part="instance",
                    case=case.name,
                    structures=structures,
                    dice=after["dice_mean"],
                    folds=after["folding_percent"],
                    seconds=round(cpu_seconds() - before, 1),
                )

    def chosen(self, names: tuple[str, ...]) -> list[Case]:
        return [next(case for case in self.cases if case.name.startswith(name)) for name in names]


def scans(data: Path, structures: list[int]) -> Iterator[tuple[str, str, Path, Path, dict[int, tuple[int, ...]]]]:
    """Yield group, name, volume, labels, and label of the truth -> labels of the estimate."""
    visible, same = data / "visible", {number: (number,) for number in structures}
    for folder, group, ending in (("brain_malf_oasis", "OASIS", "_fs"), ("brain_fs", "bert, vmtest", "_fs")):
        for path in sorted((visible / folder).glob("*_t1.nii.gz")):
            stem = path.name.removesuffix("_t1.nii.gz")
            yield group, f"{stem}_t1", path, path.with_name(f"{stem}{ending}.nii.gz"), same
    for path in sorted((visible / "brain_lpba40").glob("*_t1.nii.gz")):
        yield "LPBA40", path.name[:-7], path, path.with_name(path.name.replace("_t1", "_lpba")), LPBA
    for path in sorted((visible / "brain_openms").glob("*_t[12].nii.gz")):
        kind = "open_ms T1" if "_t1" in path.name else "open_ms T2"
        labels = path.with_name(path.name[: path.name.rindex("_")] + "_tissue_derived.nii.gz")
        yield kind, path.name[:-7], path, labels, TISSUES


def in_place(volume: Volume, *, turned: bool) -> Volume:
    """Return the volume; with `turned` its header, which has lost that x points to the right and y to the front."""
    if not turned:
        return volume
    grid = volume.grid
    return dataclasses.replace(volume, grid=dataclasses.replace(grid, direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)))


def interleaved(entries: list[Any]) -> list[Any]:
    """Return the scans so that the first ones are of different groups: an unfinished table then has all of them."""
    place = {id(entry): sum(other[0] == entry[0] for other in entries[:number]) for number, entry in enumerate(entries)}
    return sorted(entries, key=lambda entry: place[id(entry)])


def overlaps(found: np.ndarray, truth: np.ndarray, numbers: dict[int, tuple[int, ...]]) -> dict[str, float]:
    """Return the Dice of every structure that the truth has."""
    dice = {}
    for number, members in numbers.items():
        known = truth == number
        if known.any():
            estimate = np.isin(found, members)
            dice[str(number)] = round(float(2 * (known & estimate).sum() / (known.sum() + estimate.sum())), 4)
    return dice


def shared_dice(fixed: LabelMap, moving: LabelMap, transform: Transform) -> float:
    """Return the mean Dice of the structures of either segmentation."""
    warped = warp_labels(moving, fixed.grid, transform).array
    values = sorted({*fixed.labels, *moving.labels})
    return round(mean(overlaps(warped, fixed.array, {value: (value,) for value in values}).values() or [0.0]), 4)


def page(records: list[dict[str, Any]], model: str) -> str:
    """Return the page."""
    card = get_model(model).card
    history = card.training
    lines = [
        "# Estimated segmentations",
        "",
        f"Model `{card.name}`: {history.get('steps', '?')} steps in its last stage, {history.get('hours', 0):.2f} h "
        f"wall time, {card.spacing_mm:g} mm, trained on generated images only ({card.training['data_licence']}). Page "
        "and figures by `Testing/bench/structures_bench.py`, one CPU thread; no volume here was used in training.",
        "",
        "## Dice against the labels of each data set",
        "",
        *dice_table(records),
        "",
        "The headers of the LPBA40 files are turned by 180 degrees about the long axis of the body and were corrected "
        "first. With the header as it is, the network, which was trained on upright heads, finds nothing of use.",
        "",
        *seconds_lines(records),
        "",
        "## Overlap of estimated structures after good and broken alignments",
        "",
        *verdict_table(records),
        "",
        "Voxels that were mirrored without the header (the last column) cannot be found by this: the network names the "
        "sides by position, because in training the labels change sides whenever an image is mirrored.",
        "",
        "## `instance` with `structures=auto`",
        "",
        *instance_table(records),
        "",
    ]
    return "\n".join(lines)


def dice_table(records: list[dict[str, Any]]) -> list[str]:
    """Return the mean Dice of every structure in every group, and of each side and data set."""
    found = [record for record in records if record["part"] == "dice"]
    groups = list(dict.fromkeys(record["group"] for record in found))
    rows: dict[str, dict[str, list[float]]] = {}
    for record in found:
        for number, value in record["dice"].items():
            name = named(record["group"], int(number))
            rows.setdefault(name, {}).setdefault(record["group"], []).append(value)
            rows.setdefault("**mean of all**", {}).setdefault(record["group"], []).append(value)
    order = [*(name for name in rows if not name.startswith("**")), "**mean of all**"] if rows else []
    counts = {group: sum(record["group"] == group for record in found) for group in groups}
    head = "| structure | " + " | ".join(f"{group} ({counts[group]})" for group in groups) + " |"
    body = [
        f"| {name} | "
        + " | ".join(f"{mean(rows[name][group]):.3f}" if group in rows[name] else "" for group in groups)
        + " |"
        for name in order
    ]
    return [head, "|---|" + "---|" * len(groups), *body] if rows else ["Not measured."]


def _mean_text(values: list[float] | None) -> str:
    return f"{mean(values):.3f}" if values else ""


def named(group: str, number: int) -> str:
    if group == "LPBA40":
        return LPBA_NAMES[number]
    return TISSUE_NAMES[number] if group.startswith("open_ms") else STRUCTURES[number][0]


def seconds_lines(records: list[dict[str, Any]]) -> list[str]:
    found = [record["seconds"] for record in records if record["part"] == "seconds"]
    if not found:
        return []
    return [f"CPU seconds per volume: mean {mean(found):.1f}, largest {max(found):.1f} ({len(found)} volumes)."]


def verdict_table(records: list[dict[str, Any]]) -> list[str]:
    found = [record for record in records if record["part"] == "verdict"]
    if not found:
        return ["Not measured."]
    kinds = list(found[0]["dice"])
    head = "| pair | " + " | ".join(kinds) + " |"
    body = [
        f"| {record['case']} | " + " | ".join(f"{record['dice'][kind]:.3f}" for kind in kinds) + " |"
        for record in found
    ]
    limits = f"The quality check of structures is red below {BAD_DICE:g} and yellow below {LOW_DICE:g}. " + " ".join(
        f"{kind}: red {sum(record['dice'][kind] < BAD_DICE for record in found)}, "
        f"yellow {sum(BAD_DICE <= record['dice'][kind] < LOW_DICE for record in found)} of {len(found)}."
        for kind in kinds
    )
    return [head, "|---|" + "---|" * len(kinds), *body, "", limits]


def instance_table(records: list[dict[str, Any]]) -> list[str]:
    found = [record for record in records if record["part"] == "instance"]
    if not found:
        return ["Not measured."]
    body = [
        f"| {one['case']} | {one['structures']} | {one['dice']:.4f} | {one['folds']:.3f} | {one['seconds']:.0f} |"
        for one in found
    ]
    without, with_them = ({one["case"]: one["dice"] for one in found if one["structures"] == kind} for kind in KINDS)
    both = sorted(set(without) & set(with_them))
    worse = sum(with_them[case] < without[case] for case in both)
    verdict = (
        f"With the estimated structures the Dice is lower on {worse} of {len(both)} pairs; they are off by default."
    )
    table = ["| pair | structures | Dice of the real labels | folds % | CPU s |", "|---|---|---|---|---|", *body]
    return [verdict, "", *table]


if __name__ == "__main__":
    main()
