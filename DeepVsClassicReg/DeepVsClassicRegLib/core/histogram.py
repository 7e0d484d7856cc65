"""Histograms of intensities and labels, their entropy and mutual information, in nats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]


def bin_numbers(values: npt.NDArray[np.floating], limits: tuple[float, float], *, bins: int) -> npt.NDArray[np.int32]:
    """Return the bin number of each value.

    Parameters
    ----------
    values : array
        Any shape.
    limits : tuple of 2 float
        Range of the equal-width bins; values outside are counted in the first and last bin.
    bins : int
        Number of bins.

    Returns
    -------
    array of int32
        0 to `bins` - 1, same shape; all 0 when the limits coincide.
    """
    low, high = limits
    if high <= low:
        return np.zeros(values.shape, dtype=np.int32)
    scaled = (values - np.float32(low)) * np.float32(bins / (high - low))
    np.clip(scaled, 0, bins - 1, out=scaled)
    return np.asarray(scaled.astype(np.int32))


def joint_histogram(rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], shape: tuple[int, int]) -> Counts:
    """Return how often each row number occurs with each column number.

    Parameters
    ----------
    rows, columns : arrays of the same shape
        Bin numbers or label codes, from 0.
    shape : tuple of 2 int
        Numbers of rows and columns of the table.
    """
    cells = np.multiply(rows, shape[1], dtype=np.int64) + columns
    return np.bincount(cells.ravel(), minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def entropy(counts: npt.NDArray[np.number]) -> float:
    """Return the entropy of the relative frequencies of counts; 0 when there are no counts."""
    positive = counts[counts > 0].astype(np.float64)
    total = float(positive.sum())
    return float(np.log(total) - (positive * np.log(positive)).sum() / total) if total > 0 else 0.0


def mutual_information(joint: npt.NDArray[np.number]) -> float:
    """Return the mutual information of a joint histogram, at least 0.

    Examples
    --------
    >>> round(mutual_information(np.array([[500, 0], [0, 500]])), 4)
    0.6931
    """
    return max(0.0, entropy(joint.sum(axis=1)) + entropy(joint.sum(axis=0)) - entropy(joint))


def normalized_mutual_information(joint: npt.NDArray[np.number]) -> float:
    """Return (H(rows) + H(columns)) / H(rows, columns), 1 to 2; NaN when the histogram has no entropy.

    References
    ----------
    Studholme et al., Pattern Recognition 32:71-86, 1999, doi 10.1016/S0031-3203(98)00091-0.
    """
    together = entropy(joint)
    return (entropy(joint.sum(axis=1)) + entropy(joint.sum(axis=0))) / together if together > 0 else float("nan")


def miller_madow_bias(joint: npt.NDArray[np.number]) -> float:
    """Return the mean bias of the mutual information estimated from a finite number of counts.

    With K the numbers of occupied cells and N counts it is (K_joint - K_rows - K_columns + 1) / 2N. It is 0 for a table
    with one row or column, and for a deterministic table, where the formula is negative.

    References
    ----------
    Miller, Information Theory in Psychology, 95-100, 1955.
    """
    total = float(joint.sum())
    rows, columns = (int(np.count_nonzero(joint.sum(axis=axis))) for axis in (1, 0))
    cells = int(np.count_nonzero(joint)) - rows - columns + 1
    return max(cells, 0) / (2 * total) if total > 0 else 0.0
