"""Matplotlib figures without a screen and without global state: their colors and encoding, and the plots of pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from . import colors
from .measures import HIGHER, Measure

PANEL, INK, PAPER, TEXT = "#0b0e13", "#e8edf2", "#ffffff", "#1d2733"
BEFORE, START, AFTER = "#b4bdc8", "#7aa6d8", "#0b6e99"
FAINT = "#dfe5eb"
DPI = 130
EXTENT: dict[str, Any] = {"interpolation": "bilinear", "aspect": "equal"}
Draw = Callable[[Any, int], None]
JPEG_QUALITY = 86


def new_figure(width_in: float, height_in: float, *, dark: bool = False) -> Any:
    """Return an empty matplotlib figure on an Agg canvas.

    Raises
    ------
    RegistrationError
        When matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RegistrationError(
            "Pictures and HTML reports need matplotlib, which is not installed.", hint="pip install matplotlib"
        ) from error
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor=PANEL if dark else PAPER)
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any, *, along: str = "y") -> None:
    """Remove distracting elements and draw faint lines across."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#aab4bf")
    axes.tick_params(colors=TEXT, labelsize=9, length=3)
    axes.yaxis.label.set_color(TEXT)
    axes.grid(axis=along, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def png_bytes(figure: Any) -> bytes:
    """Return the figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor=figure.get_facecolor())
    return buffer.getvalue()


def data_uri(figure: Any, *, photo: bool = True) -> str:
    """Return the figure as a data URI: JPEG for pictures of volumes, PNG for plots."""
    if not photo:
        return "data:image/png;base64," + base64.b64encode(png_bytes(figure)).decode("ascii")
    buffer = io.BytesIO()
    options = {"quality": JPEG_QUALITY, "optimize": True}
    figure.savefig(buffer, format="jpeg", dpi=DPI, facecolor=figure.get_facecolor(), pil_kwargs=options)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def gray(pictures: Sequence[npt.NDArray[np.float32]]) -> Draw:
    """Return the function that draws a row of gray pictures, 0 to 1."""
    return lambda axes, n: axes.imshow(pictures[n], cmap="gray", vmin=0, vmax=1, **EXTENT)


@cache
def diverging() -> Any:
    """Return the color map of signed values, the one of the slice views (`colors.diverging`)."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(colors.diverging(256), "blue-black-orange")


@cache
def rising() -> Any:
    """Return the color map of values that begin at zero, the same as in the slice views (`colors.rising`)."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(colors.rising(256), "black-orange")


MOST_NAMED = 45


def label_plot(columns: Mapping[str, Mapping[str, float | None]], names: Mapping[str, str], measure: Measure) -> Any:
    """Return a plot of one measure per label, worst label first, one marker per column.

    Parameters
    ----------
    columns : mapping
        'before', 'start', 'after' -> label -> value.
    names : mapping
        Label -> axis text.
    measure : Measure
        The measure to show.
    """
    after = columns["after"]
    labels = sorted(after, key=lambda label: _or_nan(after[label]))
    place = np.arange(len(labels))
    named = len(labels) <= MOST_NAMED
    shown = [_short(names.get(label, label)) for label in labels]
    longest = max((len(name) for name in shown), default=0)
    below = 0.30 + 0.062 * longest if named and longest > 3 else 0.42
    height = 2.45 + below
    figure = new_figure(11.0, height)
    axes = figure.add_axes((0.065, below / height, 0.92, 2.05 / height))
    series = {key: np.array([_or_nan(values.get(label)) for label in labels]) for key, values in columns.items()}
    axes.vlines(place, series["before"], series["after"], color=FAINT, linewidth=min(5.0, 260 / len(labels)), zorder=1)
    style = {"before": (BEFORE, "Before", 26), "start": (START, "Linear alignment", 22), "after": (AFTER, "After", 34)}
    for key, values in series.items():
        color, title, size = style[key]
        area = size * min(1.0, 60 / len(labels))
        axes.scatter(place, values, s=area, color=color, label=title, zorder=3, linewidths=0)
    mean = float(np.nanmean(series["after"]))
    axes.axhline(mean, color=AFTER, linewidth=0.8, linestyle=(0, (4, 3)), zorder=2)
    axes.set_xlim(-0.7, len(labels) - 0.3)
    top = 1.0 if measure.direction == HIGHER else None
    axes.set_ylim(0, top)
    axes.set_ylabel(measure.title.split(" per ")[0] + (f" ({measure.unit})" if measure.unit else ""))
    if named:
        turned = {"rotation": 55, "ha": "right", "rotation_mode": "anchor"} if longest > 3 else {}
        axes.set_xticks(place, shown, **turned)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(labels)} labels, lowest first (the table below lists all of them)")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=9, handletextpad=0.2)
    axes.set_title(f"mean after: {mean:.{measure.decimals}f}", loc="left", fontsize=10, color=AFTER)
    tidy(axes)
    return figure


def curves(trace: Sequence[Sequence[Any]]) -> Any | None:
    """Return a plot of the objective per stage (lower is better), None when there are too few values."""
    stages: dict[str, list[tuple[int, float]]] = {}
    for stage, iteration, metric in trace:
        if metric is not None:
            stages.setdefault(stage, []).append((iteration, metric))
    shown = {stage: points for stage, points in stages.items() if len(points) > 1}
    if not shown:
        return None
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    height = 2.15 * rows + 0.1
    figure = new_figure(11.0, height)
    for number, (stage, points) in enumerate(shown.items()):
        row, column = divmod(number, columns)
        wide = 1.0 / columns
        left, low = column * wide + 0.075, 1 - ((row + 1) * 2.15 - 0.5) / height
        axes = figure.add_axes((left, low, wide - 0.09, 1.3 / height))
        values = np.array([metric for _, metric in points])
        axes.plot(np.arange(1, len(values) + 1), values, color=AFTER, linewidth=1.4)
        # From the left end of the column: beside the axes alone a long title of the last column is cut off.
        axes.set_title(_short(stage, 34), fontsize=9.5, loc="left", x=-0.065 / (wide - 0.09))
        axes.set_xlabel("iteration", fontsize=8.5)
        axes.locator_params(nbins=4)
        axes.ticklabel_format(axis="y", useOffset=False)
        tidy(axes)
        axes.tick_params(labelsize=8)
    return figure


def accuracy_time(points: Sequence[tuple[str, float, float]], measure: Measure) -> Any:
    """Return a scatter plot of seconds (logarithmic) and accuracy, one point per engine.

    Parameters
    ----------
    points : sequence of (name, seconds, value)
        Engines with both numbers.
    measure : Measure
        The measure of the values.
    """
    figure = new_figure(8.2, 4.0)
    axes = figure.add_axes((0.10, 0.15, 0.86, 0.75))
    seconds = np.array([max(s, 1e-2) for _, s, _ in points])
    values = np.array([value for _, _, value in points])
    axes.set_xscale("log")
    axes.scatter(seconds, values, s=70, color=AFTER, zorder=3)
    reach = max(float(np.ptp(values)), 0.02 * max(abs(float(values.max())), 1e-3))
    axes.set_xlim(seconds.min() / 2.2, seconds.max() * 3.2)
    axes.set_ylim(values.min() - 0.35 * reach, values.max() + 0.35 * reach)
    taken: list[tuple[float, float]] = []
    for (name, _, _), x, y in sorted(zip(points, seconds, values, strict=True), key=lambda item: item[2]):
        near = [t for t in taken if abs(np.log10(x / t[0])) < 0.5 and abs(y - t[1]) < 0.09 * 1.7 * reach]
        axes.annotate(name, (x, y), xytext=(9, 6 + 11 * len(near)), textcoords="offset points", fontsize=10, color=TEXT)
        taken.append((x, y))
    axes.set_xlabel("seconds (less is better)")
    unit = f", {measure.unit}" if measure.unit else ""
    axes.set_ylabel(f"{measure.title} ({measure.direction} is better{unit})", fontsize=9)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if np.log10(seconds.max() / seconds.min()) < 1:
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
    tidy(axes)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    return figure


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _short(text: str, length: int = 22) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
