"""Datasets are read in every layout, volumes reach the grid where they belong, and every pair is seen once an epoch."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError, SettingsError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import (
    read_volume,
    write_volume,
)
from DeepVsClassicRegLib.core.images.resample import sampled_on
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.training.dataset import DatasetSource
from DeepVsClassicRegLib.core.training.manifest import read_manifest
from DeepVsClassicRegLib.core.training.preprocessing import preprocessed, training_frame
from DeepVsClassicRegLib.core.training.source_factory import DataSettings, make_source
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

SIZE = (16, 16, 16)


def ball(center=(0.0, 0.0, 0.0), *, side=20, spacing=1.5, radius=8.0, origin=None, direction=None) -> Volume:
    """Return a soft ball about a point, on a grid about the origin of the patient."""
    extra = {} if direction is None else {"direction": direction}
    grid = Grid((side,) * 3, (spacing,) * 3, **extra)
    shift = -grid.center_mm if origin is None else np.asarray(origin, float)
    grid = Grid(grid.size, grid.spacing_mm, tuple(float(x) for x in shift), grid.direction)
    distance = np.linalg.norm(grid.points() - np.asarray(center), axis=-1)
    return Volume((100 / (1 + np.exp(distance - radius))).astype(np.float32), grid, "ball")


def labels_of(volume: Volume, values=(3, 7)) -> LabelMap:
    """Return the ball cut into a left and a right part."""
    left = volume.grid.points()[..., 0] > 0
    return LabelMap(np.where(volume.array > 50, np.where(left, values[0], values[1]), 0), volume.grid)


def write_cases(folder: Path, count: int, *, labels=True, images="images", maps="labels", **options) -> list[str]:
    (folder / images).mkdir(parents=True, exist_ok=True)
    (folder / maps).mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(count):
        volume = ball((number * 0.5, 0, 0), **options)
        write_volume(volume, folder / images / f"p{number}.nii.gz")
        if labels:
            write_volume(labels_of(volume), folder / maps / f"p{number}.nii.gz")
        names.append(f"p{number}")
    return names


def names(manifest, pairs):
    return [(manifest.cases[fixed].name, manifest.cases[moving].name) for fixed, moving in pairs]


def test_folder(tmp_path):
    write_cases(tmp_path, 5)
    manifest = read_manifest(tmp_path, validation=2)
    held = {name for pair in names(manifest, manifest.validation) for name in pair}
    assert names(manifest, manifest.validation) == list(itertools.permutations(sorted(held), 2))
    kept = [f"p{number}" for number in range(5) if f"p{number}" not in held]
    assert len(held) == 2
    assert sorted(names(manifest, manifest.training)) == sorted(itertools.permutations(kept, 2))
    assert read_manifest(tmp_path, validation=2) == manifest
    assert all(case.labels is not None for case in manifest.cases)


def test_folder_with_words_and_channels(tmp_path):
    for name in ("a_t1", "b_t1", "c_t1", "a_seg", "b_seg"):
        (tmp_path / f"{name}.nii.gz").touch()
    manifest = read_manifest(tmp_path, validation=0)
    assert [case.labels and case.labels.name for case in manifest.cases] == ["a_seg.nii.gz", "b_seg.nii.gz", None]
    assert len(manifest.training) == 6
    for place, name in (("imagesTr", "x_0000"), ("imagesTr", "y_0000"), ("labelsTr", "x"), ("labelsTr", "y")):
        (tmp_path / "nnunet" / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / "nnunet" / place / f"{name}.nii.gz").touch()
    manifest = read_manifest(tmp_path / "nnunet", validation=0)
    assert [case.labels.name for case in manifest.cases] == ["x.nii.gz", "y.nii.gz"]


def test_learn2reg(tmp_path):
    write_cases(tmp_path, 5, images="imagesTr", maps="labelsTr")
    entries = [{"image": f"./imagesTr/p{n}.nii.gz", "label": f"./labelsTr/p{n}.nii.gz"} for n in range(5)]
    content = {
        "name": "Balls",
        "licence": "CC0",
        "numTraining": 5,
        "labels": {"0": {"0": "background", "3": "left", "7": "right"}},
        "training": entries,
        "registration_val": [{"fixed": "./imagesTr/p1.nii.gz", "moving": "./imagesTr/p2.nii.gz"}],
    }
    (tmp_path / "Balls_dataset.json").write_text(json.dumps(content))
    manifest = read_manifest(tmp_path)  # the folder's list is found
    assert (manifest.name, manifest.licence) == ("Balls", "CC0")
    assert manifest.label_names == {3: "left", 7: "right"}
    assert names(manifest, manifest.validation) == [("p1", "p2")]
    assert sorted(names(manifest, manifest.training)) == sorted(itertools.permutations(["p0", "p3", "p4"], 2))
    pairs = [{"fixed": entries[a]["image"], "moving": entries[b]["image"]} for a, b in ((0, 1), (3, 4), (1, 3))]
    (tmp_path / "paired.json").write_text(json.dumps({**content, "training_paired_images": pairs}))
    manifest = read_manifest(tmp_path / "paired.json")
    assert names(manifest, manifest.training) == [("p3", "p4")]  # p1 is a validation case
    assert manifest.cases[0].labels is not None


def test_manifests(tmp_path):
    write_cases(tmp_path, 6)
    rows = [("fixed", "moving", "fixed_label", "moving_label", "split")]
    rows += [
        (f"images/p{a}.nii.gz", f"images/p{b}.nii.gz", f"labels/p{a}.nii.gz", f"labels/p{b}.nii.gz", split)
        for a, b, split in ((0, 1, "train"), (1, 2, "train"), (3, 4, "val"), (2, 3, "train"))
    ]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    manifest = read_manifest(tmp_path / "pairs.csv")
    assert names(manifest, manifest.training) == [("p0", "p1"), ("p1", "p2")]
    assert names(manifest, manifest.validation) == [("p3", "p4")]
    (tmp_path / "cases.csv").write_text(
        "image,label,mask\n" + "".join(f"images/p{n}.nii.gz,labels/p{n}.nii.gz,labels/p{n}.nii.gz\n" for n in range(4))
    )
    manifest = read_manifest(tmp_path / "cases.csv", validation=1)
    assert len(manifest.training) == 2
    assert manifest.cases[0].mask == tmp_path / "labels/p0.nii.gz"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "is not a manifest"),
        ("image\nnowhere1.nii.gz\nnowhere2.nii.gz\n", "does not exist"),
        ("image\nimages/p0.nii.gz\nimages/p1.nii.gz\n", "no pair for training"),
    ],
)
def test_bad_manifests(tmp_path, content, message):
    write_cases(tmp_path, 2, labels=False)
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(FileError, match=message):
        read_manifest(tmp_path / "list.csv")


def test_what_is_no_dataset(tmp_path):
    with pytest.raises(FileError, match="There is no dataset"):
        read_manifest(tmp_path / "data.json")
    (tmp_path / "data.xyz").touch()
    with pytest.raises(FileError, match="is not a dataset"):
        read_manifest(tmp_path / "data.xyz")
    with pytest.raises(FileError, match="contains 0 images"):
        read_manifest(tmp_path)


def test_volumes_of_any_grid_meet_where_they_lie(tmp_path):
    """A fine flipped volume and a coarse one of the same ball look the same on the training grid."""
    flipped = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
    fine = ball(side=44, spacing=0.7, direction=flipped, origin=(15.05, 15.05, -15.05))
    coarse = ball(side=20, spacing=1.5)
    grid = Grid(SIZE, (2.0,) * 3, (-15.0, -15.0, -15.0))
    first, second = sampled_on(fine, grid), sampled_on(coarse, grid)
    assert np.abs(first.array - second.array).max() < 6  # of 100, blurred differently at the rim
    middle = np.average(grid.points().reshape(-1, 3), axis=0, weights=first.array.ravel())
    assert np.abs(middle).max() < 0.1


def test_frame_is_centered_on_what_is_shown():
    frame = training_frame(ball((6.0, -3.0, 1.5), side=40), SIZE, 2.0)
    assert np.abs(frame.grid.center_mm - [6.0, -3.0, 1.5]).max() < 0.8
    assert frame.grid.size == SIZE


def test_linear_alignment_is_used(tmp_path):
    shift = np.array([5.0, -4.0, 3.0])
    write_volume(ball(), tmp_path / "a.nii.gz")
    write_volume(ball(shift), tmp_path / "b.nii.gz")
    write_volume(labels_of(ball(shift)), tmp_path / "b_seg.nii.gz")
    cases = read_manifest(tmp_path, validation=0).cases
    asked = []

    def align(template, volume):
        asked.append((template.name, volume.name))
        return Transform((Affine.shift(shift if volume.name == "b" else [0, 0, 0]),))

    frame = training_frame(ball(), SIZE, 2.0, align)
    (first, none), (second, labels) = (preprocessed(case, frame, tmp_path / "cache") for case in cases)
    assert none is None
    assert np.abs(np.asarray(first, float) - second).max() < 0.15
    assert {int(value) for value in np.unique(labels)} == {0, 3, 7}
    assert asked == [("ball", "a"), ("ball", "b")]
    preprocessed(cases[1], frame, tmp_path / "cache")
    assert len(asked) == 2  # from the cache
    (tmp_path / "b.nii.gz").unlink()
    write_volume(ball(shift + 1), tmp_path / "b.nii.gz")
    preprocessed(cases[1], frame, tmp_path / "cache")
    assert len(asked) == 3  # the file changed


def test_volumes_beyond_the_grid_are_reported(tmp_path):
    write_volume(ball(), tmp_path / "a.nii.gz")
    write_volume(ball(origin=(100.0, 0.0, 0.0), center=(115.0, 15.0, 15.0)), tmp_path / "b.nii.gz")
    manifest = read_manifest(tmp_path, validation=0)
    frame = training_frame(ball(), SIZE, 2.0)
    with pytest.raises(RegistrationError, match="Only 0 % of 'b' is inside") as error:
        DatasetSource(manifest, frame, tmp_path / "cache", seed=0)
    assert "--linear" in error.value.hint


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balls")
    write_cases(folder, 6)
    return DatasetSource(
        read_manifest(folder, validation=2), training_frame(ball(), SIZE, 2.0), folder / "cache", seed=3, batch=2
    )


def test_every_pair_once_per_epoch(source):
    epochs = [[source._pair_at(index) for index in range(start, start + 12)] for start in (0, 12)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(source.manifest.training)
    assert epochs[0] != epochs[1]


def test_samples_are_a_function_of_the_step(source):
    former = source.sample(4)
    source.sample(9)
    again = source.sample(4)
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        assert (getattr(former, name) == getattr(again, name)).all()
    assert former.fixed.shape == (2, 1, 16, 16, 16)
    assert former.fixed_labels.shape == (2, 2, 16, 16, 16)
    assert 0 <= former.fixed.min() < 0.05
    assert 0.95 < former.fixed.max() <= 1


def test_label_channels_follow_their_numbers(source):
    assert list(source.labels) == [3, 7]
    fixed = source.validation()[0].fixed_labels[0]
    x = source.frame.grid.points()[..., 0]
    assert (x[fixed[0].numpy() > 0] > -1).all()
    assert (x[fixed[1].numpy() > 0] < 1).all()
    assert fixed.sum() > 100
    assert fixed.sum(0).max() == 1


def test_some_labels_per_step(source):
    few = DatasetSource(
        source.manifest, source.frame, Path(source._cases[0][0].filename).parent, seed=3, labels_per_step=1
    )
    sizes = {few.sample(step).fixed_labels.shape[1] for step in range(4)}
    assert sizes == {1}
    assert few.validation()[0].fixed_labels.shape[1] == 2
    shown = {
        bool((few.sample(step).fixed_labels[0, 0].numpy() * few.frame.grid.points()[..., 0]).sum() > 0)
        for step in range(8)
    }
    assert shown == {True, False}


def test_what_the_card_learns(source):
    about = source.describe()
    assert (about["training_cases"], about["training_pairs"], about["validation_pairs"]) == (4, 12, 2)
    assert "/" not in json.dumps(about)  # nothing about the user's folders
    examples = source.domain_examples()
    assert len(examples) == 4
    assert examples[0].grid == read_volume(source.manifest.cases[0].image).grid  # not the training grid


def test_without_labels(tmp_path):
    write_cases(tmp_path, 3, labels=False)
    data = DataSettings(str(tmp_path), SIZE, 2.0, validation=0)
    made = make_source(data, seed=0, cache=tmp_path / "cache")
    assert made.labels == {}
    assert made.sample(0).fixed_labels is None
    assert made.validation() == []


def test_masks_remove_what_is_outside(tmp_path):
    write_cases(tmp_path, 2)
    (tmp_path / "cases.csv").write_text("image,mask\nimages/p0.nii.gz,labels/p0.nii.gz\nimages/p1.nii.gz,\n")
    made = make_source(DataSettings(str(tmp_path / "cases.csv"), SIZE, 2.0, validation=0), seed=0, cache=tmp_path / "c")
    masked, whole = (np.asarray(case[0], float) for case in made._cases)
    assert (masked > 0.02).sum() < 0.8 * (whole > 0.02).sum()


def test_specifications_that_cannot_be(tmp_path):
    with pytest.raises(SettingsError, match="2 or 3 sizes"):
        DataSettings("shapes", (8, 8, 8), 2.0)
    with pytest.raises(SettingsError, match="positive"):
        DataSettings("shapes", (16, 16), 0.0)
    write_cases(tmp_path, 3, labels=False)
    with pytest.raises(SettingsError, match="3 sizes"):
        make_source(DataSettings(str(tmp_path), (16, 16), 2.0), seed=0, cache=tmp_path)
    with pytest.raises(SettingsError, match="needs the argument 'align'"):
        make_source(DataSettings(str(tmp_path), SIZE, 2.0, linear="first"), seed=0, cache=tmp_path)
