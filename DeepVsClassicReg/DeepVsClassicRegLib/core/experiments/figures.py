"""Common parts of the figures: colors, legends below the panels, simple axes, box plots of Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.plotting import AFTER, new_figure, tidy

GREY = "#9aa5b1"
# Color-blind safe (after Okabe and Ito, with darker yellow).
PALETTE = ("#0b6e99", "#d1495b", "#3a7d44", "#e09f3e", "#7b5ea7", "#5fa8d3", "#8c564b", "#c77dba", "#556270", "#b5a642")
CLASSICAL, UNSUPERVISED, SUPERVISED = AFTER, "#e09f3e", "#d1495b"


def color_of(name: str, names: Sequence[str]) -> str:
    """Return the color of one of several names."""
    return PALETTE[list(names).index(name) % len(PALETTE)]


def legend(figure: Any, colors: Mapping[str, str], *, lines: Mapping[str, str] | None = None) -> None:
    """Add the legend of the colors below all panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", linestyle="", color=color, markersize=6, label=name)
        for name, color in colors.items()
    ]
    handles += [Line2D([], [], color=color, linewidth=1.6, label=name) for name, color in (lines or {}).items()]
    figure.legend(
        handles=handles, loc="lower center", ncols=min(len(handles), 6), frameon=False, fontsize=9, handletextpad=0.3,
        columnspacing=1.4,
    )  # fmt: skip


def box_figure(
    panels: Mapping[str, Mapping[str, Sequence[float]]], colors: Mapping[str, str], *, meaning: Mapping[str, str]
) -> Any:
    """Return box plots of Dice per method, the best median first, one panel per condition, as in the paper's figures.

    Parameters
    ----------
    panels : mapping
        Condition -> method -> Dice of the pairs.
    colors : mapping
        Method -> color.
    meaning : mapping
        Meaning of a color -> color.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    most = max(len(panel) for panel in panels.values())
    longest = max((len(name) for panel in panels.values() for name in panel), default=4)
    below = 0.35 + 0.052 * longest
    high = 2.3 + below
    total = rows * (high + 0.35) + 0.45
    figure = new_figure(11.0, total)
    everything = np.concatenate([np.asarray(v, float) for panel in panels.values() for v in panel.values()])
    low, top = max(0.0, float(everything.min()) - 0.03), min(1.0, float(everything.max()) + 0.03)
    for number, (title, panel) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        wide = 1.0 / columns
        left = column * wide + 0.055
        bottom = 1 - ((row + 1) * (high + 0.35) - below) / total
        axes = figure.add_axes((left, bottom, wide - 0.07, 2.3 / total))
        names = sorted(panel, key=lambda name: -float(np.median(panel[name])))
        drawn = axes.boxplot(
            [np.asarray(panel[name], float) for name in names],
            widths=0.62,
            patch_artist=True,
            showfliers=False,
            medianprops={"color": "white", "linewidth": 1.6},
            whiskerprops={"color": GREY},
            capprops={"color": GREY},
        )
        for box, name in zip(drawn["boxes"], names, strict=True):
            box.set(facecolor=colors[name], edgecolor=colors[name], alpha=0.92)
        axes.set_xticks(range(1, len(names) + 1), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_xlim(0.3, most + 0.7)
        axes.set_ylim(low, top)
        axes.set_title(title, loc="left", fontsize=10)
        if column == 0:
            axes.set_ylabel("mean Dice")
        tidy(axes)
    legend(figure, meaning)
    return figure
