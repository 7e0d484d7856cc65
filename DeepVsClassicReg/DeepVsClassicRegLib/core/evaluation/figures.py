"""Pictures of a registration: overlays, checkerboard, difference, contours, Jacobian and deformed grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError
from ..images.lengths import nearest_step
from ..pair import Pair
from ..result import Result
from ..transforms.affine import fit_affine, is_flat
from ..transforms.transform import Transform
from .evaluate import Evaluation
from .planes import Picture, Plane, Slices
from .plotting import FOLD, INK, PANEL, diverging, new_figure, png_bytes

WIDTH_IN = 11.0
LEFT_IN, RIGHT_IN, TOP_IN, GAP_IN = 0.42, 0.12, 0.34, 0.08
HIGHEST_ROW_IN = 4.1
CHECKS = 7
GRID_LINES = 24
Draw = Callable[[Any, int], None]
Row = tuple[str, Draw]


class Pictures:
    """Draws the pictures of one registration; every method returns a matplotlib figure.

    Parameters
    ----------
    pair : Pair
        The volumes.
    transform : Transform
        The fixed-to-moving map.
    evaluation : Evaluation
        Its measures and volumes.
    """

    def __init__(self, pair: Pair, transform: Transform, evaluation: Evaluation) -> None:
        self.pair = pair
        self.transform = transform
        self.evaluation = evaluation
        self.slices = Slices(pair)
        self.fixed = self.slices.fixed()
        self.before = self.slices.moving()
        self.after = self.slices.moving(transform)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that are shown."""
        return self.slices.planes

    def all(self) -> dict[str, Any]:
        """Return every picture that can be drawn of this pair, by name."""
        drawn = {
            "overlay": self.overlay(),
            "color": self.color(),
            "checkerboard": self.checkerboard(),
            "difference": self.difference(),
            "jacobian": self.jacobian(),
            "grid": self.grid(),
        }
        if self.pair.fixed_labels is not None:
            drawn["contours"] = self.contours()
        return drawn

    def overlay(self) -> Any:
        """Fixed, moving before, moving after."""
        rows = (("Fixed", self.fixed), ("Moving, before", self.before), ("Moving, after", self.after))
        return strip(self.planes, [(title, gray(pictures)) for title, pictures in rows])

    def color(self) -> Any:
        """Fixed in red, moving in cyan: gray where both agree."""
        return strip(self.planes, [(f"{title}", self.color_row(p)) for title, p in self._columns()])

    def checkerboard(self) -> Any:
        """Fixed and moving in turn."""
        return strip(self.planes, [(t, gray(self._checked(p))) for t, p in self._columns()])

    def difference(self) -> Any:
        """Fixed minus moving, each scaled to 0..1."""

        def row(pictures: Sequence[Picture]) -> Draw:
            return lambda axes, n: axes.imshow(self.fixed[n] - pictures[n], cmap=diverging(), vmin=-1, vmax=1, **EXTENT)

        bar = ("Fixed minus moving (scaled intensities)", diverging(), (-1, 1), [-1, 0, 1], None)
        return strip(self.planes, [(title, row(pictures)) for title, pictures in self._columns()], bar=bar)

    def contours(self) -> Any:
        """Outlines of the fixed labels on the moving volume."""
        return strip(self.planes, [(title, self.contour_row(pictures)) for title, pictures in self._columns()])

    def jacobian(self) -> Any:
        """Local volume change: log2 of the Jacobian determinant, folds marked."""
        reach = self.jacobian_reach()
        bar = self.jacobian_bar(reach)
        return strip(self.planes, [("Volume change", self.jacobian_row(reach))], bar=bar, fold=True)

    def grid(self) -> Any:
        """Graph paper glued to the moving volume, after warping (linear part removed)."""
        return strip(self.planes, [(f"Deformed grid, {self.grid_step_mm:g} mm", self.grid_row())])

    def color_row(self, pictures: Sequence[Picture]) -> Draw:
        """Return a row with the fixed volume in red and these pictures in cyan."""

        def draw(axes: Any, n: int) -> None:
            axes.imshow(np.stack([self.fixed[n], pictures[n], pictures[n]], axis=-1), **EXTENT)

        return draw

    def contour_row(self, pictures: Sequence[Picture]) -> Draw:
        """Return a row with outlines of the fixed labels on these pictures."""
        labels = self.pair.fixed_labels
        drawn = self.slices.labels(labels) if labels is not None else []

        def draw(axes: Any, n: int) -> None:
            axes.imshow(pictures[n], cmap="gray", vmin=0, vmax=1, **EXTENT)
            outline_labels(axes, drawn[n])

        return draw

    def jacobian_row(self, reach: float) -> Draw:
        """Return a row with log2 of the determinant, dimmed outside the region, folds in a striking color."""
        values = self.slices.values(self.evaluation.jacobian, fill=1.0)
        inside = self.slices.inside()

        def draw(axes: Any, n: int) -> None:
            logs = np.log2(np.maximum(values[n], 2.0 ** (-2 * reach)))
            axes.imshow(logs, cmap=diverging(), vmin=-reach, vmax=reach, alpha=np.where(inside[n], 1.0, 0.25), **EXTENT)
            folds = np.zeros((*values[n].shape, 4))
            folds[values[n] <= 0] = FOLD
            folds[..., 3] *= np.where(inside[n], 1.0, 0.3)
            axes.imshow(folds, **EXTENT)
            axes.contour(inside[n], levels=[0.5], colors=[INK], linewidths=0.5, alpha=0.6)

        return draw

    def jacobian_reach(self) -> float:
        """Return the log2 determinant at the ends of the color bar: nearly all of the region lies between."""
        values = self.evaluation.jacobian.array[self.slices.region]
        logs = np.abs(np.log2(np.maximum(values[:: max(1, values.size // 200000)], 1e-3)))
        return float(np.clip(np.ceil(2 * np.percentile(logs, 99)) / 2, 0.5, 3))

    def jacobian_bar(self, reach: float) -> tuple[Any, ...]:
        """Return the color bar of `jacobian_row`."""
        names = [f"{2.0**-reach:.2g}×\nmoving smaller", "1×", f"{2.0**reach:.2g}×\nmoving larger"]
        return "Moving volume per fixed volume", diverging(), (-reach, reach), [-reach, 0, reach], names

    @property
    def grid_step_mm(self) -> float:
        """Distance of the lines of the deformed grid."""
        wanted = max(max(plane.width_mm, plane.height_mm) for plane in self.planes) / GRID_LINES
        return nearest_step(wanted)

    def grid_row(self) -> Draw:
        """Return a row with the deformed grid over the warped volume."""
        coordinates, step = self._nonlinear_coordinates(), self.grid_step_mm

        def draw(axes: Any, n: int) -> None:
            axes.imshow(self.after[n] * 0.75, cmap="gray", vmin=0, vmax=1, **EXTENT)
            for axis in (0, 1):
                values = coordinates[n][..., axis]
                levels = np.arange(np.floor(values.min() / step) * step, values.max() + step, step)
                axes.contour(values, levels=levels, colors=["#ffd166"], linewidths=0.7, alpha=0.95)

        return draw

    def _columns(self) -> tuple[tuple[str, list[Picture]], ...]:
        return ("Before", self.before), ("After", self.after)

    def _checked(self, pictures: Sequence[Picture]) -> list[Picture]:
        checked = []
        for plane, fixed, moving in zip(self.planes, self.fixed, pictures, strict=True):
            edge = max(plane.width_mm, plane.height_mm) / CHECKS / plane.grid.spacing_mm[0]
            rows, columns = (np.arange(n) // edge for n in fixed.shape)
            checked.append(np.where((rows[:, None] + columns) % 2 == 0, fixed, moving))
        return checked

    def _nonlinear_coordinates(self) -> list[npt.NDArray[np.float64]]:
        """Return where each pixel comes from along the picture's two axes, mm, linear part taken away."""
        points = [plane.grid.points()[0] for plane in self.planes]
        fields = [self.transform.displacement_on(plane.grid).array_mm[0] for plane in self.planes]
        inside = self.slices.inside()
        chosen = np.concatenate([p[i] for p, i in zip(points, inside, strict=True)])
        moved = np.concatenate([(p + f)[i] for p, f, i in zip(points, fields, inside, strict=True)])
        linear = fit_affine(chosen, moved, kind="rigid" if is_flat(chosen) else "affine").inverse()
        coordinates = []
        for plane, point, field in zip(self.planes, points, fields, strict=True):
            offset = linear.apply(point + field) - np.array(plane.grid.origin_mm)
            coordinates.append(offset @ plane.grid.axes[:, :2])
        return coordinates


EDGES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.985, "center", "top"),
    (0.5, 0.015, "center", "bottom"),
)
EXTENT: dict[str, Any] = {"interpolation": "bilinear", "aspect": "equal"}


def gray(pictures: Sequence[Picture]) -> Draw:
    """Return a row of gray pictures."""
    return lambda axes, n: axes.imshow(pictures[n], cmap="gray", vmin=0, vmax=1, **EXTENT)


def outline_labels(axes: Any, labels: npt.NDArray[np.int32]) -> None:
    """Draw the outline of each label of a picture in its own color."""
    from matplotlib import colormaps

    colors = colormaps["hsv"](np.linspace(0, 1, 24, endpoint=False))
    for label in np.unique(labels):
        if label:
            member = np.pad(labels == label, 1).astype(np.float32)
            places = [np.arange(-1, n + 1) for n in (labels.shape[1], labels.shape[0])]
            color = 0.25 + 0.75 * colors[(int(label) * 7) % 24]
            axes.contour(*places, member, levels=[0.5], colors=[np.minimum(color, 1)], linewidths=0.9)


def strip(
    planes: Sequence[Plane], rows: Sequence[Row], *, bar: tuple[Any, ...] | None = None, fold: bool = False
) -> Any:
    """Return a figure with one row per entry and one column per plane, all to one physical scale.

    Parameters
    ----------
    planes : sequence of Plane
        The columns.
    rows : sequence of (title, draw)
        `draw(axes, n)` draws the n-th plane.
    bar : tuple, optional
        (title, colormap, limits, ticks, tick labels) of a color bar below.
    fold : bool
        Whether to explain the color of folds beside the bar.
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
        _color_bar(figure, height, bar, fold=fold)
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


def _color_bar(figure: Any, height: float, bar: tuple[Any, ...], *, fold: bool) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    title, colors, limits, ticks, names = bar
    axes = figure.add_axes((0.33, 0.46 / height, 0.34, 0.13 / height))
    drawn = figure.colorbar(ScalarMappable(Normalize(*limits), colors), cax=axes, orientation="horizontal", ticks=ticks)
    if names:
        drawn.set_ticklabels(names)
    drawn.outline.set_edgecolor(PANEL)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    figure.text(0.31, 0.525 / height, title, color=INK, fontsize=10, ha="right", va="center")
    if fold:
        figure.text(0.70, 0.525 / height, "■", color=FOLD[:3], fontsize=13, ha="left", va="center")
        figure.text(0.725, 0.525 / height, "folded (no inverse)", color=INK, fontsize=10, ha="left", va="center")


def write_figures(folder: str | Path, pair: Pair, result: Result | Transform, evaluation: Evaluation) -> list[Path]:
    """Write the pictures as overlay.png, color.png, checkerboard.png, difference.png, jacobian.png, grid.png, ...

    Raises
    ------
    RegistrationError
        When matplotlib is missing.
    FileError
        When the folder cannot be written.
    """
    transform = result if isinstance(result, Transform) else result.transform
    target = Path(folder)
    written = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, figure in Pictures(pair, transform, evaluation).all().items():
            path = target / f"{name}.png"
            path.write_bytes(png_bytes(figure))
            written.append(path)
    except OSError as error:
        raise FileError(f"Could not write pictures to {target}: {error}.", hint="Check the free space.") from error
    return written
