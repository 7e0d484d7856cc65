"""Tables and the accuracy-against-time plot of a benchmark."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median

COLUMNS = ("dice", "dice_all", "tre_mm", "folds", "sdlogj", "cpu_seconds", "seconds", "peak_memory_mb")
TITLES = {
    "dice": "Dice",
    "dice_all": "Dice all",
    "tre_mm": "TRE mm",
    "folds": "folds %",
    "sdlogj": "SD log J",
    "cpu_seconds": "CPU s",
    "seconds": "wall s",
    "peak_memory_mb": "peak MB",
}
# Measures that say who is better, and the sign that makes more of them good.
GAINS = {"dice": 1, "dice_all": 1, "tre_mm": -1}
OWN = ("instance", "network")
MARKERS = "osD^vPX"
FORMATS = {"dice": ".3f", "dice_all": ".3f", "tre_mm": ".2f", "folds": ".4f", "sdlogj": ".2f"}


def write_summary(out: Path, runs: list[dict]) -> None:
    """Write `table.md` (per group, against the peers, per pair) and `pareto.png`."""
    text = "\n\n".join(
        [
            "## Means per data set",
            group_table(runs),
            "## Our engines against their peers",
            gain_table(runs),
            "## Every pair",
            pair_table(runs),
        ]
    )
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    write_pareto(out / "pareto.png", runs)


def group_table(runs: list[dict]) -> str:
    """Return mean measures per data set and engine."""
    rows = []
    for group in unique(run["group"] for run in runs):
        for engine in unique(run["engine"] for run in runs):
            chosen = [run for run in runs if (run["group"], run["engine"]) == (group, engine)]
            done = [run for run in chosen if run["status"] == "done"]
            if chosen:
                rows.append([group, engine, f"{len(done)}/{len(chosen)}", *(averaged(done, key) for key in COLUMNS)])
    return markdown(["data set", "engine", "done", *(TITLES[key] for key in COLUMNS)], rows)


def gain_table(runs: list[dict]) -> str:
    """Return, pair by pair, how much better each of our engines is than every peer, and how many times faster."""
    done = {(run["case"], run["engine"]): run for run in runs if run["status"] == "done"}
    engines = [engine for engine in unique(run["engine"] for run in runs) if engine != "linear"]
    own = [engine for engine in engines if engine.startswith(OWN)]
    rows = []
    for group in unique(run["group"] for run in runs):
        cases = unique(run["case"] for run in runs if run["group"] == group)
        for engine in own:
            for peer in (peer for peer in engines if peer not in own):
                both = [(done[c, engine], done[c, peer]) for c in cases if (c, engine) in done and (c, peer) in done]
                if both:
                    rows.append([group, engine, peer, str(len(both)), *_gains(both)])
    gains = [f"{TITLES[key]} better by" for key in GAINS]
    return markdown(["data set", "of", "against", "pairs", *gains, "CPU s of the peer / own"], rows)


def _gains(both: list[tuple[dict, dict]]) -> list[str]:
    """Return the gains as mean (least / median / most), and the time ratios as median (least to most)."""
    cells = []
    for key, sign in GAINS.items():
        values = [sign * (a[key] - b[key]) for a, b in both if a.get(key) is not None and b.get(key) is not None]
        spread = (
            f"{mean(values):+.3f} ({min(values):+.3f} / {median(values):+.3f} / {max(values):+.3f})" if values else ""
        )
        cells.append(spread)
    ratios = [peer["cpu_seconds"] / max(own["cpu_seconds"], 1e-3) for own, peer in both]
    return [*cells, f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"]


def pair_table(runs: list[dict]) -> str:
    """Return every run."""
    rows = []
    for case in unique(run["case"] for run in runs):
        for run in (run for run in runs if run["case"] == case):
            if run["status"] == "done":
                rows.append([case, run["engine"], *(formatted(run.get(key), key) for key in COLUMNS)])
            else:
                rows.append([case, run["engine"], run["reason"][:90], *[""] * (len(COLUMNS) - 1)])
    return markdown(["pair", "engine", *(TITLES[key] for key in COLUMNS)], rows)


def write_pareto(path: Path, runs: list[dict]) -> None:
    """Plot mean Dice against mean CPU seconds per engine, one panel per data set with labels."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    scored = [run for run in runs if run["status"] == "done" and "dice" in run]
    groups = unique(run["group"] for run in scored)
    if not groups:
        return
    engines = unique(run["engine"] for run in scored)
    columns, rows = min(3, len(groups)), -(-len(groups) // 3)
    figure = Figure(figsize=(3.6 * columns + 2.2, 3.2 * rows), layout="constrained")
    for number, group in enumerate(groups):
        axes = figure.add_subplot(rows, columns, number + 1)
        points = []
        for place, engine in enumerate(engines):
            chosen = [run for run in scored if (run["group"], run["engine"]) == (group, engine)]
            if chosen:
                x, y = mean(run["cpu_seconds"] for run in chosen), mean(run["dice"] for run in chosen)
                axes.plot(x, y, MARKERS[place % len(MARKERS)], color=f"C{place % 10}", label=engine)
                points.append((x, y))
        front = [(x, y) for x, y in sorted(points) if y >= max(other for at, other in points if at <= x)]
        axes.step(*zip(*front, strict=True), where="post", color="gray", linewidth=0.8, zorder=0)
        low, high = min(x for x, _ in points), max(x for x, _ in points)
        axes.set(
            xscale="log", xlabel="CPU seconds", ylabel="mean Dice", title=group, xlim=(low / 2, max(high, 20 * low) * 2)
        )
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.15)
        axes.grid(alpha=0.3)
    handles = {}
    for axes in figure.axes:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    shown = [engine for engine in engines if engine in handles]
    figure.legend([handles[engine] for engine in shown], shown, loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=110)


def averaged(runs: list[dict], key: str) -> str:
    """Return the mean of a measure over the runs that have it."""
    values = [run[key] for run in runs if run.get(key) is not None]
    return formatted(mean(values), key) if values else ""


def formatted(value: float | None, key: str) -> str:
    """Return a number as the table shows it."""
    return "" if value is None else f"{value:{FORMATS.get(key, '.1f')}}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def unique(values) -> list:
    """Return the values in order of first appearance."""
    return list(dict.fromkeys(values))
