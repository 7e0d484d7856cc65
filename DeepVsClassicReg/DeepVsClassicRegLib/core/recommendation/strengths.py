"""Gains of the engines on measured pairs, by kind of pair; the initial ranking of the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..result import FAILED_CONFIDENCE

ONE_CONTRAST, DIFFERENT_CONTRASTS = "one contrast", "different contrasts"
START = "linear"
# Number of datasets of a kind that have the same weight as the mean of the engine over all kinds.
PRIOR_DATASETS = 2.0


@dataclass(frozen=True)
class Strength:
    """The gain of an engine on the pairs of one kind.

    Attributes
    ----------
    gain : float
        Mean fraction of the error of the linear alignment (1 - Dice, or the landmark error) that it removed, with
        equally weighted datasets; negative when it increased the error.
    datasets, pairs : int
        Number of measured datasets and pairs.
    """

    gain: float
    datasets: int
    pairs: int


Strengths = Mapping[str, Mapping[str, Strength]]


def gain(run: Mapping[str, Any], start: Mapping[str, Any]) -> float | None:
    """Return the fraction of the start's error that a run removed, None when it was not measured.

    Landmarks take precedence, because they measure errors inside organs and overlap does not.
    """
    if run.get("tre_mm") is not None and start.get("tre_mm"):
        return float((start["tre_mm"] - run["tre_mm"]) / start["tre_mm"])
    if run.get("dice") is not None and start.get("dice") is not None and start["dice"] < 1:
        return float((run["dice"] - start["dice"]) / (1 - start["dice"]))
    return None


def kind_of(run: Mapping[str, Any]) -> str:
    """Return the kind of a pair from its line of the benchmark."""
    return DIFFERENT_CONTRASTS if "multi-modal" in str(run.get("kind", "")) else ONE_CONTRAST


def measure_strengths(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Strength]]:
    """Return kind -> entry -> strength, from the lines of a benchmark.

    Parameters
    ----------
    runs : sequence of mapping
        Lines with case, group, kind, engine, dice or tre_mm; those of the engine 'linear' are the starts. Pairs with a
        failed linear alignment (confidence below 0.2) are skipped.
    """
    starts = {run["case"]: run for run in runs if run["engine"] == START and "/" not in run["group"]}
    table: dict[tuple[str, str], dict[str, list[float]]] = {}
    for run in runs:
        start = starts.get(run["case"])
        if start is None or run["engine"] == START or "/" in run["group"]:
            continue
        if (start.get("confidence") or 0.0) < FAILED_CONFIDENCE:
            continue
        value = gain(run, start)
        if value is not None:
            datasets = table.setdefault((kind_of(start), run["engine"]), {})
            datasets.setdefault(run["group"], []).append(value)
    found: dict[str, dict[str, Strength]] = {ONE_CONTRAST: {}, DIFFERENT_CONTRASTS: {}}
    for (kind, entry), datasets in sorted(table.items()):
        mean = float(np.mean([np.mean(values) for values in datasets.values()]))
        found[kind][entry] = Strength(mean, len(datasets), sum(map(len, datasets.values())))
    return found


def expected_gain(strengths: Strengths, kind: str, entry: str) -> float | None:
    """Return the expected gain of an engine on a kind of pair, None when it was never measured.

    The mean over few datasets of a kind is shrunk toward the mean of the engine over all kinds.
    """
    every = [table[entry] for table in strengths.values() if entry in table]
    if not every:
        return None
    overall = float(np.average([one.gain for one in every], weights=[one.datasets for one in every]))
    own = strengths.get(kind, {}).get(entry)
    if own is None:
        return overall
    return (own.datasets * own.gain + PRIOR_DATASETS * overall) / (own.datasets + PRIOR_DATASETS)


def ranked(strengths: Strengths, kind: str, entries: Sequence[str]) -> tuple[str, ...]:
    """Return the entries, the most promising first; entries without measurement keep their order at the end."""
    expected = {entry: expected_gain(strengths, kind, entry) for entry in entries}
    known = [entry for entry in entries if expected[entry] is not None]
    return (*sorted(known, key=lambda entry: -(expected[entry] or 0.0)), *(e for e in entries if e not in known))
