"""A small live plot of the objective, painted on a label; it needs no scene node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import qt

MOST_POINTS = 600
MARGIN = 6


class MetricPlot:
    """Lines of the objective over the progress messages, one line per stage.

    Parameters
    ----------
    label : QLabel
        The label to paint on; the plot has its width.
    """

    def __init__(self, label: Any) -> None:
        self._label = label
        self._values: list[float] = []
        self._stage = ""
        label.visible = False

    @property
    def points(self) -> int:
        """Number of values of the current line."""
        return len(self._values)

    def clear(self) -> None:
        """Remove all values."""
        self._values, self._stage = [], ""
        self._label.clear()
        self._label.visible = False

    def add(self, stage: str, metric: float | None) -> None:
        """Add a value; a new stage starts a new line, because its objective has a different scale."""
        if metric is None:
            return
        if stage != self._stage:
            self._values, self._stage = [], stage
        self._values.append(float(metric))
        if len(self._values) > MOST_POINTS:
            self._values = self._values[::2]

    def show_values(self, stage: str, values: Sequence[float]) -> None:
        """Show a whole line at once; values that are not finite are left out."""
        finite = [float(value) for value in values if math.isfinite(value)]
        if stage == self._stage and finite == self._values and not self._label.pixmap.isNull():
            return
        thinned = finite[:: 1 + len(finite) // MOST_POINTS]
        if len(thinned) < 2:
            self.clear()
            return
        self._values, self._stage = thinned, stage
        self.draw()

    def draw(self) -> None:
        """Paint new values; fast enough for every timer tick, and done only while the plot is visible."""
        if len(self._values) < 2:
            return
        self._label.visible = True
        width, height = self._label.width, self._label.height
        if not self._label.isVisible() or width < 4 * MARGIN:
            return
        ratio = _pixel_ratio(self._label)
        pixmap = qt.QPixmap(int(width * ratio), int(height * ratio))
        pixmap.setDevicePixelRatio(ratio)
        palette = self._label.palette
        pixmap.fill(palette.color(qt.QPalette.Base))
        painter = qt.QPainter()
        painter.begin(pixmap)
        painter.setRenderHint(qt.QPainter.Antialiasing, True)
        self._paint(painter, palette, width, height)
        painter.end()
        self._label.setPixmap(pixmap)

    def _paint(self, painter: Any, palette: Any, width: int, height: int) -> None:
        low, high = min(self._values), max(self._values)
        span = (high - low) or 1.0
        text_height = 22
        top, bottom = MARGIN + text_height, height - MARGIN
        step = (width - 2 * MARGIN) / (len(self._values) - 1)
        path = qt.QPainterPath()
        for index, value in enumerate(self._values):
            x, y = MARGIN + index * step, bottom - (value - low) / span * (bottom - top)
            if index:
                path.lineTo(x, y)
            else:
                path.moveTo(x, y)
        pen = qt.QPen(palette.color(qt.QPalette.Highlight))
        pen.setWidthF(1.6)
        painter.setPen(pen)
        painter.drawPath(path)
        painter.setPen(qt.QPen(palette.color(qt.QPalette.Text)))
        painter.drawText(MARGIN, MARGIN + 10, f"{self._stage}: {self._values[-1]:.5g}")


def _pixel_ratio(widget: Any) -> float:
    """Return the pixels per point of the screen; 1 where the binding does not report it."""
    ratio = getattr(widget, "devicePixelRatioF", None)
    return float(ratio()) if callable(ratio) else 1.0
