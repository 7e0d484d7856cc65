"""What batches hold: known displacements, fields of a teacher, labels of one side, patches, originals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_volume, write_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.networks.base import Batch, MethodTeacher
from DeepVsClassicRegLib.core.networks.flow import identity_grid, jacobian_determinant, warp
from DeepVsClassicRegLib.core.training.augmentation import USUAL, AugmentationSettings, AugmentedSource, augmented
from DeepVsClassicRegLib.core.training.config import DataSettings
from DeepVsClassicRegLib.core.training.dataset import DatasetSource
from DeepVsClassicRegLib.core.training.loop import train
from DeepVsClassicRegLib.core.training.manifest import read_manifest
from DeepVsClassicRegLib.core.training.patches import PatchSource
from DeepVsClassicRegLib.core.training.preprocessing import own_grid, preprocessed, snapped, training_frame
from DeepVsClassicRegLib.core.training.source_factory import make_source
from DeepVsClassicRegLib.core.training.synthesis.draws import Draws
from DeepVsClassicRegLib.core.training.synthesis.settings import SHAPES
from DeepVsClassicRegLib.core.training.synthesis.shapes_source import ShapesSource
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from training_disks import Blobs, config_of

SIZE = (16, 16, 16)


def cases(folder, count=6, *, labels=None, spacing=2.0, side=14):
    """Write balls at different places, some with a label map."""
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    grid = Grid((side, side + 1, side - 1), (spacing,) * 3, (-13.0, -13.3, -13.1))
    for number in range(count):
        apart = np.linalg.norm(grid.points() - np.array([0.4 * number, 0, 0]), axis=-1)
        write_volume(
            Volume((100 / (1 + np.exp(apart - 8))).astype(np.float32), grid), folder / f"images/p{number}.nii.gz"
        )
        if labels is None or number in labels:
            write_volume(LabelMap((apart < 8).astype(np.int32), grid), folder / f"labels/p{number}.nii.gz")
    return grid


def of_data(folder, cache, **options):
    return make_source(DataSettings(str(folder), SIZE, 2.0, validation=2), seed=1, cache=cache, **options)


@pytest.mark.parametrize("size", [(40, 36), (24, 20, 28)])
def test_known_displacements_align_the_images(size):
    clean = {"noise": 0.0, "bias": 0.0, "blur_mm": 0.0, "thick": 0.0, "ringing": 0.0, "gamma": 0.0, "cropped": 0.0}
    clean |= {"same_contrast": 1.0, "deviation_low": 0.0, "deviation_high": 0.0}
    data = DataSettings("shapes", size, 4.0, batch=2, synthesis=clean, validation=2)
    source = make_source(data, seed=3, supervision="displacement")
    before, after = 0.0, 0.0
    for batch in (source.sample(0), source.validation()[0]):
        assert batch.displacement.shape == (len(batch.fixed), len(size), *size[::-1])
        assert float((jacobian_determinant(batch.displacement) <= 0).float().mean()) < 0.01
        inside = torch.ones_like(batch.fixed)
        seen = warp(inside, batch.displacement, padding="zeros") > 0.99
        before += float((batch.fixed_labels - batch.moving_labels).abs().sum(1, keepdim=True)[seen].mean())
        warped = warp(batch.moving_labels, batch.displacement)
        after += float((batch.fixed_labels - warped).abs().sum(1, keepdim=True)[seen].mean())
    assert after < 0.4 * before
    plain = make_source(data, seed=3)
    assert plain.sample(0).displacement is None


def test_real_pairs_need_a_teacher(tmp_path):
    cases(tmp_path)
    with pytest.raises(SettingsError, match="not known"):
        of_data(tmp_path, tmp_path / "cache", supervision="displacement")
    with pytest.raises(SettingsError, match="no teacher"):
        DataSettings("shapes", SIZE, 2.0, teacher="elastix")


def test_a_teacher_computes_each_pair_once(tmp_path):
    cases(tmp_path)
    asked = []

    def teach(pair):
        asked.append((pair.fixed.name, pair.moving.name))
        return Transform((Affine.shift((2.0, 0.0, -4.0)),))

    def made():
        data = DataSettings(str(tmp_path), SIZE, 2.0, validation=2, teacher="known", teacher_pairs=3)
        return make_source(data, seed=1, cache=tmp_path / "cache", teach=teach, supervision="displacement")

    source = made()
    batches = [source.sample(step) for step in range(6)]
    assert len(set(asked)) == len(asked) == 3
    wanted = torch.tensor([-2.0, 0.0, 1.0]).view(1, 3, 1, 1, 1).expand_as(batches[0].displacement)
    assert torch.allclose(batches[0].displacement, wanted, atol=1e-3)
    assert torch.equal(made().sample(4).displacement, batches[4].displacement)
    assert len(asked) == 3  # from the disk
    assert source.validation()[0].displacement is not None
    assert source.describe()["teacher"] == "known"


def test_labels_of_one_side_only_for_methods_that_can(tmp_path):
    cases(tmp_path, labels=(0, 1, 2))
    everything = of_data(tmp_path, tmp_path / "cache")
    assert everything.labels == {}
    assert everything.sample(0).fixed_labels is None
    partial = of_data(tmp_path, tmp_path / "cache", partial_labels=True)
    assert list(partial.labels) == [1]
    kinds = set()
    for step in range(len(partial.manifest.training)):
        batch = partial.sample(step)
        kinds.add((batch.fixed_labels is None, batch.moving_labels is None))
        for side in (batch.fixed_labels, batch.moving_labels):
            assert side is None or side.shape == (1, 1, *SIZE)
    assert len(kinds) > 1


def test_voxels_that_fit_are_not_interpolated(tmp_path):
    grid = cases(tmp_path, spacing=2.0)
    manifest = read_manifest(tmp_path, validation=2)
    frame = training_frame(read_volume(manifest.cases[0].image), SIZE, 2.0)
    aligned = snapped(frame.grid, grid)
    index = grid.point_to_index(aligned.points())
    np.testing.assert_allclose(index, index.round(), atol=1e-6)
    assert np.abs(np.array(aligned.origin_mm) - frame.grid.origin_mm).max() <= 1.0
    _, labels = preprocessed(manifest.cases[0], frame, tmp_path / "cache")
    assert set(np.unique(labels)) == {0, 1}
    other = Grid(grid.size, (2.1, 2.0, 2.0))
    assert snapped(frame.grid, other) is frame.grid
    assert own_grid(manifest) == ((16, 16, 16), 2.0)
    write_volume(Volume(np.ones((4, 5, 6)), Grid((6, 5, 4), (1.0, 1.0, 3.0))), tmp_path / "images/q.nii.gz")
    with pytest.raises(SettingsError, match="voxel sizes of the dataset differ"):
        own_grid(read_manifest(tmp_path, validation=2))


def test_flipped_axes_are_voxels_too():
    grid = Grid((16, 16, 16), (2.0,) * 3, (-15.3, -15.1, -15.0))
    flipped = Grid((20, 18, 22), (2.0,) * 3, (17.0, 19.2, -20.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    index = flipped.point_to_index(snapped(grid, flipped).points())
    np.testing.assert_allclose(index, index.round(), atol=1e-6)


@pytest.mark.parametrize(("count", "pairs", "held"), [(200, 20, 20), (60, 20, 6), (10, 20, 2), (5, 2, 2), (30, 0, 0)])
def test_validation_subjects_are_drawn_over_all(tmp_path, count, pairs, held):
    for number in range(count):
        (tmp_path / f"s{number:03d}.nii.gz").touch()
    manifest = read_manifest(tmp_path, validation=pairs)
    places = {place for pair in manifest.validation for place in pair}
    assert len(places) == held
    assert len(manifest.validation) == min(pairs, held * (held - 1))
    assert not places & {place for pair in manifest.training for place in pair}
    if held > 4:  # not the last ones, and each as often as the others
        assert min(places) < count / 2
        used = [sum(place in pair for pair in manifest.validation) for place in places]
        assert max(used) - min(used) <= 1


def test_validation_pairs_are_the_originals_linearly_aligned(tmp_path):
    grid = cases(tmp_path)
    asked = []

    def align(fixed, moving):
        asked.append(fixed.grid.size)
        return Transform((Affine.shift((0.4, 0.0, 0.0)),))

    source = of_data(tmp_path, tmp_path / "cache", align=align)
    pairs = source.validation_pairs()
    source.validation_pairs()
    assert len(pairs) == len(asked) == 2  # aligned once
    assert all(pair.fixed.grid.same_as(grid) and pair.fixed_labels is not None for pair in pairs)
    assert pairs[0].initial.affine is not None


def box_at(start, size=(6, 7, 8)):
    return (..., *(slice(a, a + n) for a, n in zip(start, size, strict=True)))


def test_real_pairs_are_validated_with_the_engine(tmp_path):
    """The Dice of the curves is that of the engine's map on the original label maps, the start's Dice beside it."""
    cases(tmp_path)
    source = of_data(tmp_path, tmp_path / "cache", align=lambda fixed, moving: Transform((Affine.shift((0.2, 0, 0)),)))
    asked = []

    def register(network, card, pair):
        if card is not None:
            asked.append((network.training, network.stage, card.method, pair.fixed.grid.size))
        return Transform.of([Affine.shift((4.0, 0.0, 0.0)), pair.initial])

    base = config_of(supervision="labels", steps=2, validate_every=1)
    outcome = train(base, source, tmp_path / "out", compute=Compute("cpu", 1), register=register)
    pairs = source.validation_pairs()
    before = np.mean([evaluate(p, p.initial, measures=("overlap",)).after["dice_mean"] for p in pairs])
    after = [
        evaluate(p, register(torch.nn.Identity(), None, p), measures=("overlap",)).after["dice_mean"] for p in pairs
    ]
    assert outcome.best["dice_before"] == pytest.approx(before, abs=1e-5)
    assert outcome.best["dice"] == pytest.approx(np.mean(after), abs=1e-5)
    assert len(asked) == 3 * 2
    assert asked[0] == (False, "", "voxelmorph", (14, 15, 13))


def test_patches_are_the_same_part_of_everything(tmp_path):
    cases(tmp_path)
    inner = of_data(tmp_path, tmp_path / "cache")
    patches = PatchSource(inner, (8, 7, 6), seed=2)
    assert patches.size == (8, 7, 6)
    corners = set()
    for step in range(4):
        whole, part = inner.sample(step), patches.sample(step)
        assert part.fixed.shape == (1, 1, 6, 7, 8)
        places = [
            start
            for start in itertools.product(range(11), range(10), range(9))
            if torch.equal(
                whole.fixed[(..., *(slice(a, a + n) for a, n in zip(start, (6, 7, 8), strict=True)))], part.fixed
            )
        ]
        (place,) = places
        box = box_at(place)
        assert torch.equal(whole.moving[box], part.moving)
        assert torch.equal(whole.fixed_labels[box], part.fixed_labels)
        assert torch.equal(patches.sample(step).fixed, part.fixed)
        corners.add(place)
    assert len(corners) > 1
    assert patches.validation()[0].fixed.shape[2:] == SIZE


def smooth_pair(shape=(28, 26, 24)):
    """A pair whose displacement is known exactly: one image sampled along a smooth map."""
    settings = {"noise": 0.0, "bias": 0.0, "same_contrast": 1.0, "gamma": 0.0, "cropped": 0.0}
    made = ShapesSource(
        type(SHAPES)(**{**SHAPES.__dict__, **settings, "warp_mm": (1.0, 1.5, 2.0)}),
        seed=1, size=shape[::-1], spacing_mm=4.0, known_displacement=True,
    )  # fmt: skip
    return made.sample(0)


def test_augmented_labels_and_displacements_follow_the_images():
    pair = smooth_pair()
    settings = AugmentationSettings(
        rotation_deg=15, scale=0.1, translation_mm=6, apart_rotation_deg=5, apart_translation_mm=4, elastic_mm=2.0
    )
    changed = augmented(Draws(4), pair, settings, 4.0)
    shape = pair.fixed.shape[2:]
    assert float((changed.fixed - pair.fixed).abs().mean()) > 0.02
    x = identity_grid(shape, pair.fixed)
    matched = x + changed.displacement
    margin = torch.tensor([4.0, 4.0, 4.0]).view(1, 3, 1, 1, 1)
    sizes = torch.tensor([n - 1.0 for n in shape]).view(1, 3, 1, 1, 1)
    seen = ((matched > margin) & (matched < sizes - margin)).all(1, keepdim=True)
    seen &= ((x > margin) & (x < sizes - margin)).all(1, keepdim=True)
    apart = (changed.fixed_labels - changed.moving_labels).abs().sum(1, keepdim=True)[seen].mean()
    together = (changed.fixed_labels - warp(changed.moving_labels, changed.displacement)).abs().sum(1, keepdim=True)
    assert float(together[seen].mean()) < 0.5 * float(apart)


def test_an_image_that_is_its_own_moving_image_is_to_stay():
    pair = smooth_pair()
    moved = AugmentationSettings(rotation_deg=15, translation_mm=6, apart_rotation_deg=5, elastic_mm=2.0, noise=0.05)
    changed = augmented(Draws(4), pair, AugmentationSettings(**{**moved.__dict__, "same": 1.0}), 4.0)
    assert float(changed.displacement.abs().max()) < 1e-3
    assert torch.equal(changed.fixed_labels, changed.moving_labels)
    assert float((changed.fixed - pair.fixed).abs().mean()) > 0.02  # in another pose
    assert 0.001 < float((changed.fixed - changed.moving).abs().mean()) < 0.1  # with other noise
    never = augmented(Draws(4), pair, moved, 4.0)
    assert not torch.equal(never.fixed_labels, never.moving_labels)


def test_augmentation_is_a_function_of_the_step_and_may_do_nothing():
    inner = Blobs()
    source = AugmentedSource(inner, USUAL, seed=3)
    assert torch.equal(source.sample(2).fixed, source.sample(2).fixed)
    assert not torch.equal(source.sample(2).fixed, inner.sample(2).fixed)
    assert source.sample(2).fixed.min() >= 0 and source.sample(2).fixed.max() <= 1
    none = AugmentedSource(inner, AugmentationSettings(), seed=3).sample(2)
    assert torch.allclose(none.fixed, inner.sample(2).fixed, atol=1e-5)
    assert torch.allclose(none.fixed_labels, inner.sample(2).fixed_labels, atol=1e-5)
    never = AugmentedSource(inner, AugmentationSettings(**{**USUAL.__dict__, "chance": 0.0}), seed=3)
    assert torch.equal(never.sample(2).fixed, inner.sample(2).fixed)
    assert source.describe()["augmentation"]["noise"] == USUAL.noise


def test_what_a_supervision_shows():
    tensor = torch.zeros(1, 1, 4, 4)
    batch = Batch(tensor, tensor, tensor, tensor, tensor)
    assert batch.shown("none") == Batch(tensor, tensor)
    assert batch.shown("labels").displacement is None and batch.shown("labels").fixed_labels is tensor
    assert batch.shown("displacement").displacement is tensor and batch.shown("displacement").fixed_labels is None


def test_a_dataset_of_pairs_without_labels(tmp_path):
    cases(tmp_path, labels=())
    manifest = read_manifest(tmp_path, validation=2)
    frame = training_frame(read_volume(manifest.cases[0].image), SIZE, 2.0)
    source = DatasetSource(manifest, frame, tmp_path / "cache", seed=0, partial_labels=True)
    assert source.labels == {} and source.sample(0).fixed_labels is None


def test_a_method_teaches_itself_once_per_pair(tmp_path):
    cases(tmp_path)
    asked = []

    def find(fixed, moving):
        asked.append(float((fixed - moving).abs().sum()))
        return torch.cat([fixed, moving, fixed - moving], 1)

    def made():
        teacher = MethodTeacher("differences", find)
        return of_data(tmp_path, tmp_path / "cache", method_teacher=teacher, supervision="momentum")

    source = made()
    batch = source.sample(0)
    assert batch.displacement is None
    assert torch.allclose(batch.momentum[:, :1], batch.fixed, atol=2e-3)
    assert torch.allclose(batch.momentum[:, 1:2], batch.moving, atol=2e-3)
    assert torch.equal(made().sample(0).momentum, batch.momentum) and len(asked) == 1
    assert source.validation()[0].momentum is not None
    assert PatchSource(source, (8, 7, 6), seed=2).sample(0).momentum.shape == (1, 3, 6, 7, 8)
    assert of_data(tmp_path, tmp_path / "cache", method_teacher=MethodTeacher("x", find)).sample(0).momentum is None
    for data in (
        DataSettings("shapes", SIZE, 2.0),
        DataSettings(str(tmp_path), SIZE, 2.0, augmentation={"noise": 0.1}),
    ):
        with pytest.raises(SettingsError, match="momentum"):
            make_source(data, seed=1, cache=tmp_path / "cache", supervision="momentum")
