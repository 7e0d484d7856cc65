"""Matplotlib figures without a screen and without global state: figures, colors and encoding."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from . import colors

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
