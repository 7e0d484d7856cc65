"""Measures against hand-computed cases, the resampler and the closed form of a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.engines.base import Diagnostics, Result
from DeepVsClassicRegLib.core.errors import Cancelled, SettingsError
from DeepVsClassicRegLib.core.evaluation.consistency import round_trip_measures
from DeepVsClassicRegLib.core.evaluation.error_map import ErrorMap
from DeepVsClassicRegLib.core.evaluation.evaluate import completed, evaluate
from DeepVsClassicRegLib.core.evaluation.measures import LATER, MEASURES, scalars
from DeepVsClassicRegLib.core.evaluation.region import fixed_region
from DeepVsClassicRegLib.core.evaluation.segmentations import Scored, scored_labels
from DeepVsClassicRegLib.core.evaluation.similarity import local_agreement, mean_agreements
from DeepVsClassicRegLib.core.histogram import mutual_information, normalized_mutual_information
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform
from scipy import ndimage

TURN = np.deg2rad(25)
OBLIQUE = (np.cos(TURN), -np.sin(TURN), 0, np.sin(TURN), np.cos(TURN), 0, 0, 0, -1.0)


def cube(grid: Grid, start: int, size: int, label: int = 1) -> np.ndarray:
    array = np.zeros(grid.shape, dtype=np.int32)
    array[start : start + size, start : start + size, start : start + size] = label
    return array


def volume_of(labels: np.ndarray, grid: Grid, seed: int = 0) -> Volume:
    noise = np.random.default_rng(seed).normal(0, 0.05, grid.shape)
    return Volume((labels > 0) * 1.0 + labels * 0.3 + noise, grid)


def labeled_pair(fixed: np.ndarray, moving: np.ndarray, grid: Grid, moving_grid: Grid | None = None) -> Pair:
    other = moving_grid or grid
    return Pair(volume_of(fixed, grid), volume_of(moving, other, 1), LabelMap(fixed, grid), LabelMap(moving, other))


def smooth_field(grid: Grid, amplitude_mm: float, seed: int = 0) -> DisplacementField:
    k, j, i = np.meshgrid(*(np.linspace(0, 2 * np.pi, n) for n in grid.shape), indexing="ij")
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    parts = [np.sin(i + phase[0]) * np.cos(j), np.sin(j + phase[1]) * np.cos(k), np.sin(k + phase[2]) * np.cos(i)]
    return DisplacementField(amplitude_mm * np.stack(parts, axis=-1), grid)


def test_cubes_shifted_by_one_voxel():
    grid = Grid((16, 16, 16), (1.0, 2.0, 3.0))
    fixed = cube(grid, 4, 6)
    moving = np.roll(fixed, 1, axis=0)
    found = evaluate(labeled_pair(fixed, moving, grid), Transform()).after
    # 5 of 6 layers overlap: Dice 5/6; every distance is 0 but for one layer of 36 boundary voxels, 3 mm away.
    assert found["dice_mean"] == pytest.approx(5 / 6)
    assert found["dice_pooled"] == pytest.approx(5 / 6)
    assert found["soft_dice_mean"] == pytest.approx(5 / 6)
    assert found["target_overlap_mean"] == pytest.approx(5 / 6)
    assert found["volume_similarity_mean"] == 1.0
    assert found["hd_mm_mean"] == pytest.approx(3.0)
    assert found["hd95_mm_mean"] == pytest.approx(3.0)
    # Boundary of a 6x6x6 cube: 216 - 64 = 152 voxels; 36 lie on the end layer that sticks out. The 16 inner ones of
    # the other end lie inside the other cube, nearest to its side walls across x: 1, 2, 2, 1 mm in each of 4 rows.
    assert found["assd_mm_mean"] == pytest.approx((36 * 3 + 4 * 6) / 152)
    assert found["dice_per_label"] == {1: pytest.approx(5 / 6)}


def test_transform_that_undoes_the_shift_is_perfect():
    grid = Grid((16, 16, 16), (1.0, 2.0, 3.0))
    fixed = cube(grid, 4, 6)
    moving = np.roll(fixed, 1, axis=0)
    found = evaluate(labeled_pair(fixed, moving, grid), Transform((Affine.shift([0, 0, 3.0]),)))
    assert found.before["dice_mean"] == pytest.approx(5 / 6)
    assert found.after["dice_mean"] == 1.0
    assert found.after["hd95_mm_mean"] == 0.0
    assert found.after["folding_percent"] == 0.0
    assert np.array_equal(found.warped_labels.array, fixed)
    assert np.all(found.jacobian.array == 1)


def test_pooled_dice_weighs_by_size():
    grid = Grid((20, 20, 20))
    fixed = cube(grid, 2, 4) + cube(grid, 10, 2, 7)
    moving = cube(grid, 2, 4) + cube(grid, 14, 2, 7)
    found = evaluate(labeled_pair(fixed, moving, grid), Transform()).after
    assert found["dice_per_label"] == {1: 1.0, 7: 0.0}
    assert found["dice_mean"] == 0.5
    assert found["dice_pooled"] == pytest.approx(2 * 64 / (2 * 64 + 2 * 8))


@pytest.mark.parametrize("linear", [True, False])
def test_soft_dice_equals_warping_one_label_after_the_other(linear):
    rng = np.random.default_rng(3)
    grid = Grid((14, 13, 12), (1.0, 1.5, 2.0), (3.0, -4.0, 5.0), OBLIQUE)
    moving_grid = Grid((15, 14, 13), (1.1, 1.2, 1.9), (2.5, -3.0, 6.0), OBLIQUE)
    blocks = [rng.integers(0, 4, [-(-n // 3) for n in g.shape]) for g in (grid, moving_grid)]
    fixed, moving = (
        np.kron(b, np.ones((3, 3, 3), dtype=int))[tuple(slice(0, n) for n in g.shape)]
        for b, g in zip(blocks, (grid, moving_grid), strict=True)
    )
    pair = labeled_pair(fixed, moving, grid, moving_grid)
    turned = Affine.about(np.diag([1.05, 0.95, 1.0]), grid.center_mm, [0.3, 0.4, -0.5])
    transform = Transform((turned,) if linear else (smooth_field(grid, 0.9), turned))
    found = evaluate(pair, transform, measures=["overlap"]).after["soft_dice_per_label"]
    for label in (1, 2, 3):
        one = Volume((pair.moving_labels.array == label).astype(np.float32), moving_grid)
        member = warp_volume(one, grid, transform, fill=0).array
        there = fixed == label
        expected = 2 * member[there].sum() / (member.sum() + there.sum())
        assert found[label] == pytest.approx(expected, abs=2e-4)
    assert 0.1 < min(found.values()) < max(found.values()) < 0.9


def test_slabs_give_the_same_as_the_whole(monkeypatch):
    from DeepVsClassicRegLib.core.evaluation import region

    grid = Grid((16, 17, 18), (1.0, 1.2, 1.5), (0, 0, 0), OBLIQUE)
    pair = labeled_pair(cube(grid, 4, 7), cube(grid, 5, 7), grid)
    transform = Transform((smooth_field(grid, 0.8),))
    whole = evaluate(pair, transform)
    monkeypatch.setattr(region.slabs, "__kwdefaults__", {"voxels": 5 * 16 * 17})
    parts = evaluate(pair, transform)
    assert np.array_equal(whole.warped_labels.array, parts.warped_labels.array)
    np.testing.assert_allclose(whole.warped.array, parts.warped.array, atol=1e-5)
    np.testing.assert_allclose(whole.jacobian.array, parts.jacobian.array, atol=1e-6)
    assert scalars(whole.after) == pytest.approx(scalars(parts.after), abs=1e-6)


@pytest.mark.parametrize("size", [(7, 6, 5), (1, 4, 3)])
def test_cells_with_several_labels_are_found(size):
    from DeepVsClassicRegLib.core.evaluation.segmentations import _mixed_cells

    codes = np.random.default_rng(2).choice([0, 0, 0, 5], size[::-1]).astype(np.uint16)
    corners = [np.pad(codes, (0, 1), mode="edge")[k:, j:, i:] for k, j, i in np.ndindex(2, 2, 2)]
    corners = np.stack([corner[: size[2], : size[1], : size[0]] for corner in corners])
    assert 0 < (corners.min(0) == corners.max(0)).sum() < codes.size
    np.testing.assert_array_equal(_mixed_cells(codes), corners.min(0) != corners.max(0))


def test_a_part_of_a_large_region_gives_nearly_the_same_similarity(monkeypatch):
    """An eighth of the voxels; both volumes are smooth, as images are."""
    from DeepVsClassicRegLib.core.evaluation import similarity

    pair = make_phantom("head", size=64).pair
    whole = evaluate(pair, Transform(), measures=["similarity"]).after
    count = int(fixed_region(pair)[0].sum())
    monkeypatch.setattr(similarity, "MOST_COMPARED", count // 8)
    compared = similarity.SimilarityRegion.of(pair.fixed, pair.moving, fixed_region(pair)[0]).inside
    assert compared.sum() == pytest.approx(count / 9, rel=0.1)
    part = evaluate(pair, Transform(), measures=["similarity"]).after
    assert part["ncc"] == pytest.approx(whole["ncc"], abs=0.01)
    assert part["overlap_percent"] == pytest.approx(whole["overlap_percent"], abs=0.5)


def test_labels_on_one_side_only_are_excluded_and_reported():
    grid = Grid((16, 16, 16))
    fixed = cube(grid, 2, 4) + cube(grid, 9, 3, 5)
    moving = cube(grid, 2, 4) + cube(grid, 9, 3, 2035)
    found = evaluate(labeled_pair(fixed, moving, grid), Transform())
    assert found.labels == (1,)
    assert found.after["dice_mean"] == 1.0
    assert any("only in the fixed" in note and "5" in note for note in found.notes)
    assert any("only in the moving" in note and "2035" in note for note in found.notes)


def test_a_label_pushed_out_of_view_counts_as_zero():
    grid = Grid((16, 16, 16))
    fixed = cube(grid, 2, 4) + cube(grid, 9, 4, 2)
    far = Transform((Affine.shift([-10.0, 0, 0]),))
    found = evaluate(labeled_pair(fixed, fixed, grid), far)
    assert found.after["labels_lost"] == 1
    assert found.after["dice_mean"] == 0.0
    assert np.isnan(found.after["hd95_mm_per_label"][2])
    assert any("outside the fixed volume" in note for note in found.notes)


def test_chosen_labels_and_large_numbers():
    grid = Grid((16, 16, 16))
    labels = cube(grid, 2, 4, 2_000_000) + cube(grid, 9, 3, 5)
    fixed, moving = LabelMap(labels, grid), LabelMap(labels, grid)
    assert scored_labels(fixed, moving)[0].labels == (5, 2_000_000)
    scored, _ = scored_labels(fixed, moving, [2_000_000, 99])
    assert scored.labels == (2_000_000,)
    assert scored.codes(labels).sum() == 64
    assert Scored((-3, 4)).codes(np.array([-3, 4, 0, 7, -9])).tolist() == [1, 2, 0, 0, 0]


def test_landmark_error():
    grid = Grid((16, 16, 16))
    pair = labeled_pair(cube(grid, 4, 6), cube(grid, 4, 6), grid)
    points = np.array([[1.0, 2, 3], [4, 5, 6], [7, 7, 7]])
    pair = pair.replace(fixed_points=points, moving_points=points + np.array([[3, 4, 0], [0, 0, 1], [0, 0, 0]]))
    found = evaluate(pair, Transform((Affine.shift([0, 0, 1.0]),)), measures=["landmarks"])
    assert found.before["tre_mm_per_point"] == pytest.approx([5.0, 1.0, 0.0])
    assert found.before["tre_mm_mean"] == pytest.approx(2.0)
    assert found.after["tre_mm_per_point"] == pytest.approx([np.sqrt(26), 0.0, 1.0])
    assert found.after["tre_mm_max"] == pytest.approx(np.sqrt(26))
    assert found.after["tre_mm_median"] == pytest.approx(1.0)


def test_mutual_information_of_known_histograms():
    same = np.diag([25, 25, 25, 25])
    information, normalized = mutual_information(same), normalized_mutual_information(same)
    assert information == pytest.approx(np.log(4))
    assert normalized == pytest.approx(2.0)
    even = np.full((4, 4), 10)
    information, normalized = mutual_information(even), normalized_mutual_information(even)
    assert information == pytest.approx(0.0, abs=1e-12)
    assert normalized == pytest.approx(1.0)


def test_similarity_of_correlated_noise_matches_the_gaussian():
    rng = np.random.default_rng(0)
    grid = Grid((32, 32, 32))
    first, other = rng.normal(0, 1, (2, *grid.shape))
    correlated = 0.8 * first + 0.6 * other
    mask = LabelMap(np.ones(grid.shape, dtype=np.int32), grid)
    pair = Pair(Volume(first, grid), Volume(-correlated, grid), fixed_mask=mask)
    found = evaluate(pair, Transform(), measures=["similarity"]).after
    assert found["ncc"] == pytest.approx(-0.8, abs=0.01)
    # MI = -log(1 - r^2)/2, plus the bias (bins - 1)^2 / (2 N) of the histogram at most.
    assert -0.5 * np.log(1 - 0.64) - 0.02 < found["mi"] < -0.5 * np.log(1 - 0.64) + 63**2 / 2 / 32**3 + 0.02
    assert found["overlap_percent"] == 100.0


def test_similarity_leaves_out_what_the_moving_volume_does_not_show():
    grid = Grid((20, 20, 20))
    noise = np.random.default_rng(0).normal(0, 1, grid.shape)
    half = Grid((10, 20, 20))
    mask = LabelMap(np.ones(grid.shape, dtype=np.int32), grid)
    pair = Pair(Volume(noise, grid), Volume(noise[:, :, :10], half), fixed_mask=mask)
    found = evaluate(pair, Transform(), measures=["similarity"]).after
    assert found["overlap_percent"] == 50.0
    assert found["ncc"] == pytest.approx(1.0)
    away = evaluate(pair, Transform((Affine.shift([100.0, 0, 0]),)), measures=["similarity"]).after
    assert away["overlap_percent"] == 0.0
    assert np.isnan(away["mi"])


def test_fold_is_found_and_has_no_inverse():
    grid = Grid((24, 24, 24))
    x = np.arange(24.0)
    folded = np.zeros((*grid.shape, 3))
    folded[..., 0] = -4.0 * np.tanh((x - 12) / 2)  # slope 1 - 2 < 0 around x = 12
    mask = LabelMap(np.ones(grid.shape, dtype=np.int32), grid)
    noise = np.random.default_rng(0).normal(size=grid.shape)
    pair = Pair(Volume(noise, grid), Volume(noise, grid), fixed_mask=mask)
    found = evaluate(pair, Transform((DisplacementField(folded, grid),)), measures=["regularity", "consistency"])
    slope = 1 + np.gradient(-4.0 * np.tanh((x - 12) / 2))
    assert found.after["folding_percent"] == pytest.approx(100 * np.mean(slope <= 0))
    assert found.after["jacobian_min"] == pytest.approx(slope.min(), abs=1e-4)
    assert found.after["inverse_residual_mm_max"] > 1.0
    smooth = evaluate(pair, Transform((smooth_field(grid, 1.0),)), measures=["regularity", "consistency"]).after
    assert smooth["folding_percent"] == 0.0
    assert smooth["inverse_residual_mm_max"] < 0.01


def test_round_trip_survives_a_large_rotation():
    grid = Grid((20, 20, 20), (2.0, 2.0, 2.0))
    angle = np.deg2rad(70)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    transform = Transform((smooth_field(grid, 2.0), Affine.about(turn, grid.center_mm, [40.0, 0, 0])))
    found = round_trip_measures(transform, grid, np.ones(grid.shape, dtype=bool))
    assert found["inverse_residual_mm"] < 0.01


def test_start_column_and_families():
    grid = Grid((16, 16, 16))
    pair = labeled_pair(cube(grid, 4, 6), np.roll(cube(grid, 4, 6), 2, axis=2), grid)
    shift = [Transform((Affine.shift([n, 0, 0]),)) for n in (1.0, 2.0)]
    found = evaluate(pair, Result(shift[1], Diagnostics(), start=shift[0]), measures=["overlap"])
    assert [column["dice_mean"] for column in (found.before, found.start, found.after)] == pytest.approx(
        [4 / 6, 5 / 6, 1.0]
    )
    assert set(found.after) <= {name for name, measure in MEASURES.items() if measure.family == "overlap"}
    with pytest.raises(SettingsError, match="overlap"):
        evaluate(pair, shift[0], measures=["overlapp"])


def test_evaluation_can_be_cancelled():
    grid = Grid((16, 16, 16))
    pair = labeled_pair(cube(grid, 4, 6), cube(grid, 4, 6), grid)
    with pytest.raises(Cancelled):
        evaluate(pair, Transform(), progress=Progress(cancelled=lambda: True))


@pytest.mark.parametrize("start", [Transform(), Transform((Affine.shift([0.5, 0, 0]),))])
def test_an_evaluation_in_steps_ends_with_the_same_numbers(start):
    pair = make_phantom("head", size=20).pair
    result = Result(Transform((smooth_field(pair.fixed.grid, 1.0), *start.parts)), Diagnostics(), start=start)
    whole = evaluate(pair, result, threads=1)
    first = evaluate(pair, result, threads=1, in_steps=True)
    assert first.missing == tuple(LATER) and whole.missing == ()
    later = {name for name, measure in MEASURES.items() if measure.family in LATER}
    assert set(whole.after) - set(first.after) == set(whole.before) - set(first.before) == later
    found = completed(first, threads=1)
    assert found.missing == () and completed(found) is found
    for name in ("before", "start", "after"):
        one, other = getattr(found, name), getattr(whole, name)
        assert one == other and (one is None or list(one) == list(other))
    assert found.locations == first.locations == whole.locations
    assert found.seconds > first.seconds


def test_an_evaluation_without_surfaces_has_nothing_for_later():
    pair = make_phantom("head", size=16).pair
    for given, measures in ((pair.replace(fixed_labels=None), None), (pair, ("overlap",))):
        assert evaluate(given, Transform(), measures=measures, in_steps=True, threads=1).missing == ()


def test_what_follows_later_can_be_cancelled():
    first = evaluate(make_phantom("head", size=16).pair, Transform(), in_steps=True, threads=1)
    with pytest.raises(Cancelled):
        completed(first, threads=1, progress=Progress(cancelled=lambda: True))


def test_every_number_has_a_described_measure():
    grid = Grid((16, 16, 16))
    points = np.array([[5.0, 5, 5], [8, 8, 8]])
    pair = labeled_pair(cube(grid, 4, 6), cube(grid, 5, 6), grid).replace(fixed_points=points, moving_points=points)
    estimate = ErrorMap(Volume(np.ones(grid.shape, np.float32), grid), np.ones(grid.shape, bool))
    found = evaluate(pair, Transform((smooth_field(grid, 0.5),)), error_map=estimate)
    assert set(found.before) | set(found.after) == set(MEASURES)
    for measure in MEASURES.values():
        assert measure.title
        assert measure.direction in ("higher", "lower", "")
        assert measure.definition or measure.per_item or measure.name.startswith(("tre", "jacobian", "inverse"))
    dice, distance = MEASURES["dice_mean"], MEASURES["hd95_mm_mean"]
    assert dice.better(0.8, 0.7)
    assert distance.better(1.0, 2.0)
    assert not distance.better(float("nan"), 2.0)
    assert MEASURES["ncc"].better(0.9, 0.1) is False


def test_inputs_on_other_grids_and_unchanged():
    grid = Grid((16, 16, 16))
    fine = Grid((32, 32, 32), (0.5, 0.5, 0.5), (-0.25, -0.25, -0.25))
    fixed = cube(grid, 4, 6)
    labels = np.kron(fixed, np.ones((2, 2, 2), dtype=np.int32))
    pair = Pair(volume_of(fixed, grid), volume_of(fixed, grid, 1), LabelMap(labels, fine), LabelMap(fixed, grid))
    before = [pair.fixed.array.copy(), pair.fixed_labels.array.copy()]
    found = evaluate(pair, Transform())
    assert found.after["dice_mean"] == 1.0
    assert any("grid" in note for note in found.notes)
    assert np.array_equal(before[0], pair.fixed.array)
    assert np.array_equal(before[1], pair.fixed_labels.array)


def test_holes_are_filled_in_each_slice():
    """A hole that is open to the slice above is one all the same; a notch at the border is none."""
    ndimage = pytest.importorskip("scipy.ndimage")
    random = np.random.default_rng(0)
    array = ndimage.gaussian_filter(random.standard_normal((9, 30, 40)), 1.5) > 0
    array[3] = False
    volume = Volume(100.0 * array, Grid((40, 30, 9)))
    mask, _ = fixed_region(Pair(volume, volume))
    assert np.array_equal(mask, np.stack([ndimage.binary_fill_holes(plane) for plane in array]))
    assert mask.sum() > array.sum() + 50


def test_mean_agreements_are_those_of_the_local_agreement():
    rng = np.random.default_rng(4)
    fixed = ndimage.gaussian_filter(rng.normal(size=(30, 32, 34)), 2).astype(np.float32)
    other = [fixed + 0.02 * rng.normal(size=fixed.shape).astype(np.float32), np.roll(fixed, 6, axis=0)]
    inside = np.zeros(fixed.shape, bool)
    inside[3:27, 4:30] = True
    found = mean_agreements(fixed, other, inside)
    assert found == [local_agreement(fixed, each, inside).mean for each in other] and found[0] > found[1] + 0.2
    assert np.isnan(mean_agreements(fixed, other, np.zeros_like(inside))).all()
