"""The scores of a network comparison: Dice per condition, method and pair, and comparisons of methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .figures import CLASSICAL, GREY, SUPERVISED, UNSUPERVISED, box_figure
from .findings import Drawing, Table
from .statistics import Estimate, Test, compare_paired, mean_difference, resampled

Row = Mapping[str, Any]
PairKey = tuple[str, str]
COLORS = {"classical": CLASSICAL, "unsupervised": UNSUPERVISED, "supervised": SUPERVISED, "given model": "#7b5ea7"}


class Scores:
    """Rows of `learning.evaluate_pairs`, indexed by condition and method.

    Parameters
    ----------
    rows : sequence of mappings
        With condition, method, family, seed, fixed, moving and the measures.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.conditions = list(dict.fromkeys(row["condition"] for row in rows))
        self.families = {row["method"]: row["family"] for row in rows}

    def of_family(self, family: str) -> list[str]:
        """Return the methods of a family, in order of appearance."""
        return [name for name, own in self.families.items() if own == family]

    def runs(self, condition: str, method: str, measure: str = "dice") -> dict[int, dict[PairKey, float]]:
        """Return seed -> pair -> value."""
        found: dict[int, dict[PairKey, float]] = {}
        for row in self.rows:
            if (row["condition"], row["method"]) == (condition, method) and row[measure] is not None:
                found.setdefault(row["seed"], {})[(row["fixed"], row["moving"])] = row[measure]
        return found

    def mean(self, condition: str, method: str, measure: str = "dice") -> dict[PairKey, float]:
        """Return pair -> value, the mean over its seeds."""
        runs = self.runs(condition, method, measure)
        pairs = dict.fromkeys(pair for run in runs.values() for pair in run)
        return {pair: float(np.mean([run[pair] for run in runs.values() if pair in run])) for pair in pairs}

    def best(self, condition: str, names: Sequence[str]) -> str:
        """Return the method with the highest mean Dice under a condition, '' when there is none."""
        means = {name: list(self.mean(condition, name).values()) for name in names}
        there = {name: float(np.mean(values)) for name, values in means.items() if values}
        return max(there, key=lambda name: there[name]) if there else ""

    def test(self, condition: str, first: str, second: str, measure: str = "dice") -> Test | None:
        """Compare two methods on their common pairs; None when there are none.

        The tests take the mean over seeds of every pair; the interval resamples subjects and seeds.
        """
        a, b = (self.mean(condition, name, measure) for name in (first, second))
        pairs = [pair for pair in a if pair in b]
        if not pairs:
            return None
        base = compare_paired(first, second, ([a[p] for p in pairs], [b[p] for p in pairs]))
        values, groups = self._differences(condition, first, second, measure)
        return Test(first, second, mean_difference(values, groups), base.p_t, base.p_wilcoxon)

    def tests(self, conditions: Iterable[str], firsts: Sequence[str], seconds: Sequence[str]) -> list[tuple[str, Test]]:
        """Return condition and test of each first with each second method that have common pairs."""
        found = [(each, self.test(each, one, two)) for each in conditions for one in firsts for two in seconds]
        return [(condition, test) for condition, test in found if test is not None]

    def gap(self, near: str, far: str, method: str, against: str) -> Estimate:
        """Return the difference between two conditions in the lead of a method over another.

        The lead is compared, not the Dice, because the difficulty of pairs differs.
        """
        leads = [self._differences(condition, method, against, "dice") for condition in (near, far)]
        if not all(values for values, _ in leads):
            return Estimate(float("nan"), float("nan"), float("nan"), 0)
        values = np.array([*leads[0][0], *leads[1][0]])
        side = np.array([1.0] * len(leads[0][0]) + [0.0] * len(leads[1][0]))
        groups = [[*one, *two] for one, two in zip(leads[0][1], leads[1][1], strict=True)]

        def difference(weights: Any) -> float:
            first, second = weights * side, weights * (1 - side)
            if first.sum() == 0 or second.sum() == 0:
                return float("nan")
            return float(first @ values / first.sum() - second @ values / second.sum())

        return resampled(difference(np.ones(len(values))), len(values), groups, difference)

    def table(self, measure: str = "dice") -> Table:
        """Return mean and standard deviation over pairs of every method under every condition."""
        held = measure == "dice_held_out"
        rows: list[list[Any]] = []
        for condition in self.conditions:
            for name, family in self.families.items():
                values = np.array(list(self.mean(condition, name, measure).values()))
                if len(values):
                    runs = [np.mean(list(run.values())) for run in self.runs(condition, name, measure).values()]
                    spread = f"{np.min(runs):.3f} to {np.max(runs):.3f}" if len(runs) > 1 else ""
                    rows.append([condition, name, family, len(values), f"{values.mean():.3f} ± {values.std():.3f}",
                                 f"{np.median(values):.3f}", spread])  # fmt: skip
        kind = "labels not used in training" if held else "labels available for training"
        return Table(
            measure,
            "Dice of the labels not used in training" if held else "Dice",
            f"Mean ± standard deviation over pairs of the mean over {kind}; networks: mean over seeds first.",
            ["Condition", "Method", "Family", "Pairs", "Mean ± SD", "Median", "Means of the seeds"],
            rows,
        )

    def boxes(self, name: str, title: str, caption: str) -> Drawing:
        """Return the boxes of all methods, a panel per condition."""
        panels = {
            condition: {who: list(values.values()) for who in self.families if (values := self.mean(condition, who))}
            for condition in self.conditions
        }
        colors = {who: COLORS.get(family, GREY) for who, family in self.families.items()}
        meaning = {family: COLORS.get(family, GREY) for family in dict.fromkeys(self.families.values())}
        return Drawing(name, title, caption, box_figure(panels, colors, meaning=meaning))

    def _differences(
        self, condition: str, first: str, second: str, measure: str
    ) -> tuple[list[float], list[list[str]]]:
        """Return first minus second for every seed and pair, and the groups of each value."""
        one, two = self.runs(condition, first, measure), self.runs(condition, second, measure)
        values, fixed, moving, seeds = [], [], [], []
        # A classical engine has one run, which is compared with all seeds of the network.
        for seed in one if len(one) >= len(two) else two:
            a, b = (side.get(seed) or (next(iter(side.values())) if len(side) == 1 else {}) for side in (one, two))
            for pair in a:
                if pair in b:
                    values.append(a[pair] - b[pair])
                    fixed.append(pair[0])
                    moving.append(pair[1])
                    seeds.append(f"seed {seed}")
        groups = [fixed, moving]
        return values, [*groups, seeds] if len(set(seeds)) > 1 else groups
