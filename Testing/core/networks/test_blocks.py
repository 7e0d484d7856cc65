"""Blocks, heads and cascade do what they say, in 2D and 3D, at any size."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as functional  # noqa: E402
from DeepVsClassicRegLib.core.networks import affine, blocks, bspline, flow, heads  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Prediction  # noqa: E402
from DeepVsClassicRegLib.core.networks.cascade import AffineNetwork, Cascade  # noqa: E402
from DeepVsClassicRegLib.core.networks.dense import DenseNetwork, DenseSettings  # noqa: E402
from DeepVsClassicRegLib.core.networks.unet import UNet  # noqa: E402

SHAPES = {2: (13, 18), 3: (9, 12, 11)}
THIN = {"encoder": (4, 6, 8), "decoder": (8, 6, 4, 4)}


def affine_field(matrix, translation, shape):
    """The displacement that an `AffineHead` describes, in voxels; translations are fractions of the longest side."""
    return affine.affine_displacement(matrix, translation * (max(shape) - 1), shape)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


@pytest.mark.parametrize("dimensions", [2, 3])
def test_padding_repeats_the_border_and_is_cropped_again(dimensions):
    image = random(1, 2, *SHAPES[dimensions])
    padded = blocks.pad_to_multiple(image, 8)
    assert (
        tuple(padded.shape[2:]) == blocks.padded_shape(image.shape[2:], 8) == {2: (16, 24), 3: (16, 16, 16)}[dimensions]
    )
    assert torch.equal(blocks.crop(padded, image.shape[2:]), image)
    assert torch.equal(padded[:, :, -1:], padded[:, :, image.shape[2] - 1 : image.shape[2]])
    whole = random(1, 1, *(16,) * dimensions)
    assert blocks.pad_to_multiple(whole, 8) is whole


@pytest.mark.parametrize("dimensions", [2, 3])
def test_large_kernel_block_is_its_branches_summed(dimensions):
    block = blocks.LargeKernelBlock(dimensions, 3, kernel=5).double()
    features = random(2, 3, *SHAPES[dimensions]) - 0.5
    apart = features + sum(branch(features) for branch in block.branches)
    assert torch.allclose(block(features), functional.leaky_relu(apart, blocks.SLOPE), atol=1e-12)
    block(features).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in block.parameters())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("half", [True, False])
def test_unet_sizes(dimensions, half):
    net = UNet(dimensions, **THIN, half=half, large_kernel=5 if half else 0)
    image = random(1, 2, *(16, 24, 8)[:dimensions], dtype=torch.float32)
    features = net(image)
    assert net.stride == (2 if half else 1) and net.multiple == 8
    assert features.shape == (1, net.outputs, *(size // net.stride for size in image.shape[2:]))


def test_unet_is_the_size_of_voxelmorph():
    count = sum(parameter.numel() for parameter in DenseNetwork(DenseSettings()).parameters())
    assert 200_000 < count < 400_000


def test_features_sit_on_the_voxels_of_the_image():
    """An image moved by the whole stride of the network moves the field by as much: no drift along the axes."""
    net = DenseNetwork(DenseSettings(**THIN, steps=0), dimensions=2).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    image = torch.zeros((2, 1, 160, 160), dtype=torch.float64)
    patch = random(1, 8, 8)
    image[0, :, 72:80, 72:80], image[1, :, 80:88, 72:80] = patch, patch
    with torch.no_grad():
        u = net(image, image.flip(1)).displacement
    assert torch.allclose(u[0, :, 64:80, 64:96], u[1, :, 72:88, 64:96], atol=1e-9)
    assert u[0].std() > 1e-4


@pytest.mark.parametrize("dimensions", [2, 3])
def test_upsampling_keeps_voxels_where_they_are(dimensions):
    coarse_shape, shape = (6, 7, 8)[:dimensions], (12, 13, 11)[:dimensions]
    like = torch.zeros((), dtype=torch.float64)
    coarse, fine = flow.identity_grid(coarse_shape, like), flow.identity_grid(shape, like)
    expected = torch.minimum(0.1 * fine, 0.2 * torch.tensor(coarse_shape).view(1, -1, *[1] * dimensions) - 0.2)
    assert torch.allclose(flow.upsample_field(0.1 * coarse, 2, shape), expected, atol=1e-12)
    assert torch.equal(flow.upsample_field(fine, 1, shape), fine)


def test_spline_agrees_with_scipy():
    interpolate = pytest.importorskip("scipy.interpolate")
    size, spacing = 23, 5
    (count,) = bspline.control_shape((size,), spacing)
    coefficients = random(1, 1, count)
    knots = (np.arange(count + 4) - 3) * spacing
    expected = interpolate.BSpline(knots, coefficients[0, 0].numpy(), 3)(np.arange(size))
    np.testing.assert_allclose(bspline.spline_field(coefficients, spacing, (size,))[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_spline_of_straight_lines_is_straight(dimensions):
    shape, spacing = SHAPES[dimensions], 4
    points = flow.identity_grid(bspline.control_shape(shape, spacing), torch.zeros((), dtype=torch.float64))
    field = bspline.spline_field((points - 1) * spacing, spacing, shape)
    assert torch.allclose(field, flow.identity_grid(shape, field), atol=1e-11)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_affine_parts(dimensions):
    bounds = affine.AffineBounds(translation=0.3, rotation=0.5, log_scale=0.4, shear=0.2)
    count = affine.parameter_count(dimensions)
    assert count == {2: 6, 3: 12}[dimensions]
    zero, eye = torch.zeros((1, count), dtype=torch.float64), torch.eye(dimensions, dtype=torch.float64)
    matrix, shift = affine.affine_matrix(zero, dimensions, bounds)
    assert torch.equal(matrix[0], eye) and torch.equal(shift[0], torch.zeros(dimensions, dtype=torch.float64))
    planes = dimensions * (dimensions - 1) // 2
    far = torch.full((1, count), 50.0, dtype=torch.float64)
    matrix, shift = affine.affine_matrix(far, dimensions, bounds)
    assert torch.allclose(shift, torch.full_like(shift, 0.3))
    assert float(torch.linalg.det(matrix)) == pytest.approx(math.exp(0.4 * dimensions))
    turned = zero.clone()
    turned[:, dimensions : dimensions + planes] = 50.0
    matrix, _ = affine.affine_matrix(turned, dimensions, bounds)
    assert torch.allclose(matrix[0] @ matrix[0].T, eye, atol=1e-12) and float(torch.linalg.det(matrix[0])) > 0
    if dimensions == 2:
        expected = torch.tensor([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]], dtype=torch.float64)
        assert torch.allclose(matrix[0], expected)
    slanted = zero.clone()
    slanted[:, -planes:] = 50.0
    matrix, _ = affine.affine_matrix(slanted, dimensions, bounds)
    upper = torch.triu(torch.full((dimensions, dimensions), math.tan(0.2), dtype=torch.float64), 1)
    assert torch.allclose(matrix[0], eye + upper)


def test_affine_displacement_turns_about_the_middle():
    quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)
    u = affine.affine_displacement(quarter, torch.zeros((1, 2), dtype=torch.float64), (9, 9))
    assert u[0, :, 4, 4].abs().max() == 0
    image = random(1, 1, 9, 9)
    assert torch.allclose(flow.warp(image, u), image.rot90(-1, (2, 3)), atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_affine_gradients(dimensions):
    raw = (random(2, affine.parameter_count(dimensions)) - 0.5).requires_grad_(True)

    def displacement(values):
        matrix, shift = affine.affine_matrix(values, dimensions, affine.AffineBounds())
        return affine.affine_displacement(matrix, shift, (3, 4, 3)[:dimensions])

    assert torch.autograd.gradcheck(displacement, (raw,))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_heads_start_at_the_identity_and_pass_gradients(dimensions):
    features = random(2, 5, *(7, 6, 5)[:dimensions], dtype=torch.float32)
    shape = (13, 12, 10)[:dimensions]

    def spread_over(head):
        if isinstance(head, heads.SplineHead):
            return bspline.spline_field(head(features, shape), head.spacing, shape)
        field = head(features)
        return affine_field(*field, shape) if isinstance(head, heads.AffineHead) else field

    for kind in (heads.FieldHead, heads.SplineHead, heads.AffineHead):
        head = kind(dimensions, 5)
        u = spread_over(head)
        assert u.shape[:2] == (2, dimensions) and u.abs().max() < 0.05
        u.square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.parameters()), kind
    mean, log_variance = heads.GaussianHead(dimensions, 5)(features)
    assert mean.shape == log_variance.shape == (2, dimensions, *features.shape[2:])
    assert mean.abs().max() < 1e-3 and torch.allclose(log_variance, torch.full_like(log_variance, -10), atol=1e-3)


def test_spline_head_follows_its_features():
    """Features that grow with the voxels of the image give a displacement that does."""
    head = heads.SplineHead(2, 2, spacing=4, stride=2).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.layer.weight[[0, 1], [0, 1], 1, 1] = 1.0
    features = 0.1 * 2 * flow.identity_grid((16, 20), torch.zeros((), dtype=torch.float64))
    u = bspline.spline_field(head(features, (31, 37)), 4, (31, 37))
    inside = (slice(None), slice(None), slice(8, 24), slice(8, 29))
    assert torch.allclose(u[inside], 0.1 * flow.identity_grid((31, 37), u)[inside], atol=1e-12)


def test_samples_have_the_mean_and_variance():
    mean, log_variance = torch.full((1, 1, 100, 100), 2.0), torch.full((1, 1, 100, 100), math.log(0.25))
    drawn = heads.sample(mean, log_variance)
    assert float(drawn.mean()) == pytest.approx(2.0, abs=0.02) and float(drawn.std()) == pytest.approx(0.5, abs=0.02)


class Fixed(torch.nn.Module):
    """A stage that answers one linear displacement."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, fixed, moving):
        shift = torch.zeros((1, fixed.ndim - 2), dtype=fixed.dtype)
        return Prediction(affine.affine_displacement(self.matrix, shift, fixed.shape[2:]))


def test_cascade_equals_its_stages_in_sequence():
    shrink = torch.tensor([[[0.9, 0.05], [0.0, 0.95]]], dtype=torch.float64)
    turn = torch.tensor([[[0.97, -0.1], [0.1, 0.97]]], dtype=torch.float64)
    image = flow.identity_grid((21, 24), shrink)[:, :1]
    total = Cascade([Fixed(shrink), Fixed(turn)])(image, image)
    once = flow.warp(image, Fixed(shrink)(image, image).displacement)
    twice = flow.warp(once, Fixed(turn)(image, image).displacement)
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert torch.allclose(flow.warp(image, total.displacement)[inside], twice[inside], atol=1e-12)
    both = affine.affine_displacement(shrink @ turn, torch.zeros((1, 2), dtype=torch.float64), (21, 24))
    assert torch.allclose(total.displacement[inside], both[inside], atol=1e-12)
    assert [level.stride for level in total.levels] == [1, 1]
    assert torch.equal(total.levels[-1].displacement, total.displacement)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_affine_then_dense_at_any_size(dimensions):
    shape = (17, 20, 18)[:dimensions]
    dense = DenseNetwork(DenseSettings(**THIN), dimensions=dimensions)
    net = Cascade([AffineNetwork(dimensions, channels=(4, 4, 8)), dense])
    pair = random(2, 1, *shape, dtype=torch.float32), random(2, 1, *shape, seed=1, dtype=torch.float32)
    prediction = net(*pair)
    assert prediction.displacement.shape == (2, dimensions, *shape)
    assert prediction.displacement.abs().max() < 0.05 and prediction.velocity is not None
    prediction.displacement.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_affine_network_learns_turns_and_shifts_it_has_not_seen():
    net = AffineNetwork(2, channels=(8, 16, 16))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    shapes = torch.zeros((1, 1, 24, 24))
    shapes[..., 6:17, 8:11] = 1
    shapes[..., 14:17, 8:18] = 0.7
    shapes = functional.avg_pool2d(shapes, 3, 1, 1)

    def draw(count):
        raw = 2 * torch.rand((count, 6), generator=generator) - 1
        bounds = affine.AffineBounds(translation=0.08, rotation=0.3, log_scale=0.05, shear=0.02)
        u = affine_field(*affine.affine_matrix(raw, 2, bounds), (24, 24))
        moving = shapes.expand(count, 1, 24, 24)
        return flow.warp(moving, u), moving, u

    fixed, moving, truth = draw(16)
    inside = (slice(None), slice(None), slice(6, 18), slice(6, 18))
    for _ in range(160):
        images = draw(16)
        warped = flow.warp(images[1], net(images[0], images[1]).displacement)
        optimizer.zero_grad()
        functional.mse_loss(warped, images[0]).backward()
        optimizer.step()
    with torch.no_grad():
        error = (net(fixed, moving).displacement - truth)[inside].norm(dim=1).mean()
    assert error < 0.6 * truth[inside].norm(dim=1).mean()


def test_splines_are_not_computed_with_16_bits():
    points = torch.rand(1, 2, 6, 6)
    exact = bspline.spline_field(points, 8, (17, 17))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = bspline.spline_field(points, 8, (17, 17))
    assert mixed.dtype == torch.float32 and torch.equal(mixed, exact)
