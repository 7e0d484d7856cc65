"""Atlases: means of transforms, independence of the order, centering, resume; label fusion against known errors."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.cohort.atlas_average import Mean, count_votes, facts_of, warped_evenly
from DeepVsClassicRegLib.core.cohort.atlas_build import AtlasSettings, build_atlas
from DeepVsClassicRegLib.core.cohort.atlas_fusion import WarpedAtlas, dice_of, fuse
from DeepVsClassicRegLib.core.cohort.atlas_label import LabelRun, target_of
from DeepVsClassicRegLib.core.cohort.atlas_subjects import gather_subjects
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, SettingsError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.transforms.mean import affine_power, mean_affine
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

FAST = {"iterations": (30, 15), "shrink": (2, 1)}


def random_affines(count: int) -> list[Affine]:
    rng = np.random.default_rng(3)
    return [Affine(np.eye(3) + rng.normal(0, 0.15, (3, 3)), rng.normal(0, 30, 3)) for _ in range(count)]


def test_mean_affine_is_a_mean():
    affines = random_affines(5)
    mean = mean_affine(affines)
    assert np.allclose(mean_affine(affines[::-1]).homogeneous, mean.homogeneous, atol=1e-7)
    back = mean_affine([one.inverse() for one in affines])
    assert np.allclose(back.then(mean).homogeneous, np.eye(4), atol=1e-7)
    change = random_affines(1)[0]
    changed = mean_affine([change.then(one) for one in affines])
    assert np.allclose(changed.homogeneous, change.then(mean).homogeneous, atol=1e-6)
    assert np.allclose(mean_affine([affines[0]] * 3).homogeneous, affines[0].homogeneous)


def test_half_of_a_map_applied_twice_is_the_map():
    for affine in random_affines(3):
        half = affine_power(affine, 0.5)
        assert np.allclose(half.then(half).homogeneous, affine.homogeneous, atol=1e-9)


def test_mirror_images_have_no_mean():
    with pytest.raises(GeometryError, match="mirrors"):
        mean_affine([Affine.identity(), Affine(np.diag([-1.0, 1, 1]), np.zeros(3))])


BASE = (12.0, 9.0, 10.0)


def ellipsoid(axes, center=(0.0, 0.0, 0.0), *, size: int = 20, spacing: float = 2.5) -> tuple[Volume, LabelMap]:
    first = -(size - 1) / 2 * spacing
    grid = Grid((size,) * 3, (spacing,) * 3, (first,) * 3)
    radius = np.sqrt((((grid.points() - np.array(center)) / np.array(axes)) ** 2).sum(axis=-1))
    image = 1000 / (1 + np.exp(12 * (radius - 1))) + 300 * np.exp(-((radius / 0.4) ** 2))
    return Volume(image.astype(np.float32), grid, "e"), LabelMap((radius < 1).astype(np.int32), grid)


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Four ellipsoids whose half-axes have the geometric mean BASE, at positions with the mean zero."""
    folder = tmp_path_factory.mktemp("group")
    factors = [(1.2, 0.9, 1.0), (1 / 1.2, 1 / 0.9, 1.0), (1.0, 1.15, 0.9), (1.0, 1 / 1.15, 1 / 0.9)]
    centers = [(3, 0, 0), (-3, 0, 0), (0, 2, 2), (0, -2, -2)]
    for n, (factor, center) in enumerate(zip(factors, centers, strict=True)):
        image, labels = ellipsoid(np.array(BASE) * factor, center)
        write_volume(image, folder / f"e{n}_t1.nii.gz")
        write_volume(labels, folder / f"e{n}_seg.nii.gz")
    return folder


def build(sources, out, **changes):
    settings = AtlasSettings(**{"engine": "sitk-demons", "rounds": 1, "linear_rounds": 1, **changes})
    return build_atlas(sources, out, settings, engine_settings=FAST)


def test_the_atlas_is_the_mean_shape_centered_and_independent_of_the_order(group, tmp_path):
    subjects = gather_subjects([group])
    atlas = build(subjects, tmp_path / "a")
    again = build(subjects[::-1], tmp_path / "b")
    assert np.array_equal(atlas.template.array, again.template.array)
    spacing = atlas.template.grid.spacing_mm[0]
    assert atlas.centering_mm < 0.02 * spacing
    inside = np.argwhere(atlas.segmentation.array == 1)
    volume = len(inside) * atlas.template.grid.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * np.prod(BASE), rel=0.08)
    center = atlas.template.grid.index_to_point(inside[:, ::-1]).mean(axis=0)
    assert np.abs(center).max() < 1.0
    last, linear = atlas.rounds[-1], atlas.rounds[0]
    assert last.stage == "deformable" and linear.stage == "linear" and last.sharpness > 0.5
    points = np.array([[0.0, 0, 0], [5, 2, -3], [-4, 3, 2]])
    for member in atlas.members:
        there = atlas.transform_to(member.name).apply(points)
        assert np.abs(atlas.transform_from(member.name).apply(there) - points).max() < 0.2 * spacing
    continued = build(subjects, tmp_path / "a", rounds=2)
    assert [(one.stage, one.number) for one in continued.rounds] == [
        ("linear", 1),
        ("deformable", 1),
        ("deformable", 2),
    ]
    assert continued.rounds[1] == last
    with pytest.raises(FileError, match="other volumes or settings"):
        build(subjects[:3], tmp_path / "a")


def test_subjects_are_checked(group, tmp_path):
    images = sorted(group.glob("*_t1.nii.gz"))
    assert [s.labels for s in gather_subjects(images)] == [None] * 4
    with pytest.raises(FileError, match="1 label maps are given for 4"):
        gather_subjects(images, [images[0]])
    (tmp_path / "list.csv").write_text("image,label\n" + "\n".join(map(str, images)), encoding="utf-8")
    with pytest.raises(FileError, match="have no label map"):
        gather_subjects([tmp_path / "list.csv"], need_labels=True)
    with pytest.raises(FileError, match="no file"):
        gather_subjects([tmp_path / "a.nii.gz", images[0]])


def test_means_leave_out_what_was_not_measured():
    grid = Grid((8, 8, 8))
    mean = Mean(grid)
    left = np.zeros(grid.shape, np.float32)
    left[..., :4] = 1
    for value, weight in ((10.0, left), (30.0, np.ones_like(left)), (50.0, np.ones_like(left))):
        mean.add(np.full(grid.shape, value, np.float32), weight)
    found = mean.mean("mean").array
    assert np.allclose(found[..., :4], 30) and np.allclose(found[..., 4:], 40)
    assert np.allclose(mean.deviation("deviation").array[..., 4:], 10)


def test_intensities_are_normalized_robustly():
    volume, _ = ellipsoid(BASE)
    brighter = Volume(volume.array * 3 + 0, volume.grid, "b")
    images = [warped_evenly(one, facts_of(one), one.grid, Transform())[0] for one in (volume, brighter)]
    assert np.allclose(*images, atol=0.5) and 900 < images[0].max() <= 1200


def test_votes_are_interpolated_and_add_up():
    _, first = ellipsoid(BASE)
    _, second = ellipsoid(BASE, (5.0, 0, 0))
    votes = count_votes([(first, Transform()), (second, Transform())], first.grid)
    shares = votes.shares.astype(float)
    assert np.allclose(shares.sum(axis=0), 1, atol=2e-3)
    assert np.allclose(shares[1], (first.array + second.array) / 2, atol=2e-3)
    half = count_votes([(first, Transform((Affine.shift([first.grid.spacing_mm[0] / 2, 0, 0]),)))], first.grid)
    assert set(np.unique(np.round(half.shares[1].astype(float), 3))) == {0.0, 0.5, 1.0}


def noisy_atlases(quality) -> tuple[LabelMap, np.ndarray, list[WarpedAtlas]]:
    """Return a truth, its image, and atlases whose labels are shifted by some voxels, as their images are."""
    image, truth = ellipsoid(BASE)
    rng = np.random.default_rng(1)
    atlases = []
    for shift in quality:
        moved = [np.roll(one.array, shift, axis=2) for one in (image, truth)]
        atlases.append(WarpedAtlas(moved[0] / 1000 + rng.normal(0, 0.01, moved[0].shape).astype(np.float32), moved[1]))
    return truth, image.array / 1000, atlases


@pytest.mark.parametrize("method", ["majority", "staple", "joint"])
def test_fusion_recovers_labels_on_which_all_agree(method):
    truth, image, atlases = noisy_atlases([0, 0, 0])
    votes = fuse(method, image, atlases, truth.grid, {})
    assert dice_of(truth, votes.majority()) == {1: 1.0}


def test_joint_fusion_is_better_when_most_atlases_make_the_same_error():
    truth, image, atlases = noisy_atlases([0, 0, 3, 3, 3])
    dice = {
        method: dice_of(truth, fuse(method, image, atlases, truth.grid, {}).majority())[1]
        for method in ("majority", "joint")
    }
    assert dice["majority"] < 0.9 and dice["joint"] > 0.97


def test_staple_gives_less_weight_to_a_poor_atlas():
    truth, image, atlases = noisy_atlases([0, 1, -1, 6])
    votes = fuse("staple", image, atlases, truth.grid, {})
    shares = votes.shares.astype(float)
    assert np.allclose(shares.sum(axis=0), 1, atol=2e-3)
    majority = dice_of(truth, fuse("majority", image, atlases, truth.grid, {}).majority())[1]
    assert dice_of(truth, votes.majority())[1] > max(majority, 0.9)


def test_unknown_fusion_is_refused():
    truth, image, atlases = noisy_atlases([0, 1])
    with pytest.raises(SettingsError, match="no label fusion 'vote'"):
        fuse("vote", image, atlases, truth.grid, {})


def test_a_target_among_its_atlases_is_refused(group, tmp_path):
    subjects = gather_subjects([group], need_labels=True)
    with pytest.raises(SettingsError, match="also an atlas"):
        LabelRun(target_of(subjects[0].image), subjects, tmp_path, "linear")
