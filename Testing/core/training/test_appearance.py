"""Pairs drawn from a statistical appearance model of a few images (`appearance:FOLDER`)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import FileError, SettingsError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.networks.flow import compose, identity_grid, integrate, jacobian_determinant, warp
from DeepVsClassicRegLib.core.train import teacher_engine
from DeepVsClassicRegLib.core.training.appearance import (
    AppearanceSettings,
    Variation,
    displacement_between,
    velocity_of,
)
from DeepVsClassicRegLib.core.training.config import DataSettings, parts_of
from DeepVsClassicRegLib.core.training.loop import train
from DeepVsClassicRegLib.core.training.source_factory import make_source
from DeepVsClassicRegLib.core.training.synthesis.draws import Draws
from DeepVsClassicRegLib.core.training.synthesis.noise import smooth_noise
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from training_disks import config_of

SIZE, SPACING = (24, 20, 22), 2.0
SHIFTS = (0.0, 4.0, -2.0, 6.0)
"""Position along x of the ball in each image, mm."""
BRIGHT = (0.6, 0.9, 0.75, 0.5)


def images(folder, count=4, *, labels=True):
    """Write images of one ball in a bright frame, which keeps the intensity range, at different positions."""
    for name in ("images", "labels") if labels else ("images",):
        (folder / name).mkdir()
    grid = Grid(SIZE, (SPACING,) * 3, tuple(-(n - 1) / 2 * SPACING for n in SIZE))
    for number in range(count):
        away = np.linalg.norm(grid.points() - np.array([SHIFTS[number], 0, 0]), axis=-1)
        image = 100 * BRIGHT[number] / (1 + np.exp((away - 9) / 2))
        image[:2], image[-2:] = 100.0, 0.0
        write_volume(Volume(image.astype(np.float32), grid), folder / f"images/p{number}.nii.gz")
        if labels:
            write_volume(LabelMap((away < 9).astype(np.int32), grid), folder / f"labels/p{number}.nii.gz")
    return folder


class Shifts:
    """A teacher that knows the shift between two images by their names, and counts what it is asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, pair):
        self.asked += 1
        fixed, moving = (SHIFTS[int(volume.name[1])] for volume in (pair.fixed, pair.moving))
        return Transform((Affine.shift((moving - fixed, 0.0, 0.0)),))


def made(folder, tmp_path, teach=None, *, synthesis=None, supervision="displacement", spec="", **options):
    data = DataSettings(
        spec or f"appearance:{folder}",
        SIZE,
        SPACING,
        teacher="known",
        synthesis=synthesis or {},
        validation=2,
        **options,
    )
    return make_source(data, seed=3, cache=tmp_path / "cache", teach=teach or Shifts(), supervision=supervision)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    return images(place)


def position_mm(labels, spacing_mm=SPACING):
    """Return the center of a label along x, mm."""
    x = spacing_mm * (torch.arange(labels.shape[-1], dtype=torch.float32) - (labels.shape[-1] - 1) / 2)
    return float((labels * x).sum() / labels.sum())


def smooth_velocity(*key):
    """Return a velocity of a few voxels, smooth enough for linear interpolation, that vanishes at the border."""
    shape = (26, 28, 30)
    velocity = 1.3 * smooth_noise(Draws(5, "velocity", *key), shape, scale=14, channels=3)
    for axis, count in enumerate(shape, start=1):
        window = torch.sin(torch.linspace(0, torch.pi, count)).reshape([-1 if n == axis else 1 for n in range(4)])
        velocity = velocity * window
    return velocity


def test_the_logarithm_of_a_flow_is_its_velocity():
    velocity = smooth_velocity()[None]
    displacement = integrate(velocity)
    found = velocity_of(displacement)
    assert float((found - velocity).abs().max()) < 0.1 < 1.5 < float(velocity.abs().max())
    assert float((integrate(found) - displacement).abs().max()) < 0.05


def test_a_displacement_with_folds_has_a_velocity_without():
    displacement = 6 * torch.randn(1, 3, 14, 14, 14, generator=torch.Generator().manual_seed(2))
    assert float(jacobian_determinant(displacement).min()) < 0
    found = velocity_of(displacement)
    assert bool(torch.isfinite(found).all())
    left = compose(displacement, integrate(-found, steps=6))
    assert float(left.square().mean()) <= float(displacement.square().mean())


def test_the_displacement_of_a_pair_maps_voxels_of_the_fixed_to_those_of_the_moving_image():
    fixed, moving = (smooth_velocity(name) for name in ("fixed", "moving"))
    displacement = displacement_between(fixed, moving)[None]
    x = identity_grid(fixed.shape[1:], fixed)
    of_fixed = integrate(fixed[None])  # reference -> fixed
    wanted = x + integrate(moving[None])  # reference -> moving
    found = x + of_fixed + warp(displacement, of_fixed)
    assert float((found - wanted).abs().max()) < 0.1 < 1.5 < float(displacement.abs().max())


@pytest.mark.parametrize("distance", [0.0, 3.0])
def test_draws_have_the_mean_and_the_variance_of_the_samples_and_are_independent_far_apart(distance):
    fields = torch.tensor([[1.0], [4.0], [-2.0], [5.0]])[:, :, None].expand(4, 1, 24).reshape(4, 1, 24, 1)
    variation = Variation.of(fields.expand(4, 1, 24, 24).clone())
    drawn = torch.stack([variation.draw(Draws(1, number), strength=1.0, distance=distance)[0] for number in range(800)])
    here, near, far = drawn[:, 12, 2], drawn[:, 12, 3], drawn[:, 12, 21]
    assert float(here.mean()) == pytest.approx(2.0, abs=0.45)
    assert float(here.std()) == pytest.approx(float(fields[:, 0, 0, 0].std()), rel=0.1)
    correlation = np.corrcoef(torch.stack([here, near, far]).numpy())
    assert correlation[0, 1] > 0.8
    assert correlation[0, 2] > 0.999 if distance == 0 else abs(correlation[0, 2]) < 0.15


@pytest.mark.parametrize("locality", [0.0, 24.0])
def test_the_known_displacement_matches_the_images_except_for_their_intensities(folder, tmp_path, locality):
    source = made(folder, tmp_path, synthesis={"appearance": 0.0, "locality_mm": locality}, batch=4)
    for batch in (source.sample(0), source.sample(1)):
        assert batch.displacement.shape == (4, 3, *SIZE[::-1])
        inside = warp(torch.ones_like(batch.fixed), batch.displacement, padding="zeros") > 0.99
        inside[..., :3, :, :] = inside[..., -3:, :, :] = False
        before = float((batch.fixed - batch.moving)[inside].square().mean())
        after = float((batch.fixed - warp(batch.moving, batch.displacement))[inside].square().mean())
        assert after < 0.05 * before
        apart = float((batch.fixed_labels - batch.moving_labels).abs()[inside].mean())
        left = (batch.fixed_labels - warp(batch.moving_labels, batch.displacement)).abs()
        assert float(left[inside].mean()) < 0.3 * apart
    other = made(folder, tmp_path, synthesis={"locality_mm": locality}, batch=4).sample(0)
    residual = other.fixed - warp(other.moving, other.displacement)
    assert float(residual[:, :, 8:-8].abs().max()) > 0.1  # intensities differ


def test_many_draws_have_the_mean_position_and_the_spread_of_the_images(folder, tmp_path):
    source = made(folder, tmp_path, synthesis={"locality_mm": 0.0}, batch=8)
    assert list(source.labels) == [1]
    found = [
        position_mm(labels[0])
        for step in range(16)
        for batch in [source.sample(step)]
        for labels in (*batch.fixed_labels, *batch.moving_labels)
    ]
    assert np.mean(found) == pytest.approx(np.mean(SHIFTS), abs=0.8)
    assert np.std(found) == pytest.approx(np.std(SHIFTS, ddof=1), rel=0.2)
    still = made(folder, tmp_path, synthesis={"shape": 0.0, "appearance": 0.0}).sample(0)
    assert position_mm(still.fixed_labels[0, 0]) == pytest.approx(np.mean(SHIFTS), abs=0.1)
    assert torch.equal(still.fixed, still.moving)


def test_a_sample_depends_on_seed_and_step_only_and_registrations_are_read_from_the_disk(folder, tmp_path):
    teach = Shifts()
    source = made(folder, tmp_path, teach)
    assert teach.asked == 3
    first = source.sample(5)
    source.sample(6)
    again = made(folder, tmp_path, teach)
    assert teach.asked == 3
    for name in ("fixed", "moving", "fixed_labels", "moving_labels", "displacement"):
        assert torch.equal(getattr(again.sample(5), name), getattr(first, name)), name
    assert not torch.equal(source.sample(6).fixed, first.fixed)
    pairs = source.validation()
    assert len(pairs) == 2 and torch.equal(pairs[1].fixed, again.validation()[1].fixed)
    assert not torch.equal(pairs[0].fixed, pairs[1].fixed)
    about = source.describe()
    assert about["images"] == ["p0", "p1", "p2", "p3"] and about["settings"]["shape"] == 1.0
    assert [volume.grid.size for volume in source.domain_examples()] == [SIZE] * 4


def test_images_without_labels_and_other_supervision(tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    source = made(images(place, 3, labels=False), tmp_path, supervision="none")
    batch = source.sample(0)
    assert source.labels == {} and batch.fixed_labels is None and batch.displacement is None
    mixed = made(place, tmp_path, spec=f"appearance:{place}+shapes", supervision="none")
    assert mixed.sample(0).fixed_labels is None and mixed.sample(1).fixed_labels is not None


@pytest.mark.parametrize("supervision", ["displacement", "labels", "none"])
def test_training_with_images_registered_by_an_engine(folder, tmp_path, supervision):
    compute = Compute(device="cpu")
    data = DataSettings(f"appearance:{folder}", (16, 16, 16), 3.0, teacher="sitk-demons", validation=1)
    source = make_source(
        data, seed=1, cache=tmp_path / "cache", teach=teacher_engine("sitk-demons", compute), supervision=supervision
    )
    # The mean of the images that the engine registered is at the mean of their positions.
    batch = source.sample(0)
    source.settings = AppearanceSettings(shape=0.0)
    assert position_mm(source.sample(0).fixed_labels[0, 0], 3.0) == pytest.approx(np.mean(SHIFTS) - SHIFTS[0], abs=0.6)
    assert (batch.displacement is not None) == (supervision == "displacement")
    config = dataclasses.replace(config_of(steps=2), supervision=supervision)
    assert train(config, source, tmp_path / "out", compute=compute).step == 2


def test_what_an_appearance_model_cannot_use_is_refused(tmp_path):
    place = tmp_path / "two"
    place.mkdir()
    images(place, 2)
    with pytest.raises(FileError, match=r"'two' has 2 images.*at least 3"):
        made(place, tmp_path)
    with pytest.raises(SettingsError, match="registered") as caught:
        DataSettings(f"appearance:{place}", SIZE, SPACING)
    assert "--teacher" in caught.value.hint
    with pytest.raises(SettingsError, match="3 sizes"):
        make_source(
            DataSettings(f"appearance:{place}", (16, 16), 2.0, teacher="known"), seed=1, cache=tmp_path, teach=Shifts()
        )
    with pytest.raises(SettingsError, match="'teach'"):
        make_source(DataSettings(f"appearance:{place}", SIZE, 2.0, teacher="known"), seed=1, cache=tmp_path)
    assert parts_of("labels:/a+appearance:/b+c+shapes") == ["labels:/a", "appearance:/b+c", "shapes"]
