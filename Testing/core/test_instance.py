"""The instance engine registers phantoms without folds, by every similarity and option, on both back ends."""

import dataclasses

import numpy as np
import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.engines.catalogue import get_engine
from DeepVsClassicRegLib.core.engines.instance import backend as backends
from DeepVsClassicRegLib.core.engines.instance import problem as problems
from DeepVsClassicRegLib.core.engines.instance import solve as solving
from DeepVsClassicRegLib.core.engines.instance.discrete import discrete_start
from DeepVsClassicRegLib.core.engines.instance.problem import make_problem, pooled, shrinks
from DeepVsClassicRegLib.core.engines.instance.regularization import field_smoothing
from DeepVsClassicRegLib.core.engines.instance.similarity_selection import select_similarity
from DeepVsClassicRegLib.core.errors import EngineUnavailable, RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.settings import make_settings, presets
from DeepVsClassicRegLib.core.transforms.jacobian import jacobian_determinant
from DeepVsClassicRegLib.core.transforms.transform import DisplacementField, Transform

pytest.importorskip("numba")
solving_objective = solving.objective_at
ENGINE = get_engine("instance")


@pytest.fixture(scope="module")
def phantom():
    return make_phantom("head", size=32, noise=0.0)


@pytest.fixture(scope="module")
def pair(phantom):
    return phantom.pair.replace(initial=Transform((phantom.warp.affine,)))


def run(pair, *, threads=1, **changes):
    settings = make_settings(ENGINE.info.settings, "instance", "default", {"iterations": (20, 15), **changes})
    return ENGINE.run(pair, settings, Progress(), Compute(threads=threads, device="cpu"))


BLOBS = Grid((32, 30, 28), (3.0, 3.0, 3.0), (-40.0, 5.0, 20.0))


def bent(points):
    """A smooth invertible warp of up to 7 mm."""
    x, y, z = np.moveaxis(points - BLOBS.center_mm, -1, 0)
    return points + np.stack([5 * np.sin(y / 22), 4 * np.cos(z / 24), 4.5 * np.sin(x / 23)], axis=-1)


def blobs(points):
    rng = np.random.default_rng(4)
    centers = BLOBS.center_mm + rng.uniform(-32, 32, (60, 3))
    parts = [h * np.exp(-((points - c) ** 2).sum(-1) / 9.0**2) for c, h in zip(centers, rng.random(60), strict=True)]
    return (100 * np.sum(parts, axis=0)).astype(np.float32)


@pytest.fixture(scope="module")
def bent_pair():
    points = BLOBS.points()
    return Pair(Volume(blobs(bent(points)), BLOBS), Volume(blobs(points), BLOBS))


def error_mm(transform):
    points = BLOBS.points()[4:-4, 4:-4, 4:-4].reshape(-1, 3)[::3]
    return float(np.linalg.norm(transform.apply(points) - bent(points), axis=-1).mean())


def without_numba(monkeypatch):
    monkeypatch.setattr(backends, "numba_found", lambda: False)


@pytest.mark.parametrize("similarity", ["lncc", "mse", "mi", "mind"])
def test_every_similarity_comes_closer_to_the_truth(bent_pair, similarity):
    result = run(bent_pair, similarity=similarity)
    assert error_mm(result.transform) < 0.4 * error_mm(Transform())
    assert jacobian_determinant(result.transform, BLOBS).array.min() > 0


@pytest.mark.parametrize("similarity", ["lncc", "mse", "mind"])
def test_torch_does_the_same(phantom, pair, similarity, monkeypatch):
    pytest.importorskip("torch")
    ours = run(pair, similarity=similarity)
    without_numba(monkeypatch)
    theirs = run(pair, similarity=similarity)
    assert any("numba" in note for note in theirs.diagnostics.notes)
    inside = pair.fixed_labels.mask()
    fields = [result.transform.displacement_on(pair.fixed.grid).array_mm[inside] for result in (ours, theirs)]
    start = pair.initial.displacement_on(pair.fixed.grid).array_mm[inside]
    moved = np.linalg.norm(fields[0] - start, axis=-1).mean()
    assert np.linalg.norm(fields[0] - fields[1], axis=-1).mean() < 0.25 * moved


def test_without_numba_and_torch_there_is_a_remedy(pair, monkeypatch):
    without_numba(monkeypatch)
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match="pip install numba"):
        run(pair)


def test_the_field_depends_on_the_seed_not_on_the_threads(pair):
    first, again, two = run(pair), run(pair), run(pair, threads=2)
    for other in (again, two):
        np.testing.assert_array_equal(first.transform.parts[0].array_mm, other.transform.parts[0].array_mm)


def test_symmetric_is_nearly_its_own_inverse(bent_pair):
    there = run(bent_pair, symmetric=True, similarity="lncc")
    back = run(Pair(bent_pair.moving, bent_pair.fixed), symmetric=True, similarity="lncc")
    assert any("Both directions" in note for note in there.diagnostics.notes)
    assert error_mm(there.transform) < 0.4 * error_mm(Transform())
    points = BLOBS.points()[6:-6, 6:-6, 6:-6].reshape(-1, 3)[::5]
    gap = np.linalg.norm(back.transform.apply(there.transform.apply(points)) - points, axis=-1).mean()
    assert gap < 0.25  # a twelfth of a voxel


def test_coarse_levels_agree_both_ways_before_the_finest(bent_pair):
    agreed, alone = (run(bent_pair, consensus=wanted, similarity="lncc") for wanted in (True, False))
    stages = [list(dict.fromkeys(point.stage for point in r.diagnostics.trace)) for r in (agreed, alone)]
    assert stages[0] == [
        "Coarse deformation, level 1 of 1",
        "Coarse deformation back, level 1 of 1",
        "Fine deformation, level 1 of 1",
    ]
    assert stages[1] == ["Deformation, level 1 of 2", "Deformation, level 2 of 2"]
    assert error_mm(agreed.transform) < min(1.1 * error_mm(alone.transform), 0.4 * error_mm(Transform()))


def test_the_pyramid_begins_where_it_explains_the_volumes_best(bent_pair, monkeypatch):
    monkeypatch.setattr(problems, "FEWEST_NODES", 3)
    asked = []
    monkeypatch.setattr(solving, "objective_at", lambda *a: asked.append(solving_objective(*a)) or asked[-1])
    result = run(bent_pair, similarity="lncc", iterations=(10, 10, 10, 10))
    assert len(asked) == 4  # two beginnings there, two back
    best = 1 + int(asked[1] < asked[0])
    assert f"coarse from level {best};" in result.diagnostics.stop_condition
    assert error_mm(result.transform) < 0.4 * error_mm(Transform())


def test_a_cancel_is_heard_between_the_parts_of_a_step(bent_pair):
    asked = 0

    def cancelled():
        nonlocal asked
        asked += 1
        return False

    settings = make_settings(ENGINE.info.settings, "instance", "default", {"iterations": (6,), "similarity": "lncc"})
    ENGINE.run(bent_pair, settings, Progress(cancelled=cancelled), Compute(threads=1, device="cpu"))
    assert asked > 6 * 4


def test_search_finds_a_motion_the_pyramid_cannot():
    grid = Grid((40, 36, 36), (4.0, 4.0, 4.0))
    rng = np.random.default_rng(4)
    centers, points = rng.uniform(30, 110, (25, 3)), grid.points()

    def blobs(at):
        return 100 * sum(np.exp(-((at - c) ** 2).sum(-1) / 8.0**2) for c in centers).astype(np.float32)

    shift = np.array([24.0, 0.0, -20.0])
    fixed, moving = Volume(blobs(points), grid), Volume(blobs(points - shift), grid)
    plain = run(Pair(fixed, moving), similarity="lncc")
    searched = run(Pair(fixed, moving), similarity="lncc", search_vox=8.0)
    errors = [np.linalg.norm(r.transform.apply(centers) - centers - shift, axis=-1).mean() for r in (plain, searched)]
    assert errors[1] < 3.0 < errors[0]


def test_search_compares_only_voxels_inside_the_masks():
    """Two halves that moved apart: the masks leave one, so the whole volume follows it."""
    grid = Grid((20, 18, 18), (8.0, 8.0, 8.0))
    rng = np.random.default_rng(4)
    centers, points = rng.uniform(30, 110, (25, 3)), grid.points()

    def blobs(at):
        return 100 * sum(np.exp(-((at - c) ** 2).sum(-1) / 12.0**2) for c in centers).astype(np.float32)

    lower, shift = points[..., 2] < 70, np.array([16.0, 0.0, 0.0])
    fixed = Volume(blobs(points), grid)
    moving = Volume(np.where(lower, blobs(points - shift), blobs(points + shift)), grid)
    mask = LabelMap(lower.astype(np.uint8), grid)
    errors = {}
    for name, pair in {
        "none": Pair(fixed, moving),
        "fixed": Pair(fixed, moving, fixed_mask=mask),
        "moving": Pair(fixed, moving, moving_mask=mask),
    }.items():
        problem, _ = make_problem(pair, coarsen=1.0, resolution_mm=0.0, memory_gib=1.0)
        found = discrete_start(problem, reach_mm=24.0, progress=Progress())
        step_mm = max(problem.grid.extent_mm) / found.field.shape[3]
        x_mm = found.field[2] * step_mm
        depth = found.field.shape[1]
        errors[name] = [float(np.abs(part - shift[0]).mean()) for part in (x_mm[: depth // 3], x_mm[-depth // 3 :])]
    assert errors["none"][1] > 24, errors
    for name in ("fixed", "moving"):
        assert errors[name][0] < 8 and errors[name][1] < 17, errors


def test_labels_pull_where_images_say_nothing(pair):
    blank = np.where(pair.fixed_labels.mask(), 1.0, 0.0).astype(np.float32)
    fixed = Volume(blank, pair.fixed.grid)
    moving = Volume(np.where(pair.moving_labels.mask(), 1.0, 0.0).astype(np.float32), pair.moving.grid)
    blind = pair.replace(fixed=fixed, moving=moving)

    def dice(transform):
        from DeepVsClassicRegLib.core.images.resample import warp_labels

        warped = warp_labels(pair.moving_labels, pair.fixed.grid, transform).array
        truth = pair.fixed_labels.array
        scores = [2 * ((warped == n) & (truth == n)).sum() / ((warped == n).sum() + (truth == n).sum())
                  for n in pair.fixed_labels.labels]  # fmt: skip
        return float(np.mean(scores))

    plain = dice(run(blind, similarity="mse").transform)
    assert dice(run(blind, similarity="mse", label_weight=2.0).transform) > plain + 0.05
    with pytest.raises(RegistrationError, match="no common label"):
        run(blind.without_annotations(), similarity="mse", label_weight=1.0)


def test_landmarks_are_met(phantom, pair):
    def misses(transform):
        return float(np.linalg.norm(transform.apply(pair.fixed_points) - pair.moving_points, axis=-1).mean())

    shifted = pair.replace(moving_points=pair.moving_points + np.array([0.0, 4.0, 0.0]))
    plain = run(shifted, similarity="mse").transform
    pulled = run(shifted, similarity="mse", landmark_weight=1.0, landmark_reach=2.0).transform
    pair = shifted
    assert misses(pulled) < 0.7 * misses(plain)


@pytest.mark.parametrize("consensus", [False, True])
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_what_a_mask_leaves_out_changes_nothing_inside(bent_pair, side, consensus):
    volume = getattr(bent_pair, side)
    seen = np.zeros(volume.array.shape, np.int32)
    seen[:, :, :14] = 1
    spoiled = volume.array.copy()
    # Beyond the windows of the mask's last voxels on the coarse level, and some motion.
    spoiled[:, :, 21:] = spoiled[::-1, ::-1, 21:]
    mask = {f"{side}_mask": LabelMap(seen, volume.grid)}
    other = bent_pair.replace(**{side: Volume(spoiled, volume.grid)})

    def difference_mm(masks):
        fields = [
            run(p.replace(**masks), similarity="lncc", consensus=consensus).transform.displacement_on(BLOBS).array_mm
            for p in (bent_pair, other)
        ]
        return float(np.abs(fields[0] - fields[1])[:, :, :12].mean())

    assert difference_mm(mask) < 0.1 * difference_mm({})


def test_allowed_folds_are_reported(pair):
    notes = run(pair, min_determinant=0.0).diagnostics.notes
    assert any("not prevented" in note for note in notes)


def test_memory_bounds_the_working_spacing(pair):
    problem, notes = make_problem(pair, coarsen=1.0, resolution_mm=0.0, memory_gib=0.25 / 400)
    assert problem.fixed.size < pair.fixed.array.size / 2 and any("GiB" in note for note in notes)


def test_contrast_is_recognized():
    same = make_phantom("head", size=32).pair
    other = make_phantom("head", size=32, contrasts=("t1", "t2")).pair
    names = [
        select_similarity(make_problem(p, coarsen=1.0, resolution_mm=0.0, memory_gib=1.0)[0]).name
        for p in (same.replace(moving=same.fixed), other)
    ]
    assert names == ["lncc", "mind"]


def test_volumes_that_match_only_by_chance_are_hardly_deformed():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(11)
    textures = [100 + 20 * gaussian_filter(rng.normal(size=(32, 32, 32)), 1.0) * 8 for _ in range(2)]
    fixed, moving = (Volume(texture.astype(np.float32), Grid((32, 32, 32))) for texture in textures)
    result = run(Pair(fixed, moving))
    assert any("by chance" in note and "'mi'" in note for note in result.diagnostics.notes)
    other = make_phantom("head", size=32, contrasts=("t1", "t2"))
    matched = run(other.pair.replace(initial=Transform((other.warp.affine,))))
    assert not any("by chance" in note for note in matched.diagnostics.notes)

    def roughness(result):
        return float(np.log(jacobian_determinant(result.transform, fixed.grid).array).std())

    assert roughness(result) < 0.4 * roughness(run(Pair(fixed, moving), similarity="mind"))


def test_noise_asks_for_more_smoothing(pair):
    problem, _ = make_problem(pair, coarsen=1.0, resolution_mm=0.0, memory_gib=1.0)
    rng = np.random.default_rng(2)
    noisy = problem.fixed + rng.normal(0, 0.2, problem.fixed.shape).astype(np.float32)
    assert field_smoothing(dataclasses.replace(problem, fixed=noisy), 0.5).sigma_field > 1


def test_levels_keep_coarse_axes_and_small_volumes():
    assert shrinks(Grid((64, 64, 16), (1.0, 1.0, 4.0)), 3) == [(1, 4, 4), (1, 2, 2), (1, 1, 1)]
    assert shrinks(Grid((12, 12, 12)), 4) == [(1, 1, 1)]
    assert pooled(np.arange(8, dtype=np.float32).reshape(1, 1, 8), (1, 1, 4)).ravel().tolist() == [1.5, 5.5]


@pytest.mark.parametrize("size", [(17, 31, 33), (63, 127, 129), (96, 100, 121)])
def test_every_level_fills_the_same_box(size):
    array = np.zeros(size[::-1], np.float32)
    array[1:-1, 1:-1, 1:-1] = 1
    grid = Grid(size)
    pair = Pair(Volume(array, grid), Volume(array, grid))
    working = make_problem(pair, coarsen=1.0, resolution_mm=0.0, memory_gib=1.0)[0].grid
    for shrink in shrinks(working, 6):
        assert all(n % factor == 0 and n // factor >= 8 for n, factor in zip(working.shape, shrink, strict=True))
        assert max(shrink) <= 16


def test_a_second_window_size_counts_on_the_finest_level(bent_pair):
    one, two = (run(bent_pair, similarity="lncc", second_radius_vox=radius) for radius in (0, 3))
    fields = [result.transform.displacement_on(BLOBS).array_mm for result in (one, two)]
    assert np.abs(fields[0] - fields[1]).mean() > 0.01
    assert error_mm(two.transform) < 0.4 * error_mm(Transform())
    coarse = [[p.metric for p in r.diagnostics.trace if "Coarse" in p.stage] for r in (one, two)]
    assert coarse[0] == coarse[1]


def test_presets_make_settings():
    for name in presets("instance"):
        make_settings(ENGINE.info.settings, "instance", name)


def with_local_error(transform, center, shift_mm, *, sigma_mm=9.0):
    """A transform with a local error: the shift at the center, fading as a Gaussian."""
    points = BLOBS.points()
    share = np.exp(-((points - center) ** 2).sum(-1) / (2 * sigma_mm**2))
    local = DisplacementField((share[..., None] * shift_mm).astype(np.float32), BLOBS)
    return Transform.of([local, transform])


def present_map():
    return Transform((DisplacementField((bent(BLOBS.points()) - BLOBS.points()).astype(np.float32), BLOBS),))


def repaired(pair, *, weight=1.0):
    changes = {"landmark_weight": weight, "landmark_region": 24.0, "sigma_field": 1.2, "iterations": (30, 20)}
    return run(pair, similarity="lncc", consensus=False, **changes).transform


def test_landmarks_repair_a_local_error_and_leave_the_rest(bent_pair):
    center = np.array(BLOBS.center_mm)
    wrong = with_local_error(present_map(), center, np.array([0.0, 7.0, 0.0]))
    # The images do not show where the landmarks belong: constant around them.
    blank = np.linalg.norm(BLOBS.points() - center, axis=-1) < 30
    volumes = [
        Volume(np.where(blank, 20.0, v.array).astype(np.float32), BLOBS) for v in (bent_pair.fixed, bent_pair.moving)
    ]
    at = center + np.array([[5.0, 0, 0], [-4, 4, 0], [0, -4, 4]])
    pair = Pair(*volumes, fixed_points=at, moving_points=bent(at), initial=wrong)

    def miss(transform):
        return float(np.linalg.norm(transform.apply(at) - bent(at), axis=-1).max())

    found = repaired(pair)
    assert miss(wrong) > 5.0
    assert miss(found) < 1.0 < miss(repaired(pair, weight=1e-6))
    assert jacobian_determinant(found, BLOBS).array.min() > 0
    change = np.linalg.norm(found.displacement_on(BLOBS).array_mm - wrong.displacement_on(BLOBS).array_mm, axis=-1)
    far = np.linalg.norm(BLOBS.points()[..., None, :] - at, axis=-1).min(-1) > 27.0
    assert far.any()
    assert change[far].max() == 0


def test_a_region_needs_landmarks(bent_pair):
    with pytest.raises(RegistrationError, match="no landmarks are used"):
        run(bent_pair, landmark_region=20.0)
