"""Pictures of volumes on three planes, in rows, all at the same physical scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pair import Pair
from ..transforms.transform import Transform
from .colors import FOLD
from .evaluate import Evaluation
from .planes import Picture, Plane, Slices
from .plotting import INK, PANEL, Draw, diverging, new_figure, rising

WIDTH_IN = 11.0
LEFT_IN, RIGHT_IN, TOP_IN, GAP_IN = 0.42, 0.12, 0.34, 0.08
HIGHEST_ROW_IN = 4.1
Row = tuple[str, Draw]


@dataclass(frozen=True, eq=False)
class Side:
    """The moving volume before or after registration.

    Attributes
    ----------
    title : str
        'Before' or 'After'.
    volumes : list of Picture
        The volume on the planes, 0 to 1.
    mapping : Transform or None
        Fixed-to-moving transform; None when only the headers are used.
    """

    title: str
    volumes: list[Picture]
    mapping: Transform | None = None


class Pictures:
    """The volumes of one registration on three planes, as input of the views.

    Parameters
    ----------
    pair : Pair
        The registered pair.
    transform : Transform
        The fixed-to-moving transform.
    evaluation : Evaluation
        Measures and volumes of the registration.
    """

    def __init__(self, pair: Pair, transform: Transform, evaluation: Evaluation) -> None:
        self.pair = pair
        self.transform = transform
        self.evaluation = evaluation
        self.slices = Slices(pair)
        self.fixed = self.slices.fixed()
        self.before = Side("Before", self.slices.moving())
        self.after = Side("After", self.slices.moving(transform), transform)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes of the pictures."""
        return self.slices.planes


EDGES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.985, "center", "top"),
    (0.5, 0.015, "center", "bottom"),
)


@dataclass(frozen=True)
class Bar:
    """A color bar below a picture.

    Attributes
    ----------
    title : str
        Quantity with its unit.
    low, high : float
        Values at its ends.
    names : mapping of float to str
        Values with a name.
    fold : bool
        Whether the color of folds is shown.
    signed : bool
        Whether both signs are shown; other scales begin at zero.
    """

    title: str
    low: float
    high: float
    names: Mapping[float, str]
    fold: bool = False
    signed: bool = True


def strip(planes: Sequence[Plane], rows: Sequence[Row], *, bar: Bar | None = None) -> Any:
    """Return a figure with one row per entry and one column per plane, all at the same physical scale.

    Parameters
    ----------
    planes : sequence of Plane
        The columns.
    rows : sequence of (title, draw)
        `draw(axes, n)` draws the n-th plane.
    bar : Bar, optional
        Color bar below.
    """
    widths = np.array([plane.width_mm for plane in planes])
    tallest = max(plane.height_mm for plane in planes)
    inner = WIDTH_IN - LEFT_IN - RIGHT_IN - GAP_IN * (len(planes) - 1)
    scale = min(inner / widths.sum(), HIGHEST_ROW_IN / tallest)
    margin = LEFT_IN + (inner - widths.sum() * scale) / 2
    row_height = tallest * scale
    bottom = 0.85 if bar else 0.1
    height = TOP_IN + len(rows) * row_height + (len(rows) - 1) * GAP_IN + bottom
    figure = new_figure(WIDTH_IN, height, dark=True)
    for r, (title, draw) in enumerate(rows):
        upper = height - TOP_IN - r * (row_height + GAP_IN)
        middle = (upper - row_height / 2) / height
        figure.text(0.15 / WIDTH_IN, middle, title, rotation=90, color=INK, fontsize=11, ha="center", va="center")
        left = margin
        for n, plane in enumerate(planes):
            width, tall = plane.width_mm * scale, plane.height_mm * scale
            low = upper - (row_height + tall) / 2
            axes = figure.add_axes((left / WIDTH_IN, low / height, width / WIDTH_IN, tall / height))
            draw(axes, n)
            _finish(axes, plane)
            if r == 0:
                center = (left + width / 2) / WIDTH_IN
                figure.text(center, 1 - 0.17 / height, plane.name, color=INK, fontsize=11, ha="center", va="center")
            left += width + GAP_IN
    if bar:
        _color_bar(figure, height, bar)
    return figure


def _finish(axes: Any, plane: Plane) -> None:
    from matplotlib.patheffects import withStroke

    axes.set(xticks=[], yticks=[], facecolor="black")
    axes.set_xlim(-0.5, plane.grid.size[0] - 0.5)
    axes.set_ylim(plane.grid.size[1] - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for letter, (x, y, horizontal, vertical) in zip(plane.letters, EDGES, strict=True):
        text = axes.text(
            x, y, letter, transform=axes.transAxes, color="white", fontsize=9.5, ha=horizontal, va=vertical
        )
        text.set_path_effects([withStroke(linewidth=2.2, foreground="black")])


def _color_bar(figure: Any, height: float, bar: Bar) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = figure.add_axes((0.33, 0.46 / height, 0.34, 0.13 / height))
    colors = ScalarMappable(Normalize(bar.low, bar.high), diverging() if bar.signed else rising())
    drawn = figure.colorbar(colors, cax=axes, orientation="horizontal", ticks=list(bar.names))
    drawn.set_ticklabels(list(bar.names.values()))
    drawn.outline.set_edgecolor(PANEL)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    figure.text(0.31, 0.525 / height, bar.title, color=INK, fontsize=10, ha="right", va="center")
    if bar.fold:
        figure.text(0.70, 0.525 / height, "■", color=FOLD, fontsize=13, ha="left", va="center")
        figure.text(0.725, 0.525 / height, "folded (no inverse)", color=INK, fontsize=10, ha="left", va="center")
