"""Table, plot and page of a motion correction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.figures import Slices, strip
from ..evaluation.pages import Page, picture_part, settings_rows, tile
from ..evaluation.plotting import AFTER, BEFORE, START, gray, new_figure, png_bytes, tidy
from ..files import write_bytes, write_csv, write_text
from ..pair import Pair
from .correct import MEAN, CorrectedMotion
from .measures import FrameMotion

PAPERS = (
    "Jenkinson et al., Improved optimization for the robust and accurate linear registration and motion correction of "
    "brain images, NeuroImage 17:825-841, 2002, doi 10.1006/nimg.2002.1132",
    "Metz et al., Nonrigid registration of dynamic medical imaging data using nD + t B-splines and a groupwise "
    "optimization approach, Med. Image Anal. 15:238-249, 2011, doi 10.1016/j.media.2010.10.003",
)
FOLDED_PERCENT = 1.0
TABLE, PLOT, PAGE = "motion.csv", "motion.png", "motion.html"
# Columns of the table: field of `FrameMotion` and column of motion.csv, title on the page, decimals.
COLUMNS = (
    ("mean_mm", "Mean motion, mm", 2),
    ("p95_mm", "95th percentile, mm", 2),
    ("largest_mm", "Largest, mm", 2),
    ("step_mm", "From the frame before, mm", 2),
    ("correlation_before", "Correlation before", 3),
    ("correlation_after", "Correlation after", 3),
    ("tre_before_mm", "Landmark error before, mm", 2),
    ("tre_after_mm", "Landmark error after, mm", 2),
    ("folded_percent", "Folded, %", 2),
    ("inverse_error_mm", "Error of the inverse, mm", 3),
    ("seconds", "Time, s", 1),
    ("cpu_seconds", "CPU time, s", 1),
)


def write_motion_table(found: CorrectedMotion) -> Path:
    """Write motion.csv: one line per frame; linear transforms with their translation and rotation."""
    columns = ["frame", *([] if found.step_s is None else ["time_s"]), *(name for name, *_ in COLUMNS)]
    linear = all(frame.shift_mm is not None for frame in found.frames)
    columns += [f"shift_{axis}_mm" for axis in "xyz"] + [f"turn_{axis}_deg" for axis in "xyz"] if linear else []
    rows = []
    for frame in found.frames:
        row: list[Any] = [frame.number, *([] if found.step_s is None else [round(frame.number * found.step_s, 6)])]
        row += [_rounded(getattr(frame, field)) for field, *_ in COLUMNS]
        row += [_rounded(value) for value in (*(frame.shift_mm or ()), *(frame.turn_deg or ()))] if linear else []
        rows.append(row)
    return write_csv(found.folder / TABLE, columns, rows)


def write_motion_page(found: CorrectedMotion) -> dict[str, Path]:
    """Write motion.html and motion.png, and return them by role.

    Raises
    ------
    RegistrationError
        When matplotlib or jinja2 is missing.
    """
    page = Page("atlas.html")
    plot = motion_plot(found)
    written = {"plot": write_bytes(found.folder / PLOT, png_bytes(plot))}
    values = {
        "kicker": "Motion report",
        "title": found.name,
        "summary": f"{len(found.frames)} frames, reference {reference_text(found)}, engine {found.settings.engine}",
        "verdict": verdict_of(found),
        "tiles": _tiles(found),
        "notes": notes_of(found),
        "parts": [
            picture_part(
                "Motion over time",
                "Displacement from the reference to each frame inside the body, and how well the frames match the "
                "reference before and after the correction.",
                plot,
                photo=False,
            ),
            *_pictures(found),
        ],
        "tables": [_table(found)],
        "details": [
            *settings_rows(found.settings),
            ("CPU time of the registrations", f"{found.cpu_seconds:.0f} s"),
        ],
        "papers": PAPERS,
    }
    return {"page": write_text(found.folder / PAGE, page.filled(values)), **written}


def reference_text(found: CorrectedMotion) -> str:
    """Return the reference in words."""
    chosen = found.settings.reference
    return "the mean of all frames" if chosen == MEAN else f"frame {chosen}".replace("frame first", "frame 0")


def verdict_of(found: CorrectedMotion) -> dict[str, str]:
    """Return level, badge and sentence: whether the frames match better than before."""
    worse = [frame.number for frame in found.frames if frame.correlation_after < frame.correlation_before - 0.005]
    folded = [frame.number for frame in found.frames if frame.folded_percent > FOLDED_PERCENT]
    if worse:
        return {
            "level": "bad",
            "badge": "Check",
            "sentence": f"{_frames(worse)} match the reference worse than before the correction.",
        }
    if folded:
        return {
            "level": "check",
            "badge": "Folded",
            "sentence": f"The transforms of {_frames(folded).lower()} are folded in more than {FOLDED_PERCENT:g} % of "
            "the body.",
        }
    before, after = (
        min(getattr(frame, name) for frame in found.frames) for name in ("correlation_before", "correlation_after")
    )
    return {
        "level": "good",
        "badge": "Corrected",
        "sentence": f"The lowest correlation of a frame with the reference is {after:.3f}; it was {before:.3f} before.",
    }


def notes_of(found: CorrectedMotion) -> list[str]:
    """Return sentences on the limits of the correction."""
    notes = ["Correlation does not prove a correct motion: compare landmarks or structures where it matters."]
    if found.settings.smooth_frames > 0:
        notes.append(
            f"The motion was averaged over neighboring frames (standard deviation {found.settings.smooth_frames:g} "
            "frames): sudden motion of single frames is reduced."
        )
    return notes


def motion_plot(found: CorrectedMotion) -> Any:
    """Return the plot of motion and match over time."""
    figure = new_figure(11.0, 3.4)
    frames = found.frames
    time = np.array([frame.number * (found.step_s or 1.0) for frame in frames])
    label = "frame" if found.step_s is None else "time (s)"
    axes = figure.add_axes((0.06, 0.16, 0.41, 0.72))
    axes.plot(time, _column(frames, "largest_mm"), color=BEFORE, marker=".", label="largest")
    axes.plot(time, _column(frames, "p95_mm"), color=START, marker=".", label="95th percentile")
    axes.plot(time, _column(frames, "mean_mm"), color=AFTER, marker="o", markersize=4, label="mean")
    axes.set(xlabel=label, ylabel="displacement (mm)")
    axes.set_ylim(bottom=0)
    right = figure.add_axes((0.56, 0.16, 0.41, 0.72))
    with_landmarks = any(frame.tre_after_mm is not None for frame in frames)
    before, after, title = (
        ("tre_before_mm", "tre_after_mm", "mean landmark error (mm)")
        if with_landmarks
        else ("correlation_before", "correlation_after", "correlation with the reference")
    )
    right.plot(time, _column(frames, before), color=BEFORE, marker="o", markersize=4, label="before")
    right.plot(time, _column(frames, after), color=AFTER, marker="o", markersize=4, label="after")
    right.set(xlabel=label, ylabel=title)
    if with_landmarks:
        right.set_ylim(bottom=0)
    for one in (axes, right):
        one.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=9)
        tidy(one)
    return figure


def _pictures(found: CorrectedMotion) -> list[dict[str, Any]]:
    slices = Slices(Pair(found.reference, found.reference))
    means, spread = (found.mean_before, found.mean_after), (found.deviation_before, found.deviation_after)
    parts = []
    for title, caption, volumes, like in (
        ("Mean over time", "Moving edges are blurred before the correction.", means, found.mean_after),
        ("Standard deviation over time", "Bright where the intensity changes from frame to frame.", spread, spread[0]),
    ):
        low, high = np.percentile(like.array, [0.5, 99.7])
        before, after = (gray(slices.scaled(volume, float(low), float(high))) for volume in volumes)
        parts.append(picture_part(title, caption, strip(slices.planes, [("Before", before), ("After", after)])))
    return parts


def _tiles(found: CorrectedMotion) -> list[dict[str, str]]:
    frames = found.frames
    most = max(frames, key=lambda frame: frame.mean_mm)
    tiles = [
        tile("Largest mean motion", f"{most.mean_mm:.2f} mm", f"frame {most.number}"),
        tile("Largest motion", f"{max(frame.largest_mm for frame in frames):.1f} mm", "any voxel of the body"),
        tile("Match", f"{min(frame.correlation_after for frame in frames):.3f}", "lowest correlation after"),
        tile("Folded", f"{max(frame.folded_percent for frame in frames):.2f} %", "worst frame"),
    ]
    errors = [(frame.tre_before_mm, frame.tre_after_mm) for frame in frames if frame.tre_after_mm is not None]
    if errors:
        before, after = np.mean(np.array(errors, dtype=float), axis=0)
        tiles.insert(0, tile("Landmark error", f"{after:.2f} mm", f"mean of frames, {before:.2f} mm before"))
    return tiles


def _table(found: CorrectedMotion) -> dict[str, Any]:
    shown = [entry for entry in COLUMNS if any(getattr(frame, entry[0]) is not None for frame in found.frames)]
    return {
        "title": "Frames",
        "caption": "Motion from the reference to each frame, inside the body of the reference.",
        "columns": ["Frame", *(title for _, title, _ in shown)],
        "rows": [
            [str(frame.number), *(_text(getattr(frame, field), decimals) for field, _, decimals in shown)]
            for frame in found.frames
        ],
        "folded": len(found.frames) > 40,
    }


def _frames(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"Frames {', '.join(map(str, numbers[:5]))}{more}" if len(numbers) > 1 else f"Frame {numbers[0]}"


def _column(frames: Sequence[FrameMotion], name: str) -> Any:
    values = (getattr(frame, name) for frame in frames)
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _text(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
