"""The report of a follow-up for clinicians: what changed, by how much, and how certain that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.figures import Bar, Slices, strip
from ..evaluation.pages import Page, picture_part, settings_rows, tile
from ..evaluation.plotting import AFTER, BEFORE, EXTENT, FAINT, TEXT, Draw, diverging, gray, new_figure, tidy
from ..files import write_text
from ..images.intensity import foreground
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from .monitor import NORMAL_95, Change, Monitored, StructureTrend

PAPERS = (
    "Reuter et al., Within-subject template estimation for unbiased longitudinal image analysis, NeuroImage "
    "61:1402-1418, 2012, doi 10.1016/j.neuroimage.2012.02.084",
    "Holland and Dale, Nonlinear registration of longitudinal images and measurement of change in regions of "
    "interest, Med. Image Anal. 15:489-497, 2011, doi 10.1016/j.media.2011.02.005",
)
GOOD_MATCH, FAIR_MATCH = 0.95, 0.85
LOW_CONFIDENCE = 0.6
MOST_DRAWN = 8
# About the smallest structure that was measured on phantoms with known growth, see Testing/bench/COHORT_ATLAS.md.
SMALL_VOXELS = 5000
MOST_BARS = 30
LINES = ("#0b6e99", "#c2571a", "#1d7a4c", "#8e44ad", "#b3261e", "#5b6875", "#9a6200", "#2a9d8f")


def write_monitor_page(found: Monitored) -> Path:
    """Write monitor.html into the folder of the result.

    Raises
    ------
    RegistrationError
        When matplotlib or jinja2 is missing.
    """
    page = Page("atlas.html")
    last = [trend.changes[-1] for trend in found.trends]
    certain = [change for change in last if change.is_certain]
    values = {
        "kicker": "Follow-up report",
        "title": " → ".join(found.names),
        "summary": f"{len(found.names)} time points, {len(found.trends)} structures, voxels of "
        f"{min(found.scans[0].grid.spacing_mm):.3g} mm, engine {found.settings.engine}",
        "verdict": verdict_of(found),
        "tiles": [
            _extreme("Largest decrease", found.trends, -1),
            _extreme("Largest increase", found.trends, 1),
            tile("Certain changes", f"{len(certain)} of {len(last)}", "larger than their uncertainty"),
            tile("No-change error", _no_change(found.trends), "median, simulated rescans"),
            tile("Match", f"{min(found.residual):.3f}", "lowest correlation after registration"),
            tile("Alignment", f"{100 * found.confidence:.0f} %", "lowest confidence"),
        ],
        "notes": notes_of(found),
        "parts": _parts(found),
        "tables": [_table(found, time) for time in range(1, len(found.names))],
        "details": [
            *settings_rows(found.settings),
            ("CPU time of the registrations", f"{found.cpu_seconds:.0f} s"),
        ],
        "papers": PAPERS,
    }
    return write_text(found.folder / "monitor.html", page.filled(values))


def verdict_of(found: Monitored) -> dict[str, str]:
    """Return level, badge and sentence of the report: whether the measurement is usable, and what changed."""
    trends = found.trends
    certain = [trend for trend in trends if trend.changes[-1].is_certain]
    if min(found.residual) < FAIR_MATCH or found.folded_percent > 1 or found.confidence < LOW_CONFIDENCE:
        return {
            "level": "bad",
            "badge": "Not usable",
            "sentence": "The time points do not match well after registration. Check that they show the same subject "
            "with the same contrast; the changes below are not reliable.",
        }
    if not certain:
        return {
            "level": "good",
            "badge": "No change",
            "sentence": f"No structure of {len(trends)} changed by more than the measurement uncertainty.",
        }
    names = [f"{trend.name} {_signed(trend.changes[-1].percent)} %" for trend in _by_change(certain)[:3]]
    more = f" and {len(certain) - 3} more" if len(certain) > 3 else ""
    return {
        "level": "check",
        "badge": "Change",
        "sentence": f"{len(certain)} of {len(trends)} structures changed by more than the measurement uncertainty "
        f"since the first time point: {', '.join(names)}{more}.",
    }


def notes_of(found: Monitored) -> list[str]:
    """Return the sentences on the limits of this measurement."""
    notes = [
        "Every change is given with the half width of its 95 % interval, from both directions of the registration"
        + (", the disagreement of the pairs" if len(found.names) > 2 else "")
        + (" and simulated rescans." if found.settings.rescans else "; without rescans these intervals are too narrow.")
    ]
    if found.settings.sessions_percent:
        notes.append(
            f"They contain {NORMAL_95 * found.settings.sessions_percent:.1f} points for what two sessions of an "
            "unchanged person differ by beyond noise and position; only repeated scans tell its true value."
        )
    voxel = found.scans[0].grid.voxel_volume_mm3
    small = [trend.name for trend in found.trends if trend.first_mm3 < SMALL_VOXELS * voxel]
    if small:
        named = ", ".join(small[:4]) + (" and others" if len(small) > 4 else "")
        notes.append(
            f"{len(small)} structures have fewer than {SMALL_VOXELS} voxels ({named}), less than any that was checked "
            "with phantoms: their change can be wrong by more than the intervals say."
        )
    if len(found.trends) > 20:
        notes.append(
            f"Of {len(found.trends)} structures without any change about {len(found.trends) / 20:.0f} appear as "
            "changed by chance."
        )
    if min(found.residual) < GOOD_MATCH:
        notes.append(
            f"The correlation after registration is only {min(found.residual):.2f}: contrast, artifacts or field of "
            "view may differ between the time points."
        )
    return notes


def trend_plot(found: Monitored) -> Any:
    """Return a plot of the change of the structures that changed most, with their 95 % intervals."""
    figure = new_figure(11.0, 3.8)
    axes = figure.add_axes((0.075, 0.15, 0.62, 0.78))
    place = np.array(found.days if found.days else range(1, len(found.names) + 1), dtype=float)
    shown = _by_change(found.trends)[:MOST_DRAWN]
    width = float(np.ptp(place)) or 1.0
    for number, trend in enumerate(shown):
        values = np.array([0.0, *(change.percent for change in trend.changes)])
        errors = np.array([0.0, *(change.uncertainty for change in trend.changes)])
        shift = 0.006 * width * (number - (len(shown) - 1) / 2)
        axes.errorbar(
            place + shift, values, yerr=errors, color=LINES[number], linewidth=1.5, marker="o", markersize=4, capsize=3,
            label=trend.name,
        )  # fmt: skip
    axes.axhline(0, color=TEXT, linewidth=0.8)
    axes.set_xticks(place, [f"{value:g}" for value in place])
    axes.set_xlabel("days since the first time point" if found.days else "time point")
    axes.set_ylabel("change of volume (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=9)
    tidy(axes)
    return figure


def change_bars(trends: Sequence[StructureTrend]) -> Any:
    """Return bars of the change at the last time point with their 95 % intervals; certain changes are colored."""
    shown = _by_change(trends)[:MOST_BARS][::-1]
    height = 0.75 + 0.27 * len(shown)
    figure = new_figure(11.0, height)
    axes = figure.add_axes((0.25, 0.5 / height, 0.71, 1 - 0.65 / height))
    last = [trend.changes[-1] for trend in shown]
    colors = [AFTER if change.is_certain else BEFORE for change in last]
    place = np.arange(len(shown))
    axes.barh(place, [change.percent for change in last], color=colors, height=0.62, zorder=2)
    axes.errorbar(
        [change.percent for change in last],
        place,
        xerr=[change.uncertainty for change in last],
        fmt="none",
        ecolor=TEXT,
        capsize=2.5,
        linewidth=1,
        zorder=3,
    )
    axes.axvline(0, color=TEXT, linewidth=0.8)
    axes.set_yticks(place, [trend.name for trend in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("change of volume since the first time point (%)")
    tidy(axes, along="x")
    axes.grid(axis="y", color=FAINT, linewidth=0)
    return figure


def _parts(found: Monitored) -> list[dict[str, Any]]:
    slices = Slices(Pair(found.scans[0], found.scans[0]))
    parts = []
    if len(found.trends) > 1 or len(found.names) > 2:
        parts.append(
            picture_part(
                "Trend",
                "Change of volume since the first time point, structures with the largest changes; bars are 95 % "
                "intervals.",
                trend_plot(found),
                photo=False,
            )
        )
    parts.append(
        picture_part(
            "Changes at the last time point",
            "Blue bars are larger than their uncertainty (95 % interval), gray bars are not.",
            change_bars(found.trends),
            photo=False,
        )
    )
    limit = _limit(found)
    rows = [
        (f"1 to {time + 1}", _colored(slices, change, found.segmentation, limit))
        for time, change in enumerate(found.maps, 1)
    ]
    names = {-limit: f"-{limit:g} %\nsmaller", 0.0: "0", limit: f"+{limit:g} %\nlarger"}
    bar = Bar("local change of volume", -limit, limit, names)
    parts.append(
        picture_part(
            "Where it changed",
            "Local change of volume from the first to a further time point: orange where tissue grew, blue where it "
            "shrank. Lines are the structures at the first time point.",
            strip(slices.planes, rows, bar=bar),
        )
    )
    volumes = [
        (f"Time {number}", gray(slices.scaled(scan, 0.0, float(np.percentile(scan.array, 99.7)))))
        for number, scan in enumerate(found.scans, 1)
    ]
    parts.append(
        picture_part(
            "Time points",
            "All time points in their common space, after rigid alignment: the same slices of the same head.",
            strip(slices.planes, volumes),
        )
    )
    return parts


def _colored(slices: Slices, change: Volume, structures: LabelMap, limit: float) -> Draw:
    fixed, values = slices.fixed(), slices.values(change, fill=0.0)
    inside, coded = slices.inside(), slices.labels(structures)

    def draw(axes: Any, n: int) -> None:
        axes.imshow(fixed[n], cmap="gray", vmin=0, vmax=1, **EXTENT)
        strength = np.clip(np.abs(values[n]) / limit * 1.6, 0, 0.85) * inside[n]
        axes.imshow(values[n], cmap=diverging(), vmin=-limit, vmax=limit, alpha=strength, **EXTENT)
        for label in np.unique(coded[n]):
            if label:
                axes.contour((coded[n] == label).astype(float), levels=[0.5], colors=["#e8edf2"], linewidths=0.5)

    return draw


def _limit(found: Monitored) -> float:
    """Return the end of the color scale in percent: 5, 10, 20 or 50."""
    inside = foreground(found.scans[0])
    largest = max(float(np.percentile(np.abs(change.array[inside]), 98)) for change in found.maps)
    return next((value for value in (5.0, 10.0, 20.0) if largest <= value), 50.0)


def _table(found: Monitored, time: int) -> dict[str, Any]:
    with_years = found.days is not None
    rows = []
    for trend in _by_change(found.trends, time):
        change = trend.changes[time - 1]
        rows.append(
            [
                trend.name,
                f"{trend.first_mm3 / 1000:.2f}",
                f"{change.volume_mm3 / 1000:.2f}",
                f"{_signed(change.percent)} ± {change.uncertainty:.2f}",
                *([_signed(change.per_year)] if with_years and change.per_year is not None else []),
                f"{_signed(change.forward)} / {_signed(change.backward)}",
                "–" if np.isnan(trend.no_change) else f"{trend.no_change:.2f}",
                "changed" if change.is_certain else "not certain",
            ]
        )
    return {
        "title": f"{found.names[0]} to {found.names[time]}",
        "caption": "Volumes in milliliters, changes in percent with the half width of the 95 % interval, measured "
        "forward and backward, and the change measured in simulated rescans.",
        "columns": [
            "Structure",
            "Before, ml",
            "After, ml",
            "Change, %",
            *(["Per year, %"] if with_years else []),
            "Forward / backward, %",
            "No-change error, %",
            "Result",
        ],
        "rows": rows,
        "folded": len(rows) > 40,
    }


def _by_change(trends: Sequence[StructureTrend], time: int = 0) -> list[StructureTrend]:
    """Return certain changes first, the largest relative to their uncertainty first."""

    def key(trend: StructureTrend) -> tuple[bool, float]:
        change: Change = trend.changes[time - 1]
        return (not change.is_certain, -abs(change.percent))

    return sorted(trends, key=key)


def _extreme(title: str, trends: Sequence[StructureTrend], sign: int) -> dict[str, str]:
    certain = [trend for trend in trends if trend.changes[-1].is_certain and sign * trend.changes[-1].percent > 0]
    if not certain:
        return tile(title, "none", "beyond the uncertainty")
    trend = max(certain, key=lambda one: sign * one.changes[-1].percent)
    change = trend.changes[-1]
    return tile(title, f"{_signed(change.percent)} %", f"{trend.name}, ± {change.uncertainty:.2f}")


def _no_change(trends: Sequence[StructureTrend]) -> str:
    values = [trend.no_change for trend in trends if np.isfinite(trend.no_change)]
    return f"{np.median(values):.2f} %" if values else "–"


def _signed(value: float) -> str:
    return f"{value:+.2f}"
