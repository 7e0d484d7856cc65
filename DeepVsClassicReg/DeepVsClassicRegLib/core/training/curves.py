"""Training curves: two CSV files to which rows are appended, and a picture."""

from __future__ import annotations

import csv
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic

TRAINING_FILE, VALIDATION_FILE, PICTURE_FILE = "curves.csv", "validation.csv", "curves.png"
log = logging.getLogger(__name__)
SHOWN = ("dice", "folds_percent")


class Curve:
    """A CSV file whose first column is the step.

    Parameters
    ----------
    path : Path
        An existing file is continued.
    step : int
        Current step; later rows (of a run killed after its last checkpoint) are removed.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [row for row in read_curve(path) if int(float(row["step"])) <= step]
        self.columns = list(kept[0]) if kept else []
        path.unlink(missing_ok=True)
        if kept:
            self._write(kept, header=True)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row and flush it to the file."""
        fresh = not self.columns
        if fresh:
            self.columns = list(row)
        elif added := [name for name in row if name not in self.columns]:  # a stage with other terms
            kept = read_curve(self.path)
            self.columns += added
            self.path.unlink()
            self._write([dict(former) for former in kept], header=True)
        self._write([{name: _shown(value) for name, value in row.items()}], header=fresh)

    def _write(self, rows: list[dict[str, str]], *, header: bool) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
            if header:
                writer.writeheader()
            writer.writerows(rows)


def mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means of rows of numbers; each over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}


def read_curve(path: Path) -> list[dict[str, str]]:
    """Return the rows of a curve without an incomplete last row; empty when there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row.get("step") and None not in row.values()]


def draw_curves(folder: Path) -> None:
    """Draw `curves.png` from the CSV files of a training folder; without matplotlib a warning is logged."""
    if importlib.util.find_spec("matplotlib") is None:
        log.warning("No picture of the curves: matplotlib is not installed. The numbers are in %s.", folder)
        return
    from matplotlib.figure import Figure

    training, validation = read_curve(folder / TRAINING_FILE), read_curve(folder / VALIDATION_FILE)
    figure = Figure(figsize=(11, 3.4))
    axes = figure.subplots(1, 1 + len(SHOWN))
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.16, top=0.9, wspace=0.25)
    _lines(axes[0], training, _terms(training))
    axes[0].set_title("Training objective")
    for panel, name in zip(axes[1:], SHOWN, strict=True):
        before = [f"{name}_before"] if validation and f"{name}_before" in validation[0] else []
        _lines(panel, validation, [name, *before])
        panel.set_title({"dice": "Validation Dice", "folds_percent": "Folded voxels, %"}[name])
    path = folder / PICTURE_FILE
    with atomic(path) as draft:
        figure.savefig(draft, dpi=110, format="png")


def _terms(rows: list[dict[str, str]]) -> list[str]:
    return [
        name
        for name in (rows[0] if rows else ())
        if name not in ("step", "hours", "learning_rate", "stage", "gradient")
    ]


def _lines(panel: Any, rows: list[dict[str, str]], names: list[str]) -> None:
    for name in names:
        points = [(int(float(row["step"])), float(row[name])) for row in rows if row.get(name)]
        if points:
            panel.plot(*zip(*points, strict=True), label=name.replace("_", " "), linewidth=1)
    panel.set_xlabel("step")
    panel.grid(alpha=0.3)
    if panel.lines:
        panel.legend(fontsize=8)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
