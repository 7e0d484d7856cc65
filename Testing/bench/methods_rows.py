"""The rows that methods_bench.py measured, and how they are compared: one JSON file a method and supervision."""

from __future__ import annotations

import json
from pathlib import Path

IN_DOMAIN, ELSEWHERE = "in_domain", "elsewhere"


def read_rows(folder: Path) -> dict[str, dict]:
    """Return the rows by name, the best in-domain first, failed ones last."""
    rows = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    return dict(sorted(rows.items(), key=lambda item: -dice(item[1], IN_DOMAIN)))


def dice(row: dict, where: str) -> float:
    """Return the mean Dice of a row, -1 when it has none."""
    return row[where]["dice"] if where in row else -1.0


def gains(row: dict, other: dict, where: str) -> list[float]:
    """Return how much more Dice a row has than another one on every pair that both were judged on."""
    first, second = row[where]["pairs"], other[where]["pairs"]
    return [first[case] - second[case] for case in first if case in second]


def title(row: dict) -> str:
    """Return the name of a row for readers."""
    settings = f" ({', '.join(row['settings'])})" if row.get("settings") else ""
    seed = f", seed {row['seed']}" if row.get("seed") else ""
    return f"{row['method']}{settings}{seed}"


def twins(rows: dict[str, dict]) -> list[tuple[str, float, dict, dict]]:
    """Return (method, budget, row with images, row with labels) of all that differ in nothing else."""
    keyed = {
        (row["method"], row["budget_minutes"], row["seed"], tuple(row["settings"]), row["supervision"]): row
        for row in rows.values()
        if row["supervision"]
    }
    pairs = [(*key[:4], keyed[(*key[:4], "images")], row) for key, row in keyed.items() if key[4] == "labels"
             and (*key[:4], "images") in keyed]  # fmt: skip
    return [(method, minutes, images, labels) for method, minutes, _, _, images, labels in pairs]


def signed_rank(values: list[float], alternative: str = "two-sided") -> float:
    """Return the p value of the Wilcoxon signed-rank test that values are not around 0; 1 when all are 0."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(values, alternative=alternative).pvalue) if any(values) else 1.0


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Return the p values adjusted for their number (Holm 1979)."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def p_text(value: float) -> str:
    """Return a p value as it is shown."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
