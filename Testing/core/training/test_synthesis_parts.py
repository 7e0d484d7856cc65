"""The parts of the generator against closed forms, scipy and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.intensity import normalized
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.networks.flow import jacobian_determinant
from DeepVsClassicRegLib.core.training.synthesis import artifacts, contrast, sampling, separable, shapes, warps
from DeepVsClassicRegLib.core.training.synthesis.draws import Draws
from DeepVsClassicRegLib.core.training.synthesis.noise import smooth_noise
from DeepVsClassicRegLib.core.training.synthesis.settings import LABEL_MAPS, SHAPES, SynthesisSettings
from scipy import ndimage

SHAPES_2D_3D = [(40, 48), (24, 28, 20)]


def test_draws_follow_from_their_key_alone():
    first, second = Draws(7, "training", 3), Draws(7, "training", 3)
    assert [first.uniform(0, 1) for _ in range(3)] == [second.uniform(0, 1) for _ in range(3)]
    assert torch.equal(first.voxels([5]), second.voxels([5]))
    assert Draws(7, "training", 4).uniform(0, 1) != Draws(7, "training", 3).uniform(0, 1)
    assert Draws(1, 23).uniform(0, 1) != Draws(12, 3).uniform(0, 1)


def test_voxel_noise_does_not_disturb_the_numbers():
    with_noise, without = Draws(1), Draws(1)
    with_noise.voxels([100])
    assert with_noise.uniform(0, 1) == without.uniform(0, 1)


def test_matrices_along_axes_are_a_tensor_product():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 4, 5, 6, generator=generator)
    matrices = [torch.rand(n + 1, n, generator=generator) for n in (4, 5, 6)]
    expected = torch.einsum("czyx,az,by,dx->cabd", image, *matrices)
    torch.testing.assert_close(separable.along_axes(image, matrices), expected)
    torch.testing.assert_close(
        separable.along_axes(image, [None, matrices[1], None]), torch.einsum("czyx,by->czbx", image, matrices[1])
    )


def test_gaussian_matches_scipy():
    image = torch.zeros(1, 25, 25, 25)
    image[0, 12, 11, 13] = 1
    blurred = separable.along_axes(image, [separable.gaussian(25, 1.5)] * 3)[0].numpy()
    expected = ndimage.gaussian_filter(image[0].numpy(), 1.5, truncate=6.0)
    assert np.abs(blurred - expected).max() < 1e-6


@pytest.mark.parametrize(
    "matrix",
    [separable.gaussian(30, 2.0), separable.slices(30, 2.5, 0.3), separable.low_pass(30, 0.6), separable.linear(30, 9)],
)
def test_constants_survive_every_matrix(matrix):
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(30), atol=1e-4, rtol=0)


def test_thick_slices_keep_slow_ramps_and_lose_fine_stripes():
    matrix = separable.slices(40, 4.0, 0.4)
    ramp = torch.arange(40.0)
    torch.testing.assert_close((matrix @ ramp)[6:-6], ramp[6:-6], atol=0.05, rtol=0)
    stripes = (-1.0) ** torch.arange(40)
    assert (matrix @ stripes)[6:-6].abs().max() < 0.05


def test_low_pass_is_a_projection_that_rings_at_an_edge():
    matrix = separable.low_pass(32, 0.5)
    torch.testing.assert_close(matrix @ matrix, matrix, atol=1e-5, rtol=0)
    edge = matrix @ (torch.arange(32) >= 16).float()
    assert 1.05 < float(edge.max()) < 1.15


@pytest.mark.parametrize("shape", SHAPES_2D_3D)
def test_smooth_noise_has_unit_variance_and_is_smooth(shape):
    fields = smooth_noise(Draws(3), shape, scale=6.0, channels=200)
    assert fields.shape == (200, *shape)
    deviation = fields.std(dim=0)
    assert float(deviation.min()) > 0.75 and float(deviation.max()) < 1.25
    assert float(deviation.mean()) == pytest.approx(1, abs=0.03)
    assert float(fields.diff(dim=-1).abs().mean()) < 0.25


@pytest.mark.parametrize("settings", [SHAPES, LABEL_MAPS])
@pytest.mark.parametrize("shape", SHAPES_2D_3D)
def test_strongest_warps_do_not_fold(settings, shape):
    spacing_mm = 6.0
    for number in range(4):
        warp = warps.random_warp(
            Draws(number),
            shape,
            scales=[scale / spacing_mm for scale in settings.warp_scales_mm],
            strengths=[strength / spacing_mm for strength in settings.warp_mm],
        )
        assert float(jacobian_determinant(warp[None]).min()) > 0
        assert 0.5 < float(warp.std()) * spacing_mm < 12


def test_affine_stays_within_its_ranges():
    for number in range(20):
        affine = warps.random_affine(Draws(number), 3, rotation_deg=10.0, scale=0.1, shear=0.0, translation_mm=5.0)
        sizes = torch.linalg.svdvals(affine[:, :3])
        assert math.exp(-0.1) - 1e-9 <= float(sizes.min()) and float(sizes.max()) <= math.exp(0.1) + 1e-9
        assert float(affine[:, 3].abs().max()) <= 5
        assert float(torch.det(affine[:, :3])) > 0


def test_grid_and_millimeters_are_inverse():
    shape, spacing_mm = (10, 12, 14), 2.5
    both = warps.chain(warps.grid_of_mm(shape, spacing_mm), warps.mm_of_grid(shape, spacing_mm))
    torch.testing.assert_close(both, torch.eye(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("beyond", ["zero", "border"])
def test_lookup_matches_brute_force(beyond):
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(1, 9, (7, 8, 9), generator=generator, dtype=torch.uint8)
    displacement = 2 * torch.randn(3, 5, 6, 7, generator=generator)
    affine = torch.cat([torch.eye(3) + 0.2 * torch.randn(3, 3, generator=generator), torch.rand(3, 1)], dim=1).double()
    found = sampling.lookup(labels, affine, displacement, points=1, beyond=beyond)[0]
    for index in np.ndindex(5, 6, 7):
        point = torch.tensor(index) + displacement[(slice(None), *index)]
        target = (affine[:, :3].float() @ point + affine[:, 3].float() + 0.5).floor().long().tolist()
        inside = all(0 <= t < n for t, n in zip(target, labels.shape, strict=True))
        clamped = tuple(min(max(t, 0), n - 1) for t, n in zip(target, labels.shape, strict=True))
        expected = int(labels[clamped]) if inside or beyond == "border" else 0
        assert int(found[index]) == expected


@pytest.mark.parametrize("points", [1, 4, 5])
def test_memberships_are_shares(points):
    labels = torch.randint(0, 5, (12, 12, 12), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    affine = torch.cat([0.5 * torch.eye(3), torch.zeros(3, 1)], dim=1)
    samples = sampling.lookup(labels, affine, torch.zeros(3, 12, 12, 12), points=points)
    everything = sampling.memberships(samples, torch.tensor([1, 2, 3, 4, 5]), 5)
    torch.testing.assert_close(everything.sum(dim=0), torch.ones(12, 12, 12))
    some = sampling.memberships(samples, torch.tensor([0, 0, 2, 1, 0]), 2)
    torch.testing.assert_close(some[1], (samples == 2).float().mean(dim=0))
    torch.testing.assert_close(some[0], (samples == 3).float().mean(dim=0))


def test_points_of_a_plane_face_give_partial_volume():
    labels = torch.zeros(8, 8, 8, dtype=torch.uint8)
    labels[4:] = 1
    affine = torch.cat([torch.eye(3), torch.tensor([[0.5], [0.0], [0.0]])], dim=1)
    samples = sampling.lookup(labels, affine, torch.zeros(3, 8, 8, 8), points=4)
    share = sampling.memberships(samples, torch.tensor([0, 1]), 1)[0]
    assert share[:, 4, 4].tolist() == [0, 0, 0, 0.5, 1, 1, 1, 0.5]


def test_painting_averages_the_means_of_the_points():
    samples = torch.tensor([[1, 1], [2, 1]])[:, None].expand(2, 3, 2)
    flat = contrast.Contrast(torch.tensor([0.0, 0.2, 0.6]), torch.zeros(3))
    torch.testing.assert_close(contrast.painted(Draws(1), samples, flat)[0], torch.tensor([0.4, 0.2]))


def test_contrast_stays_in_its_ranges_and_groups_look_alike():
    settings = SynthesisSettings(merged=0.0)
    apart, together = [], []
    for number in range(50):
        free = contrast.random_contrast(Draws(number), 8, settings)
        assert float(free.means[1:].min()) >= 0.1 and float(free.means[1:].max()) <= 0.9
        assert float(free.deviations.max()) <= 0.1
        grouped = contrast.random_contrast(Draws(number), 8, settings, alike=[(2, 5)])
        apart.append(abs(float(free.means[2] - free.means[5])))
        together.append(abs(float(grouped.means[2] - grouped.means[5])))
    assert np.mean(together) < 0.08 < 0.2 < np.mean(apart)


def test_normalization_is_that_of_real_images():
    array = np.random.default_rng(5).gamma(2.0, 50.0, (40, 44, 48)).astype(np.float32)
    expected = normalized(Volume(array, Grid((48, 44, 40))))
    found = artifacts.normalized(torch.from_numpy(array)).numpy()
    assert np.abs(found - expected).max() < 0.03
    assert not artifacts.normalized(torch.full((8, 8), 3.0)).any()


def test_degraded_images_fill_the_range():
    for number in range(8):
        draws = Draws(number)
        image = artifacts.degraded(draws, smooth_noise(draws, (24, 24, 24), scale=5.0)[0].abs(), 3.0, SHAPES)
        assert float(image.min()) == 0 and float(image.max()) == 1
        assert torch.isfinite(image).all()


def test_bias_field_is_positive_and_smooth():
    settings = SynthesisSettings(bias=0.5)
    field = artifacts.biased(Draws(9), torch.ones(32, 32, 32), 4.0, settings)
    assert float(field.min()) > 0 and float(field.std()) > 0.01
    assert float(field.diff(dim=0).abs().max()) < 0.15 * float(field.max())


def test_field_of_view_cuts_at_most_the_set_part():
    settings = SynthesisSettings(cropped=1.0, crop=0.25)
    parts = [artifacts.field_of_view(Draws(number), (40, 40), settings) for number in range(40)]
    starts, stops = ([getattr(cut, side) for part in parts for cut in part] for side in ("start", "stop"))
    assert min(starts) == 0 and 0 < max(starts) <= 10
    assert max(stops) == 40 and 40 > min(stops) >= 30
    image = artifacts.only_inside(torch.ones(2, 40, 40), (slice(3, 40), slice(0, 35)))
    assert float(image.sum()) == 2 * 37 * 35


@pytest.mark.parametrize("shape", SHAPES_2D_3D)
def test_random_shapes_are_many_and_coherent(shape):
    bodies = 0
    for number in range(6):
        labels, count = shapes.random_shapes(Draws(number), shape, 3.0, SHAPES)
        assert labels.shape == shape and labels.dtype == torch.uint8
        assert SHAPES.shapes_low <= count <= SHAPES.shapes_high + 1
        assert int(labels.max()) <= count and len(labels.unique()) > 4
        # Neighbors mostly share their label: shapes, not noise.
        assert float((labels.diff(dim=-1) == 0).float().mean()) > 0.5
        bodies += int((labels == 0).any())
    assert 0 < bodies < 6


@pytest.mark.parametrize(
    "changes",
    [{"warp_mm": (1.0,)}, {"shapes_low": 30}, {"mean_low": 0.95}, {"deviation_low": 0.5}],
)
def test_settings_that_contradict_are_refused(changes):
    with pytest.raises(SettingsError):
        SynthesisSettings(**changes)
