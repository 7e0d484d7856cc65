"""METHODS.md and its picture, written from the rows that methods_bench.py measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

from methods_figures import COLORS, EQUAL, figure_claims, write_figures
from methods_rows import ELSEWHERE, IN_DOMAIN, dice, gains, holm, p_text, read_rows, signed_rank, title, twins
from table import markdown

REFERENCE, START = "classical-instance", "classical-linear"
# The paper's in-domain claim: supervised networks gain at least this much Dice over the best classical engine.
CLAIM = 0.05
# A smaller difference is no gain: it is that of an untrained network, which nearly keeps the linear start.
LEAST_GAIN = 0.001
NAMED = {"": 9, "images": 0, "labels": 4}  # of the best, so many that no name touches a point
FAMILIES = {"": "classical", "images": "trained with images", "labels": "trained with labels"}
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
* With the usual augmentation, the ten minutes of `localnet` and `lapirn` ended while their last part still improved, so
  that their untrained weights are the best ones; without it both gain.
* `krebs-cvae` matches the images better and better (its correlation loss falls from 0.72 to 0.39) while the validation
  Dice falls from 0.706 to 0.687: the untrained weights are the best ones. Networks without labels gain at most 0.021.
* `dlir` gains 0.008 on its validation pairs and loses 0.022 on the 15 others (on 7 of them 0.03 to 0.13), probably
  because its affine stage turns volumes that are aligned already.
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
    write_figures(rows, target.parent)
    target.write_text(page(rows), encoding="utf-8")


def page(rows: dict[str, dict]) -> str:
    """Return METHODS.md."""
    done = {name: row for name, row in rows.items() if row["status"] == "done"}
    failed = {name: row for name, row in rows.items() if row["status"] != "done"}
    parts = [INTRODUCTION.strip(), markdown(list(HEAD), table(done)), "![Dice at home and elsewhere](methods.png)"]
    parts += ["## The goals", "\n".join(f"* {line}" for line in goals(done))]
    parts += [f"## The paper's figures 2, 4 and 5\n\n{EQUAL}", "![In-domain](methods_in_domain.png)"]
    parts += ["![Elsewhere](methods_elsewhere.png)", "\n".join(f"* {line}" for line in figure_claims(done))]
    parts += ["## Doubts", DOUBTS.strip()]
    compared = twin_table(done)
    if compared:
        head = ["method", "CPU min", "Dice with images", "Dice with labels", "gain", "p (Wilcoxon)"]
        parts += ["## With and without labels, in-domain", markdown(head, compared)]
    if failed:
        parts += ["## Failed", "\n".join(f"* {name}: {row['reason']}" for name, row in failed.items())]
    return "\n\n".join(parts) + "\n"


def table(rows: dict[str, dict]) -> list[list[str]]:
    """Return a line per row."""
    against = {where: _against(REFERENCE, rows, where) for where in (IN_DOMAIN, ELSEWHERE)}
    gained = _against(START, rows, IN_DOMAIN)
    return [
        [
            title(row), row["supervision"], f"{dice(row, IN_DOMAIN):.3f}", f"{dice(row, ELSEWHERE):.3f}",
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
    below = [title(row) for row in learned if dice(row, IN_DOMAIN) < dice(linear, IN_DOMAIN) + LEAST_GAIN]
    lines = [
        f"Every learned method is above the linear start in-domain ({dice(linear, IN_DOMAIN):.3f}): "
        + (f"**fails** for {', '.join(below)}." if below else "**holds**.")
    ]
    pairs = twins(rows)
    worse = [method for method, _, images, labels in pairs if dice(labels, IN_DOMAIN) <= dice(images, IN_DOMAIN)]
    if pairs:
        lines.append(
            f"Every method is better with labels than without, in-domain ({len(pairs)} compared): "
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
    name = f"The best supervised network ({title(network)}; chosen by its validation pairs)"
    lines = []
    for where, place in ((IN_DOMAIN, "in-domain"), (ELSEWHERE, "elsewhere")):
        engine = max(classical, key=lambda row: dice(row, where))
        found = gains(network, engine, where)
        gain, better = mean(found), sum(value > 0 for value in found)
        if where == IN_DOMAIN:
            wanted, met, margin = f"gains at least {CLAIM} Dice on", gain >= CLAIM, CLAIM
        else:
            wanted, met, margin = "is below", gain < 0, 0.0
        p = p_text(signed_rank([value - margin for value in found], "greater" if where == IN_DOMAIN else "less"))
        lines.append(
            f"{name} {wanted} the best classical engine ({title(engine)}) {place}: {dice(network, where):.3f} "
            f"against {dice(engine, where):.3f}, mean gain {gain:+.3f}, better on {better} of {len(found)} pairs: "
            f"**{'holds' if met else 'fails'}** (that the gain is beyond {margin:g} by more than chance: p {p})."
        )
    return lines


def twin_table(rows: dict[str, dict]) -> list[list[str]]:
    """Return a line per method that was trained alike with and without labels."""
    lines = []
    for method, minutes, images, labels in twins(rows):
        gained = gains(labels, images, IN_DOMAIN)
        found = [f"{dice(row, IN_DOMAIN):.3f}" for row in (images, labels)]
        lines.append([method, f"{minutes:g}", *found, f"{mean(gained):+.3f}", f"{signed_rank(gained):.2g}"])
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
        x, y = ([dice(row, where) for row in chosen] for where in (IN_DOMAIN, ELSEWHERE))
        axes.scatter(x, y, color=COLORS[supervision], label=words)
        for row in chosen[: NAMED[supervision]]:
            place = dice(row, IN_DOMAIN), dice(row, ELSEWHERE)
            name = f"{row['method']}, {row['cpu_minutes']:.0f} min" if supervision else row["method"]
            where = {"xytext": (0, -12), "ha": "center"} if supervision == "labels" else {"xytext": (5, 3)}
            axes.annotate(name, place, textcoords="offset points", fontsize=8, **where)
    axes.set_xlabel("Dice in-domain: hippocampus crops, other persons than the training's")
    axes.set_ylabel("Dice elsewhere: crops of other data sets")
    axes.grid(alpha=0.3)
    axes.margins(x=0.15, y=0.08)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _against(other: str, rows: dict[str, dict], where: str) -> dict[str, str]:
    """Return the gain of every row on another one and its adjusted p value, as text."""
    if other not in rows:
        return {}
    gained = {name: gains(row, rows[other], where) for name, row in rows.items() if name != other}
    p = holm({name: signed_rank(found) for name, found in gained.items()})
    return {name: f"{mean(found):+.3f} (p {p_text(p[name])})" for name, found in gained.items()}


if __name__ == "__main__":
    main()
