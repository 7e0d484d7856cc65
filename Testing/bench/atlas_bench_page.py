"""Writes COHORT_ATLAS.md from the results of `atlas_bench.py`; a part without results is said to be missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from DeepVsClassicRegLib.core.cohort.monitor import NORMAL_95, MonitorSettings

HEAD = """# Atlases, label fusion and longitudinal change

Written by `atlas_bench.py page` from the results of its parts (one command each, resumable; see its help). One thread
per process; CPU seconds, not wall seconds, because the machine was shared. The CPU seconds of the first deformable
round contain the compilation of kernels.

How change is measured, and what was wrong with it: the scans were compared on their own voxels. The gradient of
linear interpolation is too small at edges as sharp as voxels can show, so that small structures appeared to change too
much (up to 2.5 points of 10). Stronger smoothing of the field takes away some of the change, smoothing of the scans
moves curved surfaces. The integration itself is accurate: with the exact map it is wrong by at most 0.13 points at 2 mm
and less than 0.1 at 1 mm. Since then the common space has voxels of two thirds of the scans, with cubic interpolation.

Known limits: STAPLE is the worst of the fusions with 10 or 15 atlases, and for the hippocampus worse with 15 than with
one. The shift that a round of the atlas removes stays at half a millimeter, although the atlas changes by 0.4 %. Two
sessions of an unchanged brain differ in most structures by more than noise explains (last section), and in the
finer common space by more than before (median 1.3 % with voxels of 2 mm by the earlier version). The first scan of the
phantom, with its noise, is the same for every percentage: errors that all of them share, also 0 %, come from it.
"""


def write_page(folder: Path, page: Path) -> None:
    """Write the page from the JSON files of a folder."""
    parts = [HEAD, _atlases(folder), _labels(folder), _growth(folder), _rescan(folder)]
    page.write_text("\n".join(parts), encoding="utf-8")


def _read(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(pattern))]


def _mean(values) -> str:
    return f"{np.mean(values):.3f}" if len(values) else ""


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _atlases(folder: Path) -> str:
    text = ["## Atlas of LPBA40 subjects at 2 mm\n"]
    for found in _read(folder, "atlas[0-9]*.json"):
        facts = found["facts"]
        text.append(
            f"{facts['subjects']} subjects, engine `instance`, {len(facts['rounds'])} rounds. Sharpness: mean gradient "
            f"of the atlas relative to that of the subjects. Mean of all transforms at the end "
            f"{facts['centering_mm']:.1g} mm. "
            f"CPU of the registrations {facts['cpu_seconds']:.0f} s"
            + (f", of everything {facts['cpu_total']:.0f} s.\n" if "cpu_total" in facts else ".\n")
        )
        rows = [
            [
                f"{one['stage']} {one['number']}",
                "" if one["shift_mm"] is None else f"{one['shift_mm']:.3f}",
                "" if one["change"] is None else f"{100 * one['change']:.2f}",
                f"{100 * one['sharpness']:.1f}",
                f"{one['cpu_seconds']:.0f}",
            ]
            for one in facts["rounds"]
        ]
        text.append(_table(["round", "shift removed mm", "change %", "sharpness %", "CPU s"], rows))
        if "atlas" not in found:
            text.append(
                "Not measured: Dice of other subjects with this atlas and through it (`atlas_bench.py atlas`).\n"
            )
        else:
            text.append(f"Others: S{', S'.join(map(str, facts['others']))}.\n")
            scores = [["the atlas", _mean(found["atlas"]["to"]), _mean(found["atlas"]["through"])]]
            alone = list(found["single"].values())
            for number, one in found["single"].items():
                scores.append([f"subject S{number}", _mean(one["to"]), _mean(one["through"])])
            if found["direct"]:
                scores.append(["no reference (pairs directly)", "", _mean(found["direct"])])
            text.append(
                _table(["reference", "Dice of its labels on others", "Dice of pairs of others through it"], scores)
            )
            gains = [
                np.mean(found["atlas"][kind]) - np.mean([np.mean(one[kind]) for one in alone])
                for kind in ("to", "through")
            ]
            text.append(
                f"Against the mean of {len(alone)} single subjects the atlas gains {gains[0]:+.3f} for its labels and "
                f"{gains[1]:+.3f} through it.\n"
            )
    for found in _read(folder, "ants[0-9]*.json"):
        own = _read(folder, f"atlas{found['subjects']}.json")
        spent = sum(found["cpu"])
        ratio = f", {spent / own[0]['facts']['cpu_total']:.1f} times that of this project" if own else ""
        text.append(
            f"antspyx `build_template` of {found['subjects']} subjects, {found['rounds']} rounds of SyN: CPU "
            f"{spent:.0f} s{ratio}. Others were registered to it in the same way as above: Dice of its labels "
            f"{_mean(found['scores']['to'])}, through it {_mean(found['scores']['through'])}.\n"
        )
    return "\n".join(text)


def _labels(folder: Path) -> str:
    text = ["## Multi-atlas segmentation\n"]
    for name, title in (("hippocampus", "Hippocampus (MSD), 1 mm"), ("lpba", "LPBA40, 2 mm")):
        found = _read(folder, f"{name}.json")
        if not found:
            text.append(f"Not measured: {title} (`atlas_bench.py {name}`).\n")
            continue
        rows, entry = {}, found[0]
        for row in entry["rows"]:
            rows.setdefault((row["count"], row["fusion"]), []).append(row["dice"])
        cpu = [row["cpu"] for row in entry["rows"] if "cpu" in row]
        text.append(
            f"{title}: {entry['targets']} targets; the most similar of {entry['atlases']} atlases are used. All of "
            f"this takes {np.mean(cpu):.0f} CPU s per target.\n"
        )
        text.append(
            _table(["atlases", "fusion", "mean Dice"], [[str(k), f, _mean(values)] for (k, f), values in rows.items()])
        )
    return "\n".join(text)


def _growth(folder: Path) -> str:
    text = [
        "## Phantom with known growth and atrophy\n",
        "Head phantom of 192 mm, noise 2 %, other position of the patient; three structures shrink and three grow by "
        "the stated percentage (labels 17, 51, 8 and 53, 12, 43), neighbors change less. Truth: mean determinant of "
        "the analytic map. Engine `instance:longitudinal`. Errors in percentage points. Without simulated rescans the "
        "uncertainty is too narrow, as the report says.\n",
    ]
    every = [found for found in _read(folder, "growth*.json") if found["rows"]]
    if not every:
        text.append("Not measured.\n")
    for found in sorted(every, key=lambda one: one["spacing"]):
        rescans = "with" if found["rescans"] else "without"
        text += [f"### Voxels of {found['spacing']:g} mm, {rescans} simulated rescans\n", *_growth_tables(found)]
    return "\n".join(text)


def _growth_tables(found: dict[str, Any]) -> list[str]:
    rows = found["rows"]
    percents = sorted({row["percent"] for row in rows})
    table = []
    for percent in percents:
        own = [row for row in rows if row["percent"] == percent]
        errors = np.array([row["found"] - row["truth"] for row in own])
        large = np.array([abs(row["found"] - row["truth"]) for row in own if row["volume_ml"] >= 10])
        covered = [abs(row["found"] - row["truth"]) <= row["uncertainty"] for row in own]
        table.append(
            [
                f"{percent} %",
                f"{np.sqrt(np.mean(errors**2)):.2f}",
                f"{np.abs(errors).max():.2f}",
                f"{large.max():.2f}",
                f"{100 * np.mean(np.abs(errors) <= 0.5):.0f} %",
                f"{np.median([row['uncertainty'] for row in own]):.2f}",
                f"{100 * np.mean(covered):.0f} %",
                f"{own[0]['cpu']:.0f}",
            ]
        )
    titles = [
        "change",
        "RMS error",
        "largest error",
        "largest above 10 ml",
        "within 0.5 points",
        "median uncertainty",
        "truth within uncertainty",
        "CPU s",
    ]
    turned = [row for row in rows if row["reversed"] is not None]
    gaps = [abs((1 + row["found"] / 100) * (1 + row["reversed"] / 100) - 1) for row in turned]
    text = [
        _table(titles, table),
        f"Order reversed ({turned[0]['percent']} %): the product of both ratios differs from 1 by at most "
        f"{max(gaps):.1g}.\n",
        "Found (truth), percent:\n",
    ]
    table = []
    for label, name in sorted({(row["label"], row["name"]) for row in rows}):
        own = {row["percent"]: row for row in rows if row["label"] == label}
        cells = [f"{own[percent]['found']:+.2f} ({own[percent]['truth']:+.2f})" for percent in percents]
        table.append([name, f"{own[percents[0]]['volume_ml']:.1f}", *cells])
    text.append(_table(["structure", "ml", *(f"{percent} %" for percent in percents)], table))
    return text


def _rescan(folder: Path) -> str:
    text = ["## Scan and rescan, OASIS 1003 and 1023 (no change)\n"]
    found = _read(folder, "rescan.json")
    if not found:
        return "\n".join([*text, "Not measured.\n"])
    entry = found[0]
    values = np.array([row["found"] for row in entry["rows"]])
    weights = np.array([row["volume_ml"] for row in entry["rows"]])
    stated = np.array([row["uncertainty"] for row in entry["rows"]])
    sessions = MonitorSettings().sessions_percent
    wider = np.hypot(stated, NORMAL_95 * sessions * (1 + values / 100))
    covered = [int((np.abs(values) <= interval).sum()) for interval in (stated, wider)]
    text.append(
        f"{len(values)} structures, voxels of {entry['spacing']:.2g} mm, correlation after registration "
        f"{min(entry['correlation']):.3f}. Measured change: median of the absolute values "
        f"{np.median(np.abs(values)):.2f} %, weighted mean {np.average(values, weights=weights):+.2f} %, largest "
        f"{values[np.abs(values).argmax()]:+.2f} %. CPU of the registrations {entry['cpu']:.0f} s.\n"
    )
    text.append(
        f"The interval from both directions and simulated rescans covers {covered[0]} of {len(values)} structures (the "
        f"first interval below); with the difference of sessions of {sessions:g} %, which `dvcreg monitor` adds by "
        f"default, {covered[1]} (the second). That value was chosen from this very pair, so that the second number is "
        "no test of it. An affine registration of the two scans has a determinant of 1.011 to 1.014 with different "
        "factors along the axes, and the volume of the brain mask differs by 0.8 %: a part of the change is geometry "
        "of the scans and not error of the measurement.\n"
    )
    rows = [
        [str(row["label"]), f"{row['volume_ml']:.1f}", f"{row['found']:+.2f} ± {row['uncertainty']:.2f} (± {both:.2f})"]
        for row, both in zip(entry["rows"], wider, strict=True)
    ]
    text.append(_table(["label", "ml", "change %"], rows))
    return "\n".join(text)
