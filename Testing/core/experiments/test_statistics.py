"""Correlations, intervals and tests against closed forms and SciPy; decision rules at their borders."""

from __future__ import annotations

import math

import numpy as np
import pytest
from DeepVsClassicRegLib.core.experiments.findings import by_level, by_most, by_sign, by_tests
from DeepVsClassicRegLib.core.experiments.statistics import (
    Estimate,
    compare_paired,
    correlation,
    line_fit,
    mean_difference,
    pearson,
    resampled_weights,
)

stats = pytest.importorskip("scipy.stats")


def test_pearson_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40))
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
    assert pearson([1, 2, 3], [3, 2, 1]) == -1 and math.isnan(pearson([1, 1, 1], [1, 2, 3]))


def test_a_weight_of_two_is_a_repeated_value():
    x, y = [0.0, 1, 2, 4], [1.0, 0, 3, 2]
    assert pearson(x, y, [1, 2, 1, 1]) == pytest.approx(pearson([*x, 1], [*y, 0]))


def test_fisher_interval_is_that_of_scipy():
    rng = np.random.default_rng(1)
    x = rng.normal(size=30)
    y = x + rng.normal(size=30)
    ours, theirs = correlation(x, y), stats.pearsonr(x, y).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_shared_images_widen_the_interval():
    """24 subjects in all pairs are 24 independent things, not 552."""
    rng = np.random.default_rng(2)
    count = 24
    subject = rng.normal(size=count)
    fixed, moving = np.array([(a, b) for a in range(count) for b in range(count) if a != b]).T
    x = subject[fixed] + subject[moving]
    y = x + 3 * (rng.normal(size=count)[fixed] + rng.normal(size=count)[moving])
    names = [[f"p{n}" for n in side] for side in (fixed, moving)]
    naive, honest = correlation(x, y), correlation(x, y, names)
    assert honest.high - honest.low > 2 * (naive.high - naive.low) and honest.low < honest.value < honest.high


def test_seeds_are_drawn_apart_from_subjects():
    weights = resampled_weights([["a", "b", "a"], ["b", "a", "c"], ["s1", "s2", "s1"]], count=2000)
    assert weights.shape == (2000, 3) and weights.min() == 0
    # Two seeds: one of them is drawn twice or each once, so weights of one value are 0, 1 or 2 times the subjects'.
    alone = resampled_weights([["s1", "s2"]], count=500)
    assert (alone.sum(axis=1) == 2).all()


def test_tests_are_those_of_scipy():
    rng = np.random.default_rng(3)
    a = rng.normal(size=25)
    b = a + 0.5 + 0.2 * rng.normal(size=25)
    test = compare_paired("a", "b", (a, b))
    assert test.p_t == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert test.winner == "b" and test.difference.high < 0
    assert test.p_wilcoxon == pytest.approx(stats.wilcoxon(a - b, method="approx").pvalue)


def test_equal_competitors_have_no_winner():
    assert compare_paired("a", "b", ([1.0, 2, 3], [1.0, 2, 3])).winner == ""
    nearly = compare_paired("a", "b", ([1.0, 2, 3, 4], [1.1, 1.9, 3.1, 3.9]))
    assert nearly.winner == ""


def test_t_interval():
    values = [1.0, 2, 3, 4]
    estimate = mean_difference(values)
    low, high = stats.t.interval(0.95, 3, loc=2.5, scale=stats.sem(values))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2.5, low, high))


def test_line():
    assert line_fit([0, 1, 2], [1, 3, 5]) == pytest.approx((2, 1))


@pytest.mark.parametrize(
    ("low", "high", "sign", "level", "most"),
    [
        (0.75, 0.95, "holds", "holds", "fails"),
        (0.1, 0.95, "holds", "undecided", "fails"),
        (0.1, 0.8, "holds", "fails", "fails"),
        (-0.1, 0.01, "undecided", "fails", "holds"),
        (-0.5, -0.1, "fails", "fails", "holds"),
        (math.nan, math.nan, "undecided", "undecided", "undecided"),
    ],
)
def test_rules(low, high, sign, level, most):
    estimate = Estimate((low + high) / 2, low, high, 10)
    assert (by_sign(estimate), by_level(estimate, 0.9, least=0.7), by_most(estimate, 0.02)) == (sign, level, most)


def test_rule_of_many_comparisons():
    rng = np.random.default_rng(4)
    base = rng.normal(size=30)
    won = compare_paired("a", "b", (base + 1 + 0.1 * rng.normal(size=30), base))
    lost = compare_paired("a", "b", (base - 1 + 0.1 * rng.normal(size=30), base))
    even = compare_paired("a", "b", (base, base))
    assert by_tests([won, won, even]) == "holds" and by_tests([lost, lost, even]) == "fails"
    assert by_tests([won, even, even]) == by_tests([won, won, lost]) == by_tests([]) == "undecided"
