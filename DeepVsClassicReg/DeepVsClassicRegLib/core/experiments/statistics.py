"""Statistics of the experiments: correlations with intervals for pairs with common images, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
ALPHA = 0.01
LEVEL = 0.95
RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % confidence interval.

    Attributes
    ----------
    value, low, high : float
        Estimate and ends of the interval; NaN when undefined.
    count : int
        Number of values.
    """

    value: float
    low: float
    high: float
    count: int

    def text(self, decimals: int = 3) -> str:
        """Return the estimate and its interval as text."""
        if math.isnan(self.value):
            return "–"
        sign = "+" if self.low < 0 < self.high or self.value < 0 else ""
        form = f"{sign}.{decimals}f"
        if math.isnan(self.low):
            return f"{self.value:{form}}"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


@dataclass(frozen=True)
class Test:
    """Two methods compared on the same pairs.

    Attributes
    ----------
    first, second : str
        Names of the methods.
    difference : Estimate
        Mean of first minus second.
    p_t, p_wilcoxon : float
        Two-sided p values of the paired t-test and of the Wilcoxon signed-rank test.
    """

    __test__ = False

    first: str
    second: str
    difference: Estimate
    p_t: float
    p_wilcoxon: float

    @property
    def winner(self) -> str:
        """The better method at the 1 % level by both tests, '' when there is none."""
        if max(self.p_t, self.p_wilcoxon) < ALPHA and self.difference.value != 0:
            return self.first if self.difference.value > 0 else self.second
        return ""


def pearson(x: npt.ArrayLike, y: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return the (weighted) linear correlation of two lists, NaN when one of them is constant.

    Examples
    --------
    >>> pearson([0, 1, 2], [1, 3, 5])
    1.0
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    w = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=float)
    if len(a) < 2 or w.sum() <= 0:
        return math.nan
    w = w / w.sum()
    a, b = a - w @ a, b - w @ b
    spread = math.sqrt((w @ a**2) * (w @ b**2))
    # A constant list may have a small spread by rounding.
    return round(float(w @ (a * b)) / spread, 12) if spread > 1e-15 else math.nan


def correlation(x: npt.ArrayLike, y: npt.ArrayLike, groups: Sequence[Sequence[str]] = ()) -> Estimate:
    """Return Pearson's r with its 95 % interval.

    Parameters
    ----------
    x, y : (N,) arrays
        The values to correlate.
    groups : sequences of N names, optional
        Groups of each value (the fixed image, the moving image). Values with a common image are not independent, so
        images are resampled, not values: the weight of a value is the product of the counts of its images. Without
        groups Fisher's interval is returned.

    References
    ----------
    Owen, Ann. Appl. Stat. 1:386-411, 2007, doi 10.1214/07-AOAS122 (the pigeonhole bootstrap).
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    value, count = pearson(a, b), len(a)
    if math.isnan(value) or count < 4:
        return Estimate(value, math.nan, math.nan, count)
    if not groups:
        middle, reach = math.atanh(np.clip(value, -1 + 1e-12, 1 - 1e-12)), 1.959964 / math.sqrt(count - 3)
        return Estimate(value, math.tanh(middle - reach), math.tanh(middle + reach), count)
    return resampled(value, count, groups, lambda w: pearson(a, b, w))


def mean_difference(differences: npt.ArrayLike, groups: Sequence[Sequence[str]] = ()) -> Estimate:
    """Return the mean of differences with its 95 % interval; `groups` as in `correlation`, t interval without."""
    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        return Estimate(float(values.mean()) if len(values) else math.nan, math.nan, math.nan, len(values))
    middle = float(values.mean())
    if not groups:
        reach = float(stats.t.ppf(0.5 + LEVEL / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
        return Estimate(middle, middle - reach, middle + reach, len(values))
    return resampled(middle, len(values), groups, lambda w: float(w @ values / w.sum()))


def compare_paired(first: str, second: str, values: tuple[npt.ArrayLike, npt.ArrayLike]) -> Test:
    """Return the comparison of two methods on the same pairs: paired t-test and Wilcoxon signed-rank test."""
    a, b = (np.asarray(side, dtype=float) for side in values)
    difference = a - b
    if len(difference) < 2 or np.ptp(difference) < 1e-12:
        equal = not len(difference) or abs(difference[0]) < 1e-12
        p = 1.0 if equal or len(difference) < 2 else 0.0
        return Test(first, second, mean_difference(difference), p, p)
    p_t = float(stats.ttest_rel(a, b).pvalue)
    p_wilcoxon = float(stats.wilcoxon(difference, method="approx").pvalue)
    return Test(first, second, mean_difference(difference), p_t, p_wilcoxon)


def line_fit(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line."""
    slope, intercept = np.polyfit(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 1)
    return float(slope), float(intercept)


def resampled_weights(groups: Sequence[Sequence[str]], *, count: int = RESAMPLES) -> Array:
    """Return (count, N) weights: members are resampled with replacement, with all their values.

    Groups with common names (an image that is fixed in one pair and moving in another) are resampled as one pool,
    others (the seeds of training runs) as separate pools. The weight of a value is the product over its groups.
    """
    rng = np.random.default_rng(0)
    weights = np.ones((count, len(groups[0])))
    for pool in _pools(groups):
        names = sorted({name for group in pool for name in group})
        place = {name: number for number, name in enumerate(names)}
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count).astype(float)
        for group in pool:
            weights *= drawn[:, [place[name] for name in group]]
    return weights


def _pools(groups: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """Return the groups combined by common names."""
    pools: list[list[Sequence[str]]] = []
    for group in groups:
        sharing = [pool for pool in pools if any(set(group) & set(other) for other in pool)]
        merged = [group, *(other for pool in sharing for other in pool)]
        pools = [*(pool for pool in pools if pool not in sharing), merged]
    return pools


def resampled(value: float, count: int, groups: Sequence[Sequence[str]], of: Callable[[Array], float]) -> Estimate:
    """Return a statistic with the 95 % percentile interval of the pigeonhole bootstrap.

    Parameters
    ----------
    value, count : float, int
        The statistic of the data, and the number of values.
    groups : sequences of N names
        As in `correlation`.
    of : callable
        Weights (N,) -> the statistic.
    """
    weights = resampled_weights(groups)
    found = np.array([of(w) for w in weights if np.count_nonzero(w) > 2])
    found = found[np.isfinite(found)]
    if len(found) < RESAMPLES // 4:
        return Estimate(value, math.nan, math.nan, count)
    low, high = np.quantile(found, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(value, float(low), float(high), count)
