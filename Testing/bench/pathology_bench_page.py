"""The page of the benchmark of pathology and repair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

ELASTIX = (
    "elastix: 8 mm grid, 300 iterations; its rigidity penalty (Staring et al., Med. Phys. 34, 2007) has the weights "
    "100 (linearity), 1 (orthonormality), 2 (properness). Of its overall weights 1, 0.1, 0.01, 0.001 and 0.0001 "
    "the first three let elastix diverge on this pair; 0.001 is better than 0.0001."
)


def page(parts: dict[str, list[dict[str, Any]]]) -> str:
    """Return PATHOLOGY.md."""
    return "\n".join(
        [
            "# Lesions, rigid bodies, repairs",
            "",
            "Written by `Testing/bench/pathology_bench.py`. Engine `instance`, one thread, CPU seconds of the whole "
            "call of `register` on a busy machine (load 3 to 5 on two cores). Errors are against the exact map.",
            "",
            *(line for name, write in SECTIONS.items() if name in parts for line in write(parts[name])),
        ]
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def _lesions(rows: list[dict[str, Any]]) -> list[str]:
    shown = [
        (
            row["case"],
            f"{row['start_mm']:.2f}",
            f"{row['without']['near_mm']:.2f}",
            f"{row['with']['near_mm']:.2f}",
            f"{row['without']['far_mm']:.2f} / {row['with']['far_mm']:.2f}",
            f"{row['without']['smallest_determinant']:.2f} / {row['with']['smallest_determinant']:.2f}",
            f"{row['without']['cpu_s']:.1f} / {row['with']['cpu_s']:.1f}",
        )
        for row in sorted(rows, key=lambda row: row["case"])
    ]
    means = []
    for name in ("tumor, fixed", "tumor, moving", "resection, fixed", "resection, moving"):
        kind, side = name.split(", ")
        group = [row for row in rows if row["case"].startswith(kind) and row["case"].endswith(side)]
        without, given = (_mean([row[title]["near_mm"] for row in group]) for title in ("without", "with"))
        means.append(f"{name} {without:.2f} -> {given:.2f}")
    return [
        "## Excluded regions",
        "A head phantom of 96^3 voxels (2 mm) with a lesion of 8 or 12 voxels radius in one volume. A "
        "tumor has pushed the "
        "tissue away (its surface was at half the radius, the displacement fades to 0 at three radii); "
        "around a resection "
        "the tissue has fallen in by 15 % of the radius. Mean error in mm within 10 mm outside of the "
        "lesion; two places "
        "per case, linear start exact.",
        "",
        *_table(
            (
                "lesion, radius, side",
                "start",
                "not excluded",
                "excluded",
                "beyond 3 radii",
                "smallest determinant",
                "CPU s",
            ),
            shown,
        ),
        f"Mean error in mm without -> with the excluded region: {'; '.join(means)}.",
        "",
    ]


def _volume(rows: list[dict[str, Any]]) -> list[str]:
    shown = [
        (row["case"], kept, f"{row[kept]['volume_percent']:.1f}", f"{row[kept]['near_mm']:.2f}",
         f"{row[kept]['smallest_determinant']:.2f}", f"{row[kept]['cpu_s']:.1f}")
        for row in rows
        for kept in ("follow", "volume", "rigid")
    ]  # fmt: skip
    return [
        "## Volume of an excluded region",
        "The tumor of the moving volume is brought to a healthy fixed volume: its volume there in "
        "percent, with the setting "
        "`excluded`. The exact map shrinks it to an eighth, so that keeping its volume costs accuracy around it.",
        "",
        *_table(("case", "`excluded`", "volume %", "error within 10 mm", "smallest determinant", "CPU s"), shown),
    ]


def _rigid(rows: list[dict[str, Any]]) -> list[str]:
    shown = [
        (
            row["method"],
            f"{row['determinant_error']:.2g}",
            f"{row['rotation_inside_deg']:.2g}",
            f"{row['rotation_error_deg']:.2f}",
            f"{row['error_inside_mm']:.2f}",
            f"{row['error_outside_mm']:.2f}",
            f"{row['smallest_determinant']:.2f}",
            f"{row['cpu_s']:.1f}",
        )
        for row in rows
    ]
    return [
        "## Rigid bodies",
        "A head phantom of 96^3 voxels with three bright ellipsoids (8 to 13 mm half-axes) that turn by up to 9 "
        "degrees per axis and move by up to 4 mm per axis inside a smooth map. Largest |determinant - 1| and largest "
        "rotation against the body's own rigid motion over all voxels of the bodies; error of the motion's rotation; "
        "mean error inside and in the rest of the head.",
        *([ELASTIX] if any("elastix" in row["method"] for row in rows) else []),
        "",
        *_table(
            (
                "method",
                "determinant error",
                "rotation inside, deg",
                "rotation error, deg",
                "inside, mm",
                "rest, mm",
                "smallest determinant",
                "CPU s",
            ),
            shown,
        ),
    ]


def _repair(rows: list[dict[str, Any]]) -> list[str]:
    shown = [
        (
            row["pair"],
            str(row["site"]),
            row["given"],
            f"{row['before_mm']:.2f} ({row['before_largest_mm']:.1f})",
            f"{row['after_mm']:.2f} ({row['after_largest_mm']:.1f})",
            f"{row['smallest_before']:.2f} / {row['smallest_determinant']:.2f}",
            f"{row['cpu_s']:.1f}",
        )
        for row in rows
    ]
    lines = []
    for given, group in groupby(sorted(rows, key=lambda row: row["given"]), key=lambda row: row["given"]):
        found = list(group)
        lines.append(
            f"{given}: {_mean([r['before_mm'] for r in found]):.2f} -> {_mean([r['after_mm'] for r in found]):.2f} mm"
        )
    return [
        "## Repair",
        "OASIS 1101 at full resolution (155 x 207 x 170 voxels of 1 mm). The present map is made wrong "
        "by 6 mm at one place "
        "(a Gaussian of 10 mm sigma); three pairs of landmarks within 6 mm of it, each with an error of "
        "0.4 mm per axis, and "
        "preset `repair`. Error against the former map within 10 mm of the place, mean and largest. "
        "'known warp': a warped copy with noise; 'two persons': 1003, the former map is that of "
        "`instance`; 'no contrast "
        "around': both volumes are constant within 25 mm, so that only the landmarks tell.",
        "",
        *_table(
            ("pair", "place", "given", "before, mm", "after, mm", "smallest determinant before / after", "CPU s"), shown
        ),
        f"Means: {'; '.join(lines)}.",
        "",
        "The largest error stays above 2 mm in two cases with landmarks. No contrast around, place 1: 12.7 mm "
        "from the nearest landmark, where neither intensities nor landmarks tell anything. Two persons, place "
        "3: small clusters, 1.9 % of the voxels, where the intensities correlate better after the repair "
        "(0.960) than with the former map (0.912), so the former map may itself be wrong there.",
        "",
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


SECTIONS = {"lesions": _lesions, "volume": _volume, "rigid": _rigid, "repair": _repair}
