"""METHODS.md and its picture, written from the rows that methods_bench.py measured."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean

from table import markdown

IN_DOMAIN, ELSEWHERE = "in_domain", "elsewhere"
REFERENCE, START = "classical-instance", "classical-linear"
# The paper's in-domain claim: supervised networks gain at least this much Dice over the best classical engine.
CLAIM = 0.05
# A smaller difference is no gain: it is that of an untrained network, which nearly keeps the linear start.
LEAST_GAIN = 0.001
NAMED = {"": 9, "images": 0, "labels": 4}  # of the best, so many that no name touches a point
FAMILIES = {"": "classical", "images": "trained with images", "labels": "trained with labels"}
COLORS = {"": "tab:blue", "images": "tab:gray", "labels": "tab:orange"}
HEAD = (
    "method", "learned from", "Dice in-domain", "Dice elsewhere", "folds %", "s per pair",
    "against its linear start, in-domain", "against instance, in-domain", "against instance, elsewhere", "parameters",
    "training CPU min", "steps", "validation Dice",
)  # fmt: skip
INTRODUCTION = """# Learned methods against classical engines

Written by `methods_bench.py` (one command, resumable; see its help).

**In-domain:** the 15 visible hippocampus pairs, of other persons than the 200 of the training; mean Dice of the
anterior and posterior part. **Elsewhere:** 22 pairs of hippocampus crops from OASIS, LPBA40 and FreeSurfer brains; Dice
of the whole hippocampus. Every training: volumes aligned linearly to the first one, a grid of 32 x 48 x 32 voxels of
1.5 mm, one thread, batch 1, the stated CPU minutes (validation included), Adam with a learning rate of 0.001 that
falls along a cosine, averaged weights, no augmentation (in ten minutes no network sees all pairs of 200 subjects); what
differs is stated with the method. The weights of the best of 20 validation pairs are kept. Every engine starts from the
same linear alignment. Seconds are the median of one thread, the network's without loading torch; of the ten-minute
trainings they were measured beside other trainings and are too long by a multiple. p values: Wilcoxon signed-rank tests
over the pairs, two-sided, adjusted for their number (Holm).
"""


DOUBTS = """
* The networks were trained for minutes on one core; the papers train for days on GPUs. A loss here is no proof there.
* `localnet` and `lapirn` train their parts one after the other; ten minutes end while the last part still improves
  (validation Dice 0.687, 0.696, 0.706 of `localnet`), so their untrained weights are the best ones.
* Elsewhere, `network` keeps the linear start of a pair when its check of partial views rejects the deformation; in its
  domain a supervised model is not checked so.
* Registered with itself, a hippocampus is moved by 2.2 mm on average by the longest training of `vfa` (three volumes;
  Dice with itself 0.87): a network that learned from labels of different persons alone knows nothing about one person.
  1600 more steps with one pair in four of an image with itself (`--augment same=0.25`) left 1.8 mm. Made symmetric
  (`--set symmetric=true`: equal images are not moved) the same weights have a validation Dice of 0.803, after 1000 more
  steps 0.807, instead of 0.852: a part of the gain is a map toward the expected shape of the labels, not a match of two
  images. The bundled model `vfa-hippocampus` is this training; two scans of one person are outside its domain.
"""


def main() -> None:
    """Write the page from the rows beside this file."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    here = Path(__file__).parent
    write_page(here / "methods", here / "METHODS.md")


def write_page(rows_folder: Path, target: Path) -> None:
    """Write the page and the picture beside it."""
    rows = read_rows(rows_folder)
    write_picture(rows, target.with_name("methods.png"))
    target.write_text(page(rows), encoding="utf-8")


def read_rows(folder: Path) -> dict[str, dict]:
    """Return the rows by name, the best in-domain first, failed ones last."""
    rows = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    return dict(sorted(rows.items(), key=lambda item: -_dice(item[1], IN_DOMAIN)))


def page(rows: dict[str, dict]) -> str:
    """Return METHODS.md."""
    done = {name: row for name, row in rows.items() if row["status"] == "done"}
    failed = {name: row for name, row in rows.items() if row["status"] != "done"}
    parts = [INTRODUCTION.strip(), markdown(list(HEAD), table(done)), "![Dice at home and elsewhere](methods.png)"]
    parts += ["## The goals", "\n".join(f"* {line}" for line in goals(done))]
    parts += ["## Doubts", DOUBTS.strip()]
    twins = twin_table(done)
    if twins:
        head = ["method", "CPU min", "Dice with images", "Dice with labels", "gain", "p (Wilcoxon)"]
        parts += ["## With and without labels, in-domain", markdown(head, twins)]
    if failed:
        parts += ["## Failed", "\n".join(f"* {name}: {row['reason']}" for name, row in failed.items())]
    return "\n\n".join(parts) + "\n"


def table(rows: dict[str, dict]) -> list[list[str]]:
    """Return a line per row."""
    against = {where: _against(REFERENCE, rows, where) for where in (IN_DOMAIN, ELSEWHERE)}
    gained = _against(START, rows, IN_DOMAIN)
    return [
        [
            _title(row), row["supervision"], f"{_dice(row, IN_DOMAIN):.3f}", f"{_dice(row, ELSEWHERE):.3f}",
            f"{row[IN_DOMAIN]['folds']:.3f}", f"{row[IN_DOMAIN]['seconds']:.2f}",
            gained.get(name, ""), against[IN_DOMAIN].get(name, ""), against[ELSEWHERE].get(name, ""),
            *(str(row.get(key, "")) for key in ("parameters", "cpu_minutes", "steps")),
            f"{row['validation_dice']:.3f}" if "validation_dice" in row else "",
        ]
        for name, row in rows.items()
    ]  # fmt: skip


def goals(rows: dict[str, dict]) -> list[str]:
    """Return a sentence per goal, with what decides it."""
    linear = rows.get(START)
    classical = [row for row in rows.values() if not row["supervision"]]
    learned = [row for row in rows.values() if row["supervision"]]
    if linear is None or not learned:
        return ["Nothing is decided: no learned method has been judged."]
    below = [_title(row) for row in learned if _dice(row, IN_DOMAIN) < _dice(linear, IN_DOMAIN) + LEAST_GAIN]
    lines = [
        f"Every learned method is above the linear start in-domain ({_dice(linear, IN_DOMAIN):.3f}): "
        + (f"**fails** for {', '.join(below)}." if below else "**holds**.")
    ]
    twins = _twins(rows)
    worse = [method for method, _, images, labels in twins if _dice(labels, IN_DOMAIN) <= _dice(images, IN_DOMAIN)]
    if twins:
        lines.append(
            f"Every method is better with labels than without, in-domain ({len(twins)} compared): "
            + (f"**fails** for {', '.join(worse)}." if worse else "**holds**.")
        )
    supervised = [row for row in learned if row["supervision"] == "labels"]
    if supervised:
        lines += hierarchy(supervised, classical)
    return lines


def hierarchy(supervised: list[dict], classical: list[dict]) -> list[str]:
    """Return how the best supervised network stands against the best classical engine, in-domain and elsewhere.

    The network is the one with the best Dice on its validation pairs, so that the pairs it is judged on choose nothing.
    """
    network = max(supervised, key=lambda row: row["validation_dice"])
    title = f"The best supervised network ({_title(network)}; chosen by its validation pairs)"
    lines = []
    for where, place in ((IN_DOMAIN, "in-domain"), (ELSEWHERE, "elsewhere")):
        engine = max(classical, key=lambda row: _dice(row, where))
        gains = _gains(network, engine, where)
        gain, better = mean(gains), sum(gain > 0 for gain in gains)
        if where == IN_DOMAIN:
            wanted, met, margin = f"gains at least {CLAIM} Dice on", gain >= CLAIM, CLAIM
        else:
            wanted, met, margin = "is below", gain < 0, 0.0
        p = _one_sided([value - margin for value in gains], above=where == IN_DOMAIN)
        lines.append(
            f"{title} {wanted} the best classical engine ({_title(engine)}) {place}: {_dice(network, where):.3f} "
            f"against {_dice(engine, where):.3f}, mean gain {gain:+.3f}, better on {better} of {len(gains)} pairs: "
            f"**{'holds' if met else 'fails'}** (that the gain is beyond {margin:g} by more than chance: p {_p(p)})."
        )
    return lines


def twin_table(rows: dict[str, dict]) -> list[list[str]]:
    """Return a line per method that was trained alike with and without labels."""
    from scipy.stats import wilcoxon

    lines = []
    for method, minutes, images, labels in _twins(rows):
        gains = _gains(labels, images, IN_DOMAIN)
        p = float(wilcoxon(gains).pvalue) if any(gains) else 1.0
        found = [f"{_dice(row, IN_DOMAIN):.3f}" for row in (images, labels)]
        lines.append([method, f"{minutes:g}", *found, f"{mean(gains):+.3f}", f"{p:.2g}"])
    return lines


def write_picture(rows: dict[str, dict], path: Path) -> None:
    """Draw the Dice in-domain against that elsewhere; the best of every family are named."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axes = figure.subplots()
    for supervision, words in FAMILIES.items():
        chosen = [row for row in rows.values() if row["status"] == "done" and row["supervision"] == supervision]
        if not chosen:
            continue
        x, y = ([_dice(row, where) for row in chosen] for where in (IN_DOMAIN, ELSEWHERE))
        axes.scatter(x, y, color=COLORS[supervision], label=words)
        for row in chosen[: NAMED[supervision]]:
            place = _dice(row, IN_DOMAIN), _dice(row, ELSEWHERE)
            name = f"{row['method']}, {row['cpu_minutes']:.0f} min" if supervision else row["method"]
            where = {"xytext": (0, -12), "ha": "center"} if supervision == "labels" else {"xytext": (5, 3)}
            axes.annotate(name, place, textcoords="offset points", fontsize=8, **where)
    axes.set_xlabel("Dice in-domain: hippocampus crops, other persons than the training's")
    axes.set_ylabel("Dice elsewhere: crops of other data sets")
    axes.grid(alpha=0.3)
    axes.margins(x=0.15, y=0.08)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Return the p values adjusted for their number (Holm 1979)."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def _against(other: str, rows: dict[str, dict], where: str) -> dict[str, str]:
    """Return the gain of every row on another one and its adjusted p value, as text."""
    from scipy.stats import wilcoxon

    if other not in rows:
        return {}
    gains = {name: _gains(row, rows[other], where) for name, row in rows.items() if name != other}
    p = holm({name: float(wilcoxon(found).pvalue) if any(found) else 1.0 for name, found in gains.items()})
    return {name: f"{mean(found):+.3f} (p {_p(p[name])})" for name, found in gains.items()}


def _one_sided(values: list[float], *, above: bool) -> float:
    """Return the p value of the Wilcoxon signed-rank test that values are above (or below) 0."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(values, alternative="greater" if above else "less").pvalue)


def _twins(rows: dict[str, dict]) -> list[tuple[str, float, dict, dict]]:
    """Return (method, budget, row with images, row with labels) of all that differ in nothing else."""
    keyed = {
        (row["method"], row["budget_minutes"], row["seed"], tuple(row["settings"]), row["supervision"]): row
        for row in rows.values()
        if row["supervision"]
    }
    pairs = [(*key[:4], keyed[(*key[:4], "images")], row) for key, row in keyed.items() if key[4] == "labels"
             and (*key[:4], "images") in keyed]  # fmt: skip
    return [(method, minutes, images, labels) for method, minutes, _, _, images, labels in pairs]


def _gains(row: dict, other: dict, where: str) -> list[float]:
    first, second = row[where]["pairs"], other[where]["pairs"]
    return [first[case] - second[case] for case in first if case in second]


def _dice(row: dict, where: str) -> float:
    return row[where]["dice"] if where in row else -1.0


def _title(row: dict) -> str:
    settings = f" ({', '.join(row['settings'])})" if row.get("settings") else ""
    seed = f", seed {row['seed']}" if row.get("seed") else ""
    return f"{row['method']}{settings}{seed}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


if __name__ == "__main__":
    main()
