"""Figures of the first experiment: information against Dice per pair, image and label, and r by definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.plotting import TEXT, new_figure, tidy
from .figures import GREY, color_of, legend
from .statistics import Estimate, line_fit

Row = Mapping[str, Any]


def scatter_figure(
    same: Sequence[Row],
    other: Sequence[Row],
    per_image: Sequence[Row],
    name: str,
    per_pair_r: tuple[Estimate, Estimate],
    per_image_r: tuple[Estimate, Estimate],
) -> Any:
    """Return the plot of pairs (with `other` hollow) and of fixed images, colored by data set."""
    figure = new_figure(11.0, 4.6)
    datasets = list(dict.fromkeys(row["dataset"] for row in [*same, *other]))
    panels = ((0.065, same, name, per_pair_r, "pairs"), (0.565, per_image, "whole", per_image_r, "fixed images"))
    for left, rows, key, (linear, log), unit in panels:
        axes = figure.add_axes((left, 0.2, 0.42, 0.71))
        x, y = np.array([row[key] for row in rows]), np.array([row["dice"] for row in rows])
        _fits(axes, x, y)
        for dataset in datasets:
            for hollow, source in ((False, rows), (True, other if rows is same else ())):
                own = [row for row in source if row["dataset"] == dataset]
                if own:
                    _dots(axes, own, key, color_of(dataset, datasets), hollow=hollow)
        axes.set_title(
            f"{len(rows)} {unit}:  r = {linear.value:.3f} linear,  {log.value:.3f} logarithm", loc="left", fontsize=10
        )
        axes.set_xlabel("mutual information I(intensity; label), nats", fontsize=9)
        axes.set_ylabel("mean Dice")
        tidy(axes)
    colors = {dataset: color_of(dataset, datasets) for dataset in datasets}
    legend(figure, colors, lines={"linear fit": GREY, "logarithmic fit": "#000000"})
    return figure


def variants_figure(entries: Sequence[tuple[str, Estimate, Estimate]], linear: float, log: float) -> Any:
    """Return the correlations with their intervals, one per line, and the paper's values as dashed lines."""
    height = 1.15 + 0.42 * len(entries)
    figure = new_figure(11.0, height)
    axes = figure.add_axes((0.42, 0.62 / height, 0.56, (height - 1.02) / height))
    place = np.arange(len(entries))[::-1]
    for offset, part, color, paper, title in (
        (0.13, 1, GREY, linear, "linear"),
        (-0.13, 2, "#0b6e99", log, "logarithm"),
    ):
        axes.axvline(paper, color=color, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for row, entry in zip(place, entries, strict=True):
            estimate: Estimate = entry[part]  # type: ignore[assignment]
            axes.hlines(row + offset, estimate.low, estimate.high, color=color, linewidth=2, zorder=2)
        values = [entry[part].value for entry in entries]  # type: ignore[union-attr]
        axes.scatter(values, place + offset, s=34, color=color, zorder=3, label=title)
    axes.axvline(0, color="#aab4bf", linewidth=1)
    axes.set_yticks(place, [entry[0] for entry in entries], fontsize=9)
    axes.set_xlim(right=1.0)
    axes.set_xlabel("Pearson's r with Dice per pair")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=9)
    tidy(axes, along="x")
    return figure


def label_figure(per_label: Sequence[Row], share: Estimate, size: Estimate) -> Any:
    """Return Dice per label against the explained share of its entropy and against its volume."""
    figure = new_figure(11.0, 4.6)
    datasets = list(dict.fromkeys(row["dataset"] for row in per_label))
    panels = (
        (0.065, "share", "explained share of the label's entropy", share, False),
        (0.565, "volume_mm3", "volume, mL", size, True),
    )
    for left, key, title, estimate, log in panels:
        axes = figure.add_axes((left, 0.2, 0.42, 0.71))
        for dataset in datasets:
            own = [row for row in per_label if row["dataset"] == dataset]
            factor = 1e-3 if log else 1.0
            axes.scatter(
                [factor * row[key] for row in own],
                [row["dice"] for row in own],
                s=26,
                color=color_of(dataset, datasets),
                alpha=0.8,
                linewidths=0,
            )
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(f"{len(per_label)} labels:  r = {estimate.text(2)}", loc="left", fontsize=10)
        axes.set_xlabel(title, fontsize=9)
        axes.set_ylabel("mean Dice")
        tidy(axes)
    legend(figure, {dataset: color_of(dataset, datasets) for dataset in datasets})
    return figure


def _dots(axes: Any, rows: Sequence[Row], key: str, color: str, *, hollow: bool) -> None:
    axes.scatter(
        [row[key] for row in rows],
        [row["dice"] for row in rows],
        s=30,
        facecolors="none" if hollow else color,
        edgecolors=color if hollow else "white",
        linewidths=1.1 if hollow else 0.4,
        alpha=0.9,
        zorder=3,
    )


def _fits(axes: Any, x: Any, y: Any) -> None:
    if len(x) < 3 or np.ptp(x) == 0 or x.min() <= 0:
        return
    span = np.linspace(x.min(), x.max(), 200)
    slope, intercept = line_fit(x, y)
    axes.plot(span, slope * span + intercept, color=GREY, linewidth=1.6, zorder=2)
    slope, intercept = line_fit(np.log(x), y)
    axes.plot(span, slope * np.log(span) + intercept, color="#000000", linewidth=1.6, zorder=2)
    axes.yaxis.label.set_color(TEXT)
