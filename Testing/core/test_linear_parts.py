"""The parts of the linear alignment against closed forms, finite differences and brute force."""

import numpy as np
import pytest
from DeepVsClassicRegLib.core.engines.linear.levels import coarse_copy, interpolate, make_level, shrink
from DeepVsClassicRegLib.core.engines.linear.optimize import (
    Pose,
    climb,
    evaluate,
    mutual_information,
    overlap_weight,
    rotation_matrix,
    score,
)
from DeepVsClassicRegLib.core.engines.linear.search import (
    axis_starts,
    distinct,
    moment_starts,
    plausibility,
    translation_starts,
    wide_starts,
)
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.transforms.transform import Affine
from testing_grids import oblique_grid

GRID = oblique_grid((28, 26, 24), (2.0, 2.2, 2.5), seed=3)


def blobs(points, seed=1):
    random = np.random.default_rng(seed)
    centers, radii = random.uniform(-16, 16, (12, 3)), random.uniform(5, 10, 12)
    middle = GRID.center_mm
    return sum(np.exp(-((points - middle - c) ** 2).sum(-1) / r**2) for c, r in zip(centers, radii, strict=True))


def volume(motion=None, grid=GRID):
    points = grid.points()
    return Volume(blobs(points if motion is None else motion.apply(points)), grid)


def level(motion=None, samples=6000):
    return make_level(Pair(volume(motion), volume()), voxel_mm=2.0, samples=samples, bins=24, seed=0)


def test_information_of_independent_and_of_identical_values():
    random = np.random.default_rng(0)
    one, two = (random.integers(0, 16, 40000).astype(np.float32) for _ in range(2))
    assert abs(mutual_information(one, two, 16, gradient=False)[0]) < 0.005
    # The spline spreads each moving value over three bins (1/8, 3/4, 1/8), which costs a little entropy.
    assert mutual_information(one, one, 16, gradient=False)[0] == pytest.approx(np.log(16), abs=0.8)
    assert mutual_information(one, one, 16, gradient=False)[0] > 2.0


def test_information_derivative_by_each_value():
    random = np.random.default_rng(1)
    fixed = random.uniform(0, 15, 400).astype(np.float32)
    moving = np.clip(fixed + random.normal(0, 1.5, 400), 0, 15).astype(np.float32)
    slope = mutual_information(fixed, moving, 16, gradient=True)[1]
    for number in range(0, 400, 37):
        up, down = moving.copy(), moving.copy()
        up[number] += 0.02
        down[number] -= 0.02
        values = [mutual_information(fixed, m, 16, gradient=False)[0] for m in (up, down)]
        assert (values[0] - values[1]) / 0.04 == pytest.approx(slope[number], abs=2e-4)


@pytest.mark.parametrize("free", [6, 7, 12])
def test_objective_derivative_by_each_parameter(free):
    here = level(Affine.about(rotation_matrix(np.array([0.1, -0.05, 0.08])), GRID.center_mm, (3, -2, 1)), 20000)
    stretch = np.diag([0.03, -0.02, 0.01]) if free == 12 else np.zeros((3, 3))
    pose = Pose(
        rotation_matrix(np.array([0.05, 0.02, -0.03])), stretch, here.center, np.add(here.center, (1.0, 0.5, -0.5))
    )
    _, _, slope = evaluate(here, pose, free, 0.5)
    for number in range(free):
        change = np.zeros(free)
        change[number] = 0.15
        up, down = (evaluate(here, pose.moved(s * change, here.radius_mm), free, 0.5)[1] for s in (1, -1))
        assert (up - down) / 0.3 == pytest.approx(slope[number], abs=0.06 * np.abs(slope).max())


def test_climb_reaches_a_known_rigid_map():
    motion = Affine.about(rotation_matrix(np.array([0.12, -0.08, 0.1])), GRID.center_mm, (4, -3, 2))
    here = level(motion, 20000)
    end = climb(here, Affine.identity(), kind="rigid", iterations=60, stiffness=0)
    inner = GRID.points()[6:-6:3, 6:-6:3, 6:-6:3]
    assert np.linalg.norm(end.pose.affine.apply(inner) - motion.apply(inner), axis=-1).max() < 0.3
    assert end.score.value > score(here, Affine.identity()).value + 0.2


def test_interpolation_is_exact_for_linear_intensities_and_their_slopes():
    k, j, i = np.meshgrid(*(np.arange(n) for n in GRID.shape), indexing="ij")
    coarse = coarse_copy(Volume(1.0 + 0 * i, GRID), 0.1, bins=8)
    exact = type(coarse)((2 * i - 3 * j + k).astype(np.float32), GRID, *(getattr(coarse, n) for n in
        ("closed_low", "closed_high", "foreground")))  # fmt: skip
    index = np.random.default_rng(2).uniform(0, 22, (3, 50)).astype(np.float32)
    values, slope = interpolate(exact, index, gradient=True)
    assert np.allclose(values, 2 * index[0] - 3 * index[1] + index[2], atol=1e-4)
    assert np.allclose(slope, np.array([[2], [-3], [1]]), atol=1e-4)


def test_shrinking_averages_blocks_where_they_lie():
    grid = oblique_grid((25, 12, 9), (1.0, 1.0, 3.0))
    points = grid.points()
    array, small = shrink(Volume(points[..., 0], grid), 3.0)
    assert small.size == (8, 4, 9)
    assert np.allclose(small.points()[..., 0], array, atol=1e-4)


def test_closed_faces_are_those_with_nothing_but_background():
    array = np.zeros((20, 20, 20))
    array[5:15, 5:15, 8:] = 1.0
    coarse = coarse_copy(Volume(array, Grid((20, 20, 20))), 1.0, bins=16)
    assert coarse.closed_low.tolist() == [True, True, True]
    assert coarse.closed_high.tolist() == [False, True, True]
    assert not coarse.closed


def test_low_overlap_counts_less():
    assert overlap_weight(1.0) == 1.0
    assert overlap_weight(0.0) == 0.0
    assert overlap_weight(0.3) < overlap_weight(0.6) < 1
    here = level()
    near, far = score(here, Affine.shift((8.0, 0, 0))), score(here, Affine.shift((70.0, 0, 0)))
    assert far.value == 0.0
    assert near.overlap > far.overlap


def test_translation_search_finds_a_far_shift():
    moved = Grid(GRID.size, GRID.spacing_mm, tuple(np.add(GRID.origin_mm, (150.0, -90.0, 40.0))), GRID.direction)
    fixed, moving = volume(), Volume(volume().array, moved)
    copies = [coarse_copy(v, 2.0, bins=32) for v in (fixed, moving)]
    best = translation_starts(*copies, np.eye(3))[0]
    assert np.abs(best.transform.translation_mm - [150.0, -90.0, 40.0]).max() < 4.0  # one cell
    assert np.allclose(best.transform.matrix, np.eye(3))


def test_principal_axes_of_a_turned_copy():
    points = GRID.points() - GRID.center_mm
    shape = np.exp(-(points[..., 0] ** 2 / 300 + points[..., 1] ** 2 / 90 + points[..., 2] ** 2 / 30))
    truth = rotation_matrix(np.array([0.5, -0.4, 0.6]))
    turned = points @ truth
    other = np.exp(-(turned[..., 0] ** 2 / 300 + turned[..., 1] ** 2 / 90 + turned[..., 2] ** 2 / 30))
    copies = [coarse_copy(Volume(a, GRID), 2.0, bins=32) for a in (shape, other)]
    starts = list(moment_starts(*copies))
    assert all(np.linalg.det(start.transform.matrix) > 0.99 for start in starts)
    angles = [np.degrees(np.arccos((np.trace(start.transform.matrix.T @ truth) - 1) / 2)) for start in starts]
    assert min(angles) < 8


def test_turned_starts_are_proper_turns():
    for starts, count in (
        (axis_starts(np.zeros(3), np.ones(3)), 23),
        (wide_starts(np.zeros(3), np.ones(3), count=40, seed=0), 40),
    ):
        listed = list(starts)
        assert len(listed) == count
        assert all(start.transform.is_rigid for start in listed)
        assert all(np.allclose(start.transform.apply([0, 0, 0]), 1) for start in listed)
    matrices = np.array([s.transform.matrix for s in wide_starts(np.zeros(3), np.zeros(3), count=80, seed=0)])
    traces = np.einsum("aij,bij->ab", matrices, matrices) - 10 * np.eye(80)
    nearest = np.degrees(np.arccos(np.clip((traces.max(axis=1) - 1) / 2, -1, 1)))
    assert np.median(nearest) < 50


def test_plausibility_falls_with_turn_and_distance():
    anchors = np.zeros((1, 3))
    values = [
        plausibility(Affine(rotation_matrix(np.array([a, 0, 0])), np.array([s, 0, 0])), np.zeros(3), anchors, 100.0)
        for a, s in ((0, 0), (0.3, 0), (0.3, 30), (2.0, 30), (2.0, 500))
    ]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0.36)


def test_distinct_keeps_the_first_of_like_poses():
    points = np.random.default_rng(0).uniform(-50, 50, (40, 3))
    maps = [Affine.identity(), Affine.shift((1, 0, 0)), Affine.shift((20, 0, 0)), Affine.shift((21, 0, 0))]
    assert distinct(maps, points, 5.0) == [0, 2]


def test_pose_keeps_the_map():
    matrix = rotation_matrix(np.array([0.4, 0.2, -0.3])) @ np.array([[1.1, 0.05, 0], [0.05, 0.9, 0.02], [0, 0.02, 1.2]])
    start = Affine(matrix, np.array([5.0, -3.0, 2.0]))
    pose = Pose.of(start, [10.0, 20.0, 30.0])
    assert np.allclose(pose.affine.homogeneous, start.homogeneous)
    assert np.allclose(np.sort(pose.scales), np.sort(np.linalg.svd(matrix, compute_uv=False)))
