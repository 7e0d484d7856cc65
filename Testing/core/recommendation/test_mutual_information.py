"""Mutual information: analytic joint distributions, bias, shapes, and the rough stand-in."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.histogram import entropy, joint_histogram
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.recommendation.mutual_information import (
    intensity_bins,
    mutual_information,
    table_information,
)
from DeepVsClassicRegLib.core.recommendation.tissue import kmeans_levels, otsu_level, rough_information, tissue_classes

SIZE = (32, 32, 32)


def permutation_baseline(joint: np.ndarray, *, repeats: int = 20, seed: int = 0) -> float:
    """Return the mean plug-in information of tables with the same margins but shuffled labels, in nats.

    Parameters
    ----------
    joint : (S, B) array of counts
        Labels by intensity bins.
    repeats : int
        How often the labels are shuffled.
    seed : int
        Of the shuffling.

    Notes
    -----
    What a finite sample of independent variables shows; the Miller-Madow bias should be close to it. Shuffling
    labels among voxels is drawing a table with fixed margins, so it costs nothing per voxel.
    """
    table = np.asarray(joint, dtype=np.int64)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    random = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        left, drawn = columns.copy(), []
        for count in rows:
            row = random.multivariate_hypergeometric(left, count, method="marginals")
            left = left - row
            drawn.append(row)
        found.append(entropy(rows.astype(float)) + entropy(columns.astype(float)) - entropy(np.array(drawn, float)))
    return float(np.mean(found))


def volumes(values, labels, spacing=(1.0, 1.0, 1.0)):
    grid = Grid(labels.shape[::-1], spacing)
    return Volume(np.asarray(values, dtype=np.float32).reshape(labels.shape), grid), LabelMap(labels, grid)


def gaussian_information(means, shares, sigma=1.0):
    """I(i;s) of a Gaussian mixture by numerical integration."""
    x = np.linspace(min(means) - 8 * sigma, max(means) + 8 * sigma, 20001)
    given = np.exp(-((x[None] - np.array(means)[:, None]) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    marginal = (np.array(shares)[:, None] * given).sum(axis=0)
    density = np.array(shares)[:, None] * given * np.log(np.maximum(given, 1e-300) / np.maximum(marginal, 1e-300))
    return float(density.sum() * (x[1] - x[0]))


@pytest.mark.parametrize(
    ("means", "shares"), [((0, 2), (0.5, 0.5)), ((0, 1, 4), (0.6, 0.3, 0.1)), ((0, 8), (0.7, 0.3))]
)
def test_gaussian_classes_have_the_integrated_information(means, shares):
    random = np.random.default_rng(0)
    labels = random.choice(len(means), size=SIZE, p=shares).astype(np.int32)
    values = random.normal(np.array(means, dtype=float)[labels], 1.0)
    found = mutual_information(*volumes(values, labels)).whole
    assert found.nats == pytest.approx(gaussian_information(means, shares), abs=0.012)
    assert found.entropy == pytest.approx(-sum(p * np.log(p) for p in shares), abs=0.01)


def test_independent_is_zero_and_deterministic_is_the_entropy():
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, size=SIZE).astype(np.int32)
    nothing = mutual_information(*volumes(random.normal(size=SIZE), labels))
    assert nothing.whole.nats < 5e-4 and nothing.foreground.uncertainty_coefficient < 5e-4
    everything = mutual_information(*volumes(labels * 10.0, labels))
    assert everything.whole.nats == pytest.approx(everything.whole.entropy, rel=1e-3)
    assert everything.whole.uncertainty_coefficient == pytest.approx(1, abs=1e-3)


def test_the_bias_of_small_samples_is_the_permutation_baseline():
    random = np.random.default_rng(2)
    labels = random.integers(0, 6, size=(20, 20, 20)).astype(np.int32)
    volume, segmentation = volumes(random.normal(size=labels.shape), labels)
    joint = joint_histogram(segmentation.array, intensity_bins(volume.array, bins=32), (6, 32))
    found = table_information(joint)
    assert found.bias == pytest.approx(permutation_baseline(joint, repeats=40), rel=0.15)
    assert found.bias > 0.005 and found.nats < 0.003


def test_whole_image_counts_the_background_and_foreground_does_not():
    labels = np.zeros((16, 16, 16), dtype=np.int32)
    labels[4:12, 4:12, 4:8], labels[4:12, 4:12, 8:12] = 3, 7
    values = np.where(labels > 0, 100.0, 0.0)
    found = mutual_information(*volumes(values, labels))
    assert found.foreground.nats == 0 and found.foreground.entropy == pytest.approx(np.log(2))
    assert found.whole.nats > 0.3
    assert [entry.label for entry in found.labels] == [3, 7]


def test_volume_and_surface_of_a_box_in_millimeters():
    labels = np.zeros((16, 16, 16), dtype=np.int32)
    labels[4:8, 4:10, 4:6] = 1
    label = mutual_information(*volumes(labels * 1.0, labels, (0.5, 2.0, 3.0))).labels[0]
    x, y, z = 2 * 0.5, 6 * 2.0, 4 * 3.0
    assert label.volume_mm3 == pytest.approx(x * y * z)
    assert label.surface_mm2 == pytest.approx(2 * (x * y + y * z + z * x))
    assert label.surface_to_volume == pytest.approx(2 * (1 / x + 1 / y + 1 / z))


def test_labels_on_another_grid_negative_and_huge_labels():
    labels = np.zeros((16, 16, 16), dtype=np.int32)
    labels[4:12, 4:12, 4:12] = 1
    volume, segmentation = volumes(labels * 50.0, labels)
    coarse = Grid((8, 8, 8), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5))
    moved = mutual_information(volume, LabelMap(labels[::2, ::2, ::2], coarse))
    assert moved.whole.nats == pytest.approx(mutual_information(volume, segmentation).whole.nats, rel=0.02)
    strange = mutual_information(volume, LabelMap(labels * 3_000_000 - 5, volume.grid))
    assert strange.whole.entropy == pytest.approx(moved.whole.entropy, rel=0.02)


def test_an_empty_segmentation_is_reported():
    with pytest.raises(RegistrationError, match="has no label"):
        mutual_information(*volumes(np.arange(512.0), np.zeros((8, 8, 8), dtype=np.int32)))


def test_otsu_and_kmeans_find_the_gaps():
    histogram = np.zeros(256)
    histogram[[10, 11, 12]], histogram[[100, 101]], histogram[[200, 201]] = 100, 60, 40
    classes = kmeans_levels(histogram, 3)
    assert len(set(classes[10:13])) == 1 and classes[11] < classes[100] < classes[200]
    two = np.zeros(256)
    two[20:30], two[180:190] = 50, 50
    assert 30 <= otsu_level(two) <= 180


def test_the_stand_in_falls_with_noise_and_is_marked():
    random = np.random.default_rng(3)
    tissue = np.zeros(SIZE)
    tissue[4:28, 4:28, 4:28], tissue[10:22, 10:22, 10:22], tissue[14:18, 14:18, 14:18] = 1, 2, 3
    clear, noisy = (Volume(tissue + random.normal(0, s, SIZE), Grid(SIZE)) for s in (0.05, 0.8))
    assert rough_information(clear).rough
    share = [rough_information(v).whole.uncertainty_coefficient for v in (clear, noisy)]
    assert share[0] > 0.7 > share[1]
    assert set(np.unique(tissue_classes(clear).array)) == {0, 1, 2, 3}
