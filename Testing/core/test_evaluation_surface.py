"""Boundary distances against hand-computed cases, scipy and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.evaluation.segmentations import Scored, Surfaces, surface_measures

SPACING = (0.8, 1.5, 2.5)


def blobs(seed: int, shape: tuple[int, int, int] = (20, 24, 28)) -> np.ndarray:
    """Two overlapping ellipsoids with a bumpy border, and a hole."""
    rng = np.random.default_rng(seed)
    k, j, i = np.indices(shape)
    center = np.array(shape) / 2 + rng.uniform(-2, 2, 3)
    radius = rng.uniform(5, 8, 3)
    distance = sum(((c - m) / r) ** 2 for c, m, r in zip((k, j, i), center, radius, strict=True))
    return (distance + 0.15 * rng.normal(size=shape) < 1) & (distance > 0.08)


def surfaces(codes: np.ndarray, spacing_mm: tuple[float, float, float], *labels: int) -> Surfaces:
    return Surfaces.of(codes.astype(np.uint16), Scored(labels or (1,)), spacing_mm)


def directed_distances(first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, float, float]):
    there, back = (surfaces(mask, spacing_mm) for mask in (first, second))
    return there.distances(back, 0), back.distances(there, 0)


def measured(
    first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, float, float] = SPACING
) -> dict[str, float]:
    found = surface_measures(surfaces(first, spacing_mm), surfaces(second, spacing_mm), Scored((1,)))
    return {name: value for name, value in found.items() if name.endswith("mean")}


def test_single_voxels():
    first, second = np.zeros((2, 8, 8, 8), dtype=bool)
    first[1, 2, 3] = second[3, 5, 7] = True
    expected = np.linalg.norm([2 * 2.5, 3 * 1.5, 4 * 0.8])
    assert measured(first, second) == pytest.approx(
        dict.fromkeys(("hd95_mm_mean", "hd_mm_mean", "assd_mm_mean"), expected)
    )


def test_parallel_plates():
    first, second = np.zeros((2, 10, 6, 6), dtype=bool)
    first[2], second[6] = True, True
    assert measured(first, second)["assd_mm_mean"] == pytest.approx(4 * 2.5)


def test_shifted_cubes_by_hand():
    first = np.zeros((12, 12, 12), dtype=bool)
    first[3:8, 3:8, 3:8] = True
    second = np.roll(first, 1, axis=0)
    there, back = directed_distances(first, second, (1.0, 1.0, 1.0))
    # Boundary 125 - 27 = 98 voxels. Of the layer that was left, the 25 voxels lie 1 from the other cube's first
    # layer; the 9 inner voxels of the last layer face the inside of the other cube and lie 1 from its end layer.
    assert len(there) == len(back) == 98
    assert sorted(there) == sorted(back) == [0.0] * 64 + [1.0] * 34
    found = measured(first, second, (1.0, 1.0, 1.0))
    assert found["hd95_mm_mean"] == 1.0
    assert found["assd_mm_mean"] == pytest.approx(34 / 98)


def test_boundary_counts_the_edge_of_the_volume_as_outside():
    assert len(surfaces(np.ones((4, 4, 4)), SPACING).places[0]) == 64 - 8
    assert len(surfaces(np.ones((1, 5, 5)), SPACING).places[0]) == 25


@pytest.mark.parametrize("seed", range(4))
def test_distances_equal_scipy(seed):
    ndimage = pytest.importorskip("scipy.ndimage")
    first, second = blobs(seed), blobs(seed + 100)
    there, back = directed_distances(first, second, SPACING)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (first, second)]
    for found, of, to in ((there, *edges), (back, *edges[::-1])):
        expected = ndimage.distance_transform_edt(~to, sampling=SPACING[::-1])[of]
        np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=1e-4)


def test_far_apart_labels_are_exact():
    first, second = np.zeros((2, 60, 30, 30), dtype=bool)
    first[1:4, 1:4, 1:4] = True
    second[55:58, 25:28, 25:28] = True
    there, _ = directed_distances(first, second, (1.0, 1.0, 1.0))
    assert there.min() == pytest.approx(np.linalg.norm([52, 22, 22]), abs=1e-4)
    assert there.max() == pytest.approx(np.linalg.norm([54, 24, 24]), abs=1e-4)


def test_missing_label_has_no_distance():
    first, second = np.zeros((2, 8, 8, 8), dtype=np.uint16)
    first[2:4, 2:4, 2:4] = 1
    first[5:7, 5:7, 5:7] = 2
    second[2:4, 2:4, 3:5] = 1
    sides = (surfaces(codes, (1.0, 1.0, 1.0), 4, 9) for codes in (first, second))
    found = surface_measures(*sides, Scored((4, 9)))
    assert np.isnan(found["hd95_mm_per_label"][9])
    assert found["hd95_mm_mean"] == found["hd95_mm_per_label"][4] == 1.0


def test_the_boundary_of_each_label_is_its_own():
    """Touching labels have a boundary on both sides of their contact, and distances do not mix labels."""
    codes = np.ones((6, 6, 6), dtype=np.uint16)
    codes[3:] = 2
    one = surfaces(codes, (1.0, 1.0, 1.0), 4, 9)
    for place, code in enumerate((1, 2)):
        alone = surfaces(codes == code, (1.0, 1.0, 1.0))
        assert np.array_equal(one.places[place], alone.places[0])
    other = surfaces(np.roll(codes, 1, axis=0), (1.0, 1.0, 1.0), 4, 9)
    alone = [surfaces(np.roll(codes, 1, axis=0) == code, (1.0, 1.0, 1.0)) for code in (1, 2)]
    for place, code in enumerate((1, 2)):
        expected = surfaces(codes == code, (1.0, 1.0, 1.0)).distances(alone[place], 0)
        assert np.array_equal(one.distances(other, place), expected)


@pytest.mark.slow  # importing MONAI takes eight seconds of CPU
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(2))
def test_equal_to_monai(seed):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    first, second = blobs(seed), blobs(seed + 50)
    one, other = (torch.as_tensor(mask.astype(np.float32))[None, None] for mask in (second, first))
    options = {"include_background": True, "spacing": SPACING[::-1]}
    found = measured(first, second)
    hd95 = metrics.compute_hausdorff_distance(one, other, percentile=95, **options)
    assd = metrics.compute_average_surface_distance(one, other, symmetric=True, **options)
    assert found["hd95_mm_mean"] == pytest.approx(float(hd95), abs=1e-3)
    assert found["hd_mm_mean"] == pytest.approx(
        float(metrics.compute_hausdorff_distance(one, other, **options)), abs=1e-3
    )
    assert found["assd_mm_mean"] == pytest.approx(float(assd), abs=1e-3)
    dice = float(metrics.compute_dice(one, other, include_background=True))
    assert dice == pytest.approx(2 * (first & second).sum() / (first.sum() + second.sum()))
