"""The page of an atlas: pictures of its rounds, spread and labels, plots of its convergence, and the subjects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.figures import Bar, Slices, strip
from ..evaluation.pages import Page, picture_part, settings_rows, tile
from ..evaluation.plotting import AFTER, EXTENT, START, Draw, gray, new_figure, rising, tidy
from ..files import write_text
from ..images.io import read_volume
from ..images.volume import Volume
from ..pair import Pair
from .atlas_build import WORK, Atlas, Round

PAPERS = (
    "Joshi et al., Unbiased diffeomorphic atlas construction, NeuroImage 23:S151-S160, 2004, "
    "doi 10.1016/j.neuroimage.2004.07.068",
    "Avants et al., The optimal template effect, NeuroImage 49:2457-2466, 2010, doi 10.1016/j.neuroimage.2009.09.062",
)
WELL_CENTERED_VOX = 0.1
MOST_ROWS = 4


def write_atlas_page(atlas: Atlas) -> Path:
    """Write atlas.html into the folder of the atlas.

    Raises
    ------
    RegistrationError
        When matplotlib or jinja2 is missing.
    """
    page = Page("atlas.html")
    last, spacing = atlas.rounds[-1], min(atlas.template.grid.spacing_mm)
    centered = atlas.centering_mm < WELL_CENTERED_VOX * spacing
    folds = max(member.folded_percent for member in atlas.members)
    values = {
        "kicker": "Atlas",
        "title": f"Atlas of {len(atlas.members)} subjects",
        "summary": f"Mean shape and intensity, engine {atlas.settings.engine}, "
        f"{' × '.join(map(str, atlas.template.grid.size))} voxels of {spacing:.3g} mm",
        "verdict": {
            "level": "good" if centered else "check",
            "badge": "Centered" if centered else "Not centered",
            "sentence": f"The mean of all transforms moves the atlas by {atlas.centering_mm:.2g} mm on average, so "
            f"{'no subject is the reference' if centered else 'its shape is not the mean of the subjects'}.",
        },
        "tiles": [
            tile("Subjects", str(len(atlas.members)), ""),
            tile("Rounds", str(len(atlas.rounds)), f"{sum(r.stage == 'linear' for r in atlas.rounds)} linear"),
            tile("Sharpness", f"{100 * last.sharpness:.0f} %", "mean gradient, relative to the subjects"),
            tile("Last shift", f"{last.shift_mm:.2g} mm", "mean transform removed in the last round"),
            tile("Folds", f"{folds:.2g} %", "worst subject"),
            tile("CPU time", f"{sum(r.cpu_seconds for r in atlas.rounds):.0f} s", "all registrations"),
        ],
        "notes": [],
        "parts": _parts(atlas),
        "tables": [_subjects(atlas), _rounds(atlas)],
        "details": settings_rows(atlas.settings),
        "papers": PAPERS,
    }
    return write_text(atlas.folder / "atlas.html", page.filled(values))


def _parts(atlas: Atlas) -> list[dict[str, Any]]:
    slices = Slices(Pair(atlas.template, atlas.template))
    rows: list[tuple[str, Draw]] = []
    for one in _shown_rounds(atlas.rounds):
        image = read_volume(atlas.folder / WORK / f"{one.stage}_{one.number}.nii.gz")
        shown = slices.scaled(image, 0.0, float(np.percentile(image.array, 99.7)))
        rows.append((f"{one.stage.capitalize()} {one.number}", gray(shown)))
    parts = [
        picture_part("Rounds", "The atlas after some of the rounds: it becomes sharper.", strip(slices.planes, rows)),
        picture_part(
            "Spread",
            "Standard deviation of the intensities over the subjects: bright where anatomies or their registrations "
            "differ.",
            _spread(slices, atlas.deviation),
        ),
    ]
    if atlas.segmentation is not None:
        drawn = strip(slices.planes, [("Labels", _labels(slices, atlas))])
        parts.append(picture_part("Labels", "Most probable label of every voxel, over the atlas.", drawn))
    parts.append(
        picture_part(
            "Convergence",
            "Left: mean transform that was removed in each round. Middle: change of the intensities. Right: sharpness "
            "relative to the subjects (their mean gradient is 100 %).",
            convergence_plot(atlas.rounds),
            photo=False,
        )
    )
    return parts


def convergence_plot(rounds: Sequence[Round]) -> Any:
    """Return a figure with the removed shift, the change of intensity and the sharpness of every round."""
    figure = new_figure(11.0, 2.9)
    place = np.arange(1, len(rounds) + 1)
    colors = [START if one.stage == "linear" else AFTER for one in rounds]
    series = (
        ("shift removed (mm)", [one.shift_mm for one in rounds]),
        ("change (%)", [100 * one.change for one in rounds]),
        ("sharpness (%)", [100 * one.sharpness for one in rounds]),
    )
    for number, (title, values) in enumerate(series):
        axes = figure.add_axes((0.055 + 0.33 * number, 0.19, 0.265, 0.68))
        axes.plot(place, values, color=AFTER, linewidth=1.2, zorder=2)
        axes.scatter(place, values, color=colors, s=32, zorder=3)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xticks(place, [f"{one.stage[0].upper()}{one.number}" for one in rounds])
        axes.set_xlabel("round (L: linear, D: deformable)", fontsize=9)
        axes.set_xlim(0.6, len(rounds) + 0.4)
        top, bottom = float(np.nanmax(values)), float(np.nanmin(values)) if number == 2 else 0.0
        room = 0.12 * max(top - bottom, 1e-6)
        axes.set_ylim(bottom - room if bottom else 0.0, top + room)
        tidy(axes)
    return figure


def label_colors(count: int) -> Any:
    """Return a color map with clear 0 and distinct colors of neighboring numbers."""
    from matplotlib.colors import ListedColormap, hsv_to_rgb

    hues = (np.arange(count) * 0.618) % 1.0
    tones = [hsv_to_rgb((hue, 0.55 + 0.4 * (n % 2), 0.95 - 0.25 * (n % 3) / 2)) for n, hue in enumerate(hues)]
    return ListedColormap([(0, 0, 0, 0), *((*tone, 0.5) for tone in tones)], "labels")


def _labels(slices: Slices, atlas: Atlas) -> Draw:
    assert atlas.segmentation is not None
    fixed, coded = slices.fixed(), slices.labels(atlas.segmentation)
    known = np.array([0, *atlas.segmentation.labels])
    colors = label_colors(len(known) - 1)

    def draw(axes: Any, n: int) -> None:
        axes.imshow(fixed[n], cmap="gray", vmin=0, vmax=1, **EXTENT)
        places = np.searchsorted(known, coded[n])
        axes.imshow(places, cmap=colors, vmin=-0.5, vmax=len(known) - 0.5, interpolation="nearest", aspect="equal")

    return draw


def _spread(slices: Slices, deviation: Volume) -> Any:
    values = slices.values(deviation, fill=0.0)
    highest = float(np.percentile(deviation.array[slices.region], 99))

    def draw(axes: Any, n: int) -> None:
        axes.imshow(values[n], cmap=rising(), vmin=0, vmax=highest, **EXTENT)

    bar = Bar(
        "deviation", 0, highest, {0.0: "0", highest: f"{highest / 10:.0f} % of the brightest tissue"}, signed=False
    )
    return strip(slices.planes, [("Spread", draw)], bar=bar)


def _shown_rounds(rounds: Sequence[Round]) -> list[Round]:
    """Return the last linear round, the first deformable ones and the last round."""
    linear = [one for one in rounds if one.stage == "linear"][-1:]
    deformable = [one for one in rounds if one.stage == "deformable"]
    chosen = [*linear, *deformable[: MOST_ROWS - 2], *deformable[-1:]]
    return list(dict.fromkeys(chosen))


def _subjects(atlas: Atlas) -> dict[str, Any]:
    rows = [
        [
            member.name,
            f"{member.correlation:.3f}",
            f"{member.displacement_mm:.2f}",
            f"{member.folded_percent:.2g}",
            f"{member.inverse_error_mm:.2g}",
        ]
        for member in atlas.members
    ]
    return {
        "title": "Subjects",
        "caption": "The least similar subject first: check it for a failed registration or an unusual anatomy.",
        "columns": [
            "Subject",
            "Correlation with the atlas",
            "Mean displacement, mm",
            "Folds, %",
            "Error of the inverse, mm",
        ],
        "rows": rows,
        "folded": len(rows) > 30,
    }


def _rounds(atlas: Atlas) -> dict[str, Any]:
    rows = [
        [
            f"{one.stage} {one.number}",
            _number(one.shift_mm),
            _number(100 * one.change),
            _number(100 * one.sharpness),
            f"{one.cpu_seconds:.0f}",
        ]
        for one in atlas.rounds
    ]
    return {
        "title": "Rounds",
        "caption": "The first linear round aligns all subjects to the one of median size, whose bias is then removed.",
        "columns": ["Round", "Shift removed, mm", "Change, %", "Sharpness, %", "CPU, s"],
        "rows": rows,
        "folded": False,
    }


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "–"
