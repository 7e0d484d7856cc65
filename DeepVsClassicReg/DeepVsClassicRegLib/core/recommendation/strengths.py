"""Which engine did best on measured pairs, by kind of pair; what a ranking rests on when no rule decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..result import FAILED_CONFIDENCE

ONE_CONTRAST, DIFFERENT_CONTRASTS = "one contrast", "different contrasts"
START = "linear"
# So many datasets of a kind weigh as much as what is known of the engine on all kinds.
PRIOR_DATASETS = 2.0


@dataclass(frozen=True)
class Strength:
    """What an engine achieved on the pairs of one kind.

    Attributes
    ----------
    gain : float
        Mean share of the linear alignment's error (1 - Dice, or the landmark error) that it took away; each
        dataset counts alike; below 0 it made things worse.
    datasets, pairs : int
        Measured.
    """

    gain: float
    datasets: int
    pairs: int


Strengths = Mapping[str, Mapping[str, Strength]]


def gain(run: Mapping[str, Any], start: Mapping[str, Any]) -> float | None:
    """Return the share of the start's error that a run took away, None when nothing was measured.

    Landmarks are used first: they see inside organs, overlap does not.
    """
    if run.get("tre_mm") is not None and start.get("tre_mm"):
        return float((start["tre_mm"] - run["tre_mm"]) / start["tre_mm"])
    if run.get("dice") is not None and start.get("dice") is not None and start["dice"] < 1:
        return float((run["dice"] - start["dice"]) / (1 - start["dice"]))
    return None


def kind_of(run: Mapping[str, Any]) -> str:
    """Return the kind of a pair by what the benchmark says of it."""
    return DIFFERENT_CONTRASTS if "multi-modal" in str(run.get("kind", "")) else ONE_CONTRAST


def measure_strengths(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Strength]]:
    """Return kind -> entry -> strength, from the lines of a benchmark.

    Parameters
    ----------
    runs : sequence of mapping
        Lines with case, group, kind, engine, dice or tre_mm; those of engine 'linear' are the starts. Pairs whose
        linear alignment failed (confidence below 0.2) say nothing about the engine and are left out.
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
    """Return an engine's expected gain on a kind of pair, None when it was never measured.

    Few datasets of a kind are evened out with what is known of the engine on all kinds.
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
    """Return the entries, the most promising first; those never measured keep their order at the end."""
    expected = {entry: expected_gain(strengths, kind, entry) for entry in entries}
    known = [entry for entry in entries if expected[entry] is not None]
    return (*sorted(known, key=lambda entry: -(expected[entry] or 0.0)), *(e for e in entries if e not in known))
