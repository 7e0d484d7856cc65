"""The MI-Dice plot as a picture (matplotlib) for reports and the command line."""

from __future__ import annotations

from pathlib import Path

from ..errors import FileError
from .advice import Plot


def write_plot(plot: Plot, path: Path) -> Path:
    """Draw the calibration curve with its band, the measured pairs, this case and its labels.

    Raises
    ------
    FileError
        When the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    share = [point.share for point in plot.curve]
    low, high = [point.dice.low for point in plot.curve], [point.dice.high for point in plot.curve]
    axes.fill_between(share, low, high, alpha=0.2, color="tab:blue", label="80 % of pairs")
    axes.plot(share, [point.dice.mean for point in plot.curve], color="tab:blue", label=plot.engine)
    for dataset in dict.fromkeys(name for _, _, name in plot.measured):
        chosen = [(x, y) for x, y, name in plot.measured if name == dataset]
        axes.plot(*zip(*chosen, strict=True), ".", alpha=0.6, label=dataset)
    if plot.labels:
        axes.plot(
            [p.share for p in plot.labels], [p.dice.mean for p in plot.labels], "k.", markersize=3, label="its labels"
        )
    if plot.case is not None:
        band = plot.case.dice
        spread = [[band.mean - band.low], [band.high - band.mean]]
        axes.errorbar([plot.case.share], [band.mean], yerr=spread, fmt="D", color="tab:red", label=plot.case.name)
    axes.set(xscale="log", ylim=(0, 1), xlabel=plot.x_title, ylabel=plot.y_title)
    axes.legend(fontsize=7, loc="lower right")
    axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise FileError(
            f"Could not write {path}: {error}.", hint="Check the folder; supported: .png, .svg and .pdf."
        ) from error
    return path
