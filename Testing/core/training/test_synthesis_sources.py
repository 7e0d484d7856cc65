"""Generated pairs: a function of seed and step, in range, of the right structures, 2D and 3D."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap
from DeepVsClassicRegLib.core.networks.base import Batch
from DeepVsClassicRegLib.core.training.source_factory import DataSettings, make_source, parts_of
from DeepVsClassicRegLib.core.training.synthesis import sampling, warps
from DeepVsClassicRegLib.core.training.synthesis.brain import STRUCTURES
from DeepVsClassicRegLib.core.training.synthesis.label_maps_source import LabelMapsSource
from DeepVsClassicRegLib.core.training.synthesis.settings import LABEL_MAPS, SHAPES
from DeepVsClassicRegLib.core.training.synthesis.shapes_source import ShapesSource
from DeepVsClassicRegLib.core.training.synthesis.source import GeneratedSource
from DeepVsClassicRegLib.core.training.synthesis.subjects import fitted_affine, read_subjects

GRID = {"seed": 5, "size": (24, 28, 20), "spacing_mm": 8.0}
PLANE = {"seed": 5, "size": (32, 40), "spacing_mm": 5.0}
QUIET = replace(LABEL_MAPS, jitter_rotation_deg=0, jitter_scale=0, jitter_translation_mm=0, warp_mm=(0.0, 0.0, 0.0))
# Left side (x > 0), mm (x, y, z) around the brain's center; FreeSurfer's left label -> right label, place, radius.
BALLS = {
    2: (41, (30, 0, 25), 22), 4: (43, (10, 0, 12), 8), 8: (47, (25, 45, -35), 18), 7: (46, (22, 45, -35), 9),
    10: (49, (11, 12, 2), 7), 11: (50, (14, -12, 10), 6), 12: (51, (26, -2, 0), 8), 13: (52, (19, 0, -8), 5),
    17: (53, (28, 20, -14), 6), 18: (54, (24, 2, -20), 6), 28: (60, (10, 12, -12), 5),
}  # fmt: skip
MIDDLE = {16: ((0, 25, -35), 11), 14: ((0, 8, -2), 4), 15: ((0, 38, -25), 5)}


def head(points: np.ndarray) -> np.ndarray:
    """Return the labels of a made-up head at LPS points (mm around the brain's center)."""
    x, y, z = np.moveaxis(points, -1, 0)
    labels = np.zeros(points.shape[:-1], dtype=np.int32)
    radius = np.sqrt((x / 72) ** 2 + (y / 88) ** 2 + (z / 72) ** 2)
    labels[radius < 1.2] = 507
    labels[radius < 1.05] = 24
    labels[(radius < 0.95) & (x > 0)], labels[(radius < 0.95) & (x <= 0)] = 3, 42
    for left, (right, (px, py, pz), size) in BALLS.items():
        for label, side in ((left, 1), (right, -1)):
            labels[(x - side * px) ** 2 + (y - py) ** 2 + (z - pz) ** 2 < size**2] = label
    for label, ((px, py, pz), size) in MIDDLE.items():
        labels[(x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2 < size**2] = label
    return labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four subjects of different size, place and orientation of the array."""
    path = tmp_path_factory.mktemp("persons")
    directions = [(1, 0, 0, 0, 1, 0, 0, 0, 1), (1, 0, 0, 0, 0, -1, 0, -1, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)]
    for number, scale in enumerate((1.0, 0.92, 1.08, 1.03)):
        direction = directions[number % 3]
        size = np.array([46, 56, 46]) if number % 3 != 1 else np.array([46, 46, 56])
        axes = np.array(direction).reshape(3, 3)
        center = np.array([10.0 * number, -20.0, 5.0])
        origin = center - axes @ (4.0 * (size - 1) / 2)
        grid = Grid(tuple(int(n) for n in size), (4.0,) * 3, tuple(origin), tuple(float(v) for v in direction))
        labels = head((grid.points() - center) / scale)
        write_volume(LabelMap(labels, grid), path / f"person_{number}.nii.gz")
    return path


@pytest.fixture(scope="module", params=["shapes", "shapes 2D", "label maps", "label maps 2D"])
def source(request, folder) -> GeneratedSource:
    """Every kind of source."""
    grid = PLANE if request.param.endswith("2D") else GRID
    if request.param.startswith("shapes"):
        return ShapesSource(SHAPES, **grid, batch=2, validation_pairs=2)
    return LabelMapsSource(folder, **grid, batch=2, validation_pairs=2)


def tensors(batch: Batch) -> list[torch.Tensor]:
    """Return the four tensors of a batch."""
    return [batch.fixed, batch.moving, batch.fixed_labels, batch.moving_labels]


def same(first: Batch, second: Batch) -> bool:
    """Return whether two batches agree to the bit."""
    return all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))


def global_states() -> tuple[object, ...]:
    """Return the states of the global random generators."""
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


def test_a_batch_is_a_function_of_seed_and_step(source):
    first = source.sample(3)
    source.sample(4)
    assert same(first, source.sample(3))
    assert not torch.equal(first.fixed, source.sample(4).fixed)
    assert not torch.equal(first.fixed[0], first.fixed[1])


def test_another_seed_gives_other_pairs():
    first, second = (ShapesSource(SHAPES, **{**PLANE, "seed": seed}).sample(0) for seed in (1, 2))
    assert not torch.equal(first.fixed, second.fixed)


def test_batches_have_the_promised_form(source):
    batch = source.sample(0)
    channels = len(STRUCTURES) if source.labels else SHAPES.shapes_high + 1
    assert batch.fixed.shape == batch.moving.shape == (2, 1, *source.size[::-1])
    assert batch.fixed_labels.shape == batch.moving_labels.shape == (2, channels, *source.size[::-1])
    for tensor in tensors(batch):
        assert tensor.dtype == torch.float32
        assert float(tensor.min()) >= 0 and float(tensor.max()) <= 1
    for shares in (batch.fixed_labels, batch.moving_labels):
        assert float(shares.sum(dim=1).max()) <= 1 + 1e-6
        assert (shares.amax(dim=(0, *range(2, shares.ndim))) > 0).sum() > 6


def test_global_generators_do_not_change(source):
    states = global_states()
    source.sample(11)
    source.validation()
    assert states == global_states()


def test_validation_pairs_are_fixed_and_complete(source):
    first, second = source.validation(), source.validation()
    assert len(first) == 2 and first[0].fixed.shape[0] == 1
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].fixed, first[1].fixed)
    # Five points per voxel: no membership is one half, so cutting there is no toss of a coin.
    assert not bool((first[0].fixed_labels == 0.5).any())


def test_contrasts_of_the_two_images_differ_mostly(source):
    correlations = []
    for step in range(8):
        batch = source.sample(step)
        for fixed, moving in zip(batch.fixed, batch.moving, strict=True):
            inside = ((fixed > 0) & (moving > 0)).flatten()
            correlations.append(
                float(torch.corrcoef(torch.stack([fixed.flatten(), moving.flatten()])[:, inside])[0, 1])
            )
    assert min(correlations) < 0 < 0.3 < max(correlations)
    assert abs(np.mean(correlations)) < 0.6


def test_card_entries_are_plain(source):
    assert json.loads(json.dumps(source.describe()))["spacing_mm"] == source.spacing_mm
    assert source.licence
    examples = source.domain_examples()
    assert len(examples) > 2 and len(examples[0].grid.size) == 3
    assert examples[0].grid.spacing_mm == (source.spacing_mm,) * 3


def test_examples_for_the_domain_show_whole_heads_although_crops_are_learned_from(folder):
    crops = LabelMapsSource(folder, **{**GRID, "size": (16, 16, 16)})
    learned = crops.sample(0).fixed.shape[2:]
    shown = [volume.grid.extent_mm.min() for volume in crops.domain_examples()]
    assert min(shown) > max(learned) * crops.spacing_mm
    assert len(set(shown)) > 1


@pytest.mark.parametrize("kind", ["shapes", "label maps"])
def test_a_choice_of_labels_has_so_many_channels(kind, folder):
    if kind == "shapes":
        few = ShapesSource(replace(SHAPES, dice_labels=5), **GRID)
        assert (few.sample(0).fixed_labels.amax(dim=(2, 3, 4)) > 0).all()
    else:
        few = LabelMapsSource(folder, settings=replace(LABEL_MAPS, dice_labels=5), **GRID)
    assert few.sample(0).moving_labels.shape[1] == 5
    assert few.validation()[0].moving_labels.shape[1] > 5


def test_without_warps_shapes_coincide():
    still = replace(SHAPES, warp_mm=(0.0, 0.0, 0.0), jitter_rotation_deg=0, jitter_scale=0, jitter_translation_mm=0)
    batch = ShapesSource(still, **GRID).sample(0)
    assert torch.equal(batch.fixed_labels, batch.moving_labels)
    moved = ShapesSource(SHAPES, **GRID).sample(0)
    assert not torch.equal(moved.fixed_labels, moved.moving_labels)


def test_subjects_are_aligned_and_upright(folder):
    subjects, labels = read_subjects(folder)
    shape, spacing_mm = (44, 52, 44), 4.0
    maps = []
    for person in subjects:
        affine = warps.chain(person.index_of_frame, warps.mm_of_grid(shape, spacing_mm))
        codes = sampling.lookup(person.codes, affine, torch.zeros(3, *shape), points=1)[0]
        maps.append(torch.tensor(labels)[codes])
    for other in maps[1:]:
        assert float((maps[0] == other).float().mean()) > 0.93
    left, cerebellum, caudate, ventricle = (
        torch.argwhere(maps[1] == label).float().mean(dim=0) for label in (2, 8, 11, 4)
    )
    # (z, y, x): left is at larger x, the cerebellum behind and below.
    assert left[2] > shape[2] / 2 + 4
    assert cerebellum[1] > caudate[1] and cerebellum[0] < ventricle[0]


def test_mirrored_subjects_keep_left_on_the_left(folder):
    source = LabelMapsSource(folder, settings=QUIET, **{**GRID, "size": (44, 52, 44), "spacing_mm": 4.0})
    left, right = (list(STRUCTURES).index(label) for label in (2, 41))
    x = torch.arange(44.0)
    for step in range(4):
        batch = source.sample(step)
        for shares in (batch.fixed_labels[0], batch.moving_labels[0]):
            places = [(shares[side].sum(dim=(0, 1)) * x).sum() / shares[side].sum() for side in (left, right)]
            assert places[0] > places[1] + 5


def test_some_images_are_skull_stripped(folder):
    bare, whole = (
        LabelMapsSource(folder, settings=replace(LABEL_MAPS, stripped=chance, cropped=0, empty_background=1), **GRID)
        for chance in (1.0, 0.0)
    )
    covered = [float(np.mean([float((s.sample(n).fixed > 0).float().mean()) for n in range(5)])) for s in (bare, whole)]
    assert covered[0] < 0.9 * covered[1]


def test_pairs_of_one_subject_coincide_without_warps(folder):
    alike = LabelMapsSource(folder, settings=replace(QUIET, same_person=1.0, cropped=0.0), **GRID)
    batches = [alike.sample(step) for step in range(6)]
    same = [torch.equal(batch.fixed_labels, batch.moving_labels) for batch in batches]
    # The others show one of the two images mirrored.
    assert any(same)
    never = LabelMapsSource(folder, settings=replace(QUIET, cropped=0.0), **GRID)
    assert not any(torch.equal(pair.fixed_labels, pair.moving_labels) for pair in map(never.sample, range(6)))


def test_mixed_generators_alternate_and_the_first_one_validates(folder):
    spec = f"labels:{folder}+labels:{folder}+shapes"
    data = DataSettings(spec, GRID["size"], GRID["spacing_mm"], synthesis={"dice_labels": 4}, validation=2)
    mixed = make_source(data, seed=5)
    heads, shapes = (make_source(replace(data, spec=part), seed=5) for part in (f"labels:{folder}", "shapes"))
    for step, source in enumerate((heads, heads, shapes, heads, heads, shapes)):
        assert torch.equal(mixed.sample(step).fixed, source.sample(step).fixed), step
    assert [torch.equal(a.fixed, b.fixed) for a, b in zip(mixed.validation(), heads.validation(), strict=True)] == [
        True
    ] * 2
    assert (mixed.labels, mixed.size, mixed.spacing_mm) == (heads.labels, heads.size, heads.spacing_mm)
    card = mixed.describe()
    assert card["kind"] == "generated from label maps (2 of 3 steps) and generated shapes (1 of 3 steps)"
    assert card["persons"] == heads.describe()["persons"]
    assert card["settings"] == {part.describe()["kind"]: part.describe()["settings"] for part in (heads, shapes)}
    assert data.generated
    assert not replace(data, spec=f"{folder}+shapes").generated


def test_a_plus_in_a_path_is_kept():
    assert parts_of("labels:/a+b/c+shapes") == ["labels:/a+b/c", "shapes"]
    assert parts_of("labels:/a+shapes+b") == ["labels:/a+shapes+b"]
    assert parts_of("shapes+labels:/a") == ["shapes", "labels:/a"]


def test_held_out_subjects_never_train(folder):
    source = LabelMapsSource(folder, **GRID)
    about = source.describe()
    assert about["held_out"] == ["person_2", "person_3"]
    assert about["persons"] == ["person_0", "person_1"]
    assert list(source.labels) == list(STRUCTURES)


def test_affine_fit_is_exact():
    generator = np.random.default_rng(1)
    affine = generator.normal(size=(3, 4))
    points = generator.normal(size=(9, 3))
    found = fitted_affine(points, points @ affine[:, :3].T + affine[:, 3])
    assert np.allclose(found, affine)


def test_folders_without_enough_subjects_are_refused(tmp_path, folder):
    with pytest.raises(FileError, match="at least 2"):
        LabelMapsSource(tmp_path, **GRID)
    grid = Grid((20, 20, 20))
    for name in "ab":
        write_volume(LabelMap(np.ones(grid.shape, dtype=np.int32), grid), tmp_path / f"{name}.nii.gz")
    with pytest.raises(FileError, match="label 2"):
        LabelMapsSource(tmp_path, **GRID)
    with pytest.raises(RegistrationError, match="for validation"):
        LabelMapsSource(folder, held_out=3, **GRID)


def test_grids_that_make_no_sense_are_refused():
    with pytest.raises(RegistrationError, match="at least 16"):
        ShapesSource(SHAPES, seed=1, size=(8, 8), spacing_mm=1.0)
    with pytest.raises(RegistrationError, match="positive"):
        ShapesSource(SHAPES, seed=1, size=(32, 32), spacing_mm=0.0)
