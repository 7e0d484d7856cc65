"""Findings of an experiment: claims of the paper tested by stated rules, tables, figures and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .statistics import ALPHA, Estimate, Test

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
PAPER = "Jena et al., Deep Learning in Medical Image Registration: Magic or Mirage?, NeurIPS 2024, arXiv 2408.05839"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and the finding of the experiment.

    Attributes
    ----------
    title : str
        The claim in one sentence.
    paper : str
        Finding of the paper with its section or figure.
    ours : str
        Finding of the experiment, with numbers.
    rule : str
        Rule of the verdict, fixed before the results are known.
    verdict : {'holds', 'fails', 'undecided'}
        Verdict by that rule.
    ours_alone : bool
        Whether the claim is an additional check, not one of the paper.
    """

    title: str
    paper: str
    ours: str
    rule: str
    verdict: str
    ours_alone: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the page, also written as CSV.

    Attributes
    ----------
    name, title, caption : str
        File name without ending, heading, one sentence.
    columns : sequence of str
        Headings.
    rows : sequence of sequences
        Strings or numbers.
    folded : bool
        Whether the page shows it collapsed.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    folded: bool = False


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure with title and caption."""

    name: str
    title: str
    caption: str
    figure: Any


@dataclass(frozen=True)
class Findings:
    """The findings of an experiment.

    Attributes
    ----------
    title, figure_of_paper, summary : str
        Heading, figure of the paper, one or two sentences.
    claims, tables, drawings
        See there.
    notes : sequence of str
        Limits of the comparison with the paper.
    numbers : mapping
        Key numbers as JSON.
    """

    title: str
    figure_of_paper: str
    summary: str
    claims: Sequence[Claim]
    tables: Sequence[Table]
    drawings: Sequence[Drawing]
    notes: Sequence[str] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)


def by_sign(estimate: Estimate) -> str:
    """Return 'holds' when the whole interval is above 0, 'fails' when it is below, otherwise 'undecided'.

    Examples
    --------
    >>> by_sign(Estimate(0.3, 0.1, 0.5, 40))
    'holds'
    """
    if math.isnan(estimate.low):
        return UNDECIDED
    return HOLDS if estimate.low > 0 else FAILS if estimate.high < 0 else UNDECIDED


def by_level(estimate: Estimate, level: float, *, least: float) -> str:
    """Return whether a value reaches the level given in the paper.

    'holds' when the interval reaches up to the level and all of it is above `least`; 'fails' when the whole interval
    is below the level; else (interval too wide) 'undecided'.
    """
    if math.isnan(estimate.low):
        return UNDECIDED
    if estimate.high < level:
        return FAILS
    return HOLDS if estimate.low > least else UNDECIDED


def by_most(estimate: Estimate, most: float) -> str:
    """Return 'holds' when the whole interval is below `most`, 'fails' when it is above, else 'undecided'."""
    if math.isnan(estimate.low):
        return UNDECIDED
    return HOLDS if estimate.high < most else FAILS if estimate.low > most else UNDECIDED


def by_tests(tests: Sequence[Test]) -> str:
    """Return the verdict of several comparisons of the same kind.

    'holds' when `first` wins at least two thirds of them and never loses, 'fails' when `second` wins at least two
    thirds and never loses, otherwise 'undecided'. A comparison is won when both tests are significant at the 1 % level.
    """
    if not tests:
        return UNDECIDED
    won = sum(test.winner == test.first for test in tests)
    lost = sum(test.winner == test.second for test in tests)
    if 3 * won >= 2 * len(tests) and not lost:
        return HOLDS
    return FAILS if 3 * lost >= 2 * len(tests) and not won else UNDECIDED


def p_text(p: float) -> str:
    """Return a p value as text."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def test_table(name: str, title: str, tests: Sequence[tuple[str, Test]]) -> Table:
    """Return the comparisons as a table; each comes with the condition it belongs to."""
    rows = [
        [where, t.first, t.second, t.difference.text(), t.difference.count, p_text(t.p_t), p_text(t.p_wilcoxon),
         t.winner or "no difference shown"]
        for where, t in tests
    ]  # fmt: skip
    return Table(
        name,
        title,
        "Dice of the first minus the second, mean and 95 % interval; two-sided paired t-test and Wilcoxon signed-rank "
        f"test, level {ALPHA} as in the paper. The tests take the mean over seeds of each pair and treat pairs as "
        "independent, as the paper does; the interval rests on the values of all seeds and knows that pairs share "
        "subjects.",
        ["Where", "First", "Second", "Difference", "Values", "p (t)", "p (Wilcoxon)", "Better"],
        rows,
    )


def flat_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the plain entries of rows, in order of appearance."""
    return list(
        dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, (dict, list)))
    )
