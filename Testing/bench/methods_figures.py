"""The paper's figures 2, 4 and 5 of the rows that methods_bench.py measured, and what they say about its claims."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

from methods_rows import ELSEWHERE, IN_DOMAIN, dice, gains, holm, p_text, signed_rank, title, twins

COLORS = {"": "tab:blue", "images": "tab:gray", "labels": "tab:orange"}
SOURCES = {"brain_malf_oasis": "OASIS", "brain_lpba40": "LPBA40", "brain_fs": "FreeSurfer samples"}
MINUTES = 10.0
EQUAL = f"""Only trainings of the same {MINUTES:g} CPU minutes with the same settings. Boxes: quartiles and median of
the pairs, the best median on top; blue: classical engines, gray: trained with images, orange: trained with labels.
Compared are means over the pairs; p values are of Wilcoxon signed-rank tests, adjusted for their number (Holm)."""


def write_figures(rows: dict[str, dict], folder: Path) -> None:
    """Draw the Dice of the pairs in-domain, without and with labels, and elsewhere, a panel for each source."""
    chosen = equal_rows(rows)
    at_home = {
        "Figure 2: networks trained without labels": select(chosen, "", "images"),
        "Figure 4: networks trained with labels": select(chosen, "", "labels"),
    }
    draw({name: boxes(found, IN_DOMAIN) for name, found in at_home.items()}, folder / "methods_in_domain.png")
    elsewhere = {
        f"Figure 5: {words}": boxes(chosen, ELSEWHERE, lambda case, source=source: case.startswith(source))
        for source, words in SOURCES.items()
    }
    draw(elsewhere, folder / "methods_elsewhere.png")


def figure_claims(rows: dict[str, dict]) -> list[str]:
    """Return a sentence per claim of the paper, with what decides it here."""
    chosen = equal_rows(rows)
    lines = []
    for where, place in ((IN_DOMAIN, "in-domain"), (ELSEWHERE, "elsewhere")):
        for supervision in ("images", "labels"):
            lines += against_classical(chosen, supervision, where, place)
    lost = [(method, mean(gains(labels, images, ELSEWHERE))) for method, _, images, labels in twins(chosen)]
    if lost:
        better = [f"{method} ({gain:+.3f})" for method, gain in lost if gain > 0]
        lines.append(
            f"Elsewhere, labels do not help (the same network with and without them, {len(lost)} compared): "
            + (f"**fails** for {', '.join(better)}." if better else "**holds**.")
        )
    return lines


def against_classical(rows: dict[str, dict], supervision: str, where: str, place: str) -> list[str]:
    """Return how many networks are below the best classical engine."""
    networks = select(rows, supervision)
    classical = select(rows, "")
    if not networks or not classical:
        return []
    engine = max(classical.values(), key=lambda row: dice(row, where))
    gained = {name: gains(row, engine, where) for name, row in networks.items()}
    p = holm({name: signed_rank(found) for name, found in gained.items()})
    below = [name for name, found in gained.items() if mean(found) < 0]
    sure = sum(p[name] < 0.05 for name in below)
    above = [
        f"{title(networks[name])} ({mean(found):+.3f}, p {p_text(p[name])})"
        for name, found in gained.items()
        if mean(found) >= 0
    ]
    words = "without labels" if supervision == "images" else "with labels"
    return [
        f"Networks trained {words} and the best classical engine ({title(engine)}, {dice(engine, where):.3f}) {place}: "
        f"{len(below)} of {len(networks)} are below it, {sure} of them beyond chance"
        + (f"; not below: {', '.join(above)}." if above else ".")
    ]


def equal_rows(rows: dict[str, dict]) -> dict[str, dict]:
    """Return the classical engines and the networks of the same budget and settings."""
    return {
        name: row
        for name, row in rows.items()
        if row["status"] == "done"
        and (not row["supervision"] or (row["budget_minutes"] == MINUTES and not row["settings"] and not row["seed"]))
    }


def select(rows: dict[str, dict], *supervision: str) -> dict[str, dict]:
    """Return the rows of these kinds of supervision."""
    return {name: row for name, row in rows.items() if row["supervision"] in supervision}


def boxes(
    rows: dict[str, dict], where: str, counts: Callable[[str], bool] = lambda case: True
) -> list[tuple[str, str, list[float]]]:
    """Return (name, supervision, Dice of the pairs that count) of every row, the best median first."""
    found = [
        (row["method"], row["supervision"], [value for case, value in row[where]["pairs"].items() if counts(case)])
        for row in rows.values()
    ]
    return sorted(found, key=lambda box: -median(box[2]))


def draw(panels: dict[str, list[tuple[str, str, list[float]]]], path: Path) -> None:
    """Draw a panel of boxes for each entry, side by side."""
    from matplotlib.figure import Figure

    most = max(len(found) for found in panels.values())
    figure = Figure(figsize=(4.6 * len(panels), 1.2 + 0.24 * most), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        drawn = axes.boxplot(
            [values for _, _, values in found],
            orientation="horizontal",
            patch_artist=True,
            widths=0.6,
            tick_labels=[words for words, _, _ in found],
            flierprops={"markersize": 3},
            medianprops={"color": "black"},
        )
        for patch, (_, supervision, _) in zip(drawn["boxes"], found, strict=True):
            patch.set_facecolor(COLORS[supervision])
        axes.invert_yaxis()
        axes.set_title(f"{name} ({len(found[0][2])} pairs)", fontsize=10)
        axes.set_xlabel("Dice")
        axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
