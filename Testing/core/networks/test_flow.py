"""Sampling, composing and integrating displacements, against closed forms, scipy and MONAI."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.networks import flow  # noqa: E402

SHAPES = {2: (11, 14), 3: (9, 10, 12)}


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_field(matrix, shape):
    """The displacement (matrix) (x - center)."""
    like = torch.zeros((), dtype=torch.float64)
    x = flow.identity_grid(shape, like)
    center = torch.tensor([(n - 1) / 2 for n in shape], dtype=torch.float64).view(1, -1, *[1] * len(shape))
    return torch.einsum("ij,nj...->ni...", matrix, x - center)


def inside(u, margin=2):
    return u[(slice(None), slice(None), *(slice(margin, -margin) for _ in u.shape[2:]))]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_whole_voxel_shift_moves_the_image(dimensions):
    shape = SHAPES[dimensions]
    image = random(1, 2, *shape)
    shift = [1, -2, 3][:dimensions]
    u = torch.tensor(shift, dtype=torch.float64).view(1, -1, *[1] * dimensions).expand(1, dimensions, *shape)
    warped = flow.warp(image, u)
    expected = torch.roll(image, [-s for s in shift], list(range(2, dimensions + 2)))
    assert torch.allclose(inside(warped, 3), inside(expected, 3), atol=1e-12)


def test_beyond_the_border():
    image = torch.ones((1, 1, 6, 7), dtype=torch.float64)
    far = torch.full((1, 2, 6, 7), 50.0, dtype=torch.float64)
    assert torch.all(flow.warp(image, far) == 1)
    assert torch.all(flow.warp(image, far, padding="zeros") == 0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_warp_agrees_with_scipy(dimensions):
    ndimage = pytest.importorskip("scipy.ndimage")
    shape = SHAPES[dimensions]
    image, u = random(1, 1, *shape), 4 * random(1, dimensions, *shape, seed=1) - 2
    positions = (flow.identity_grid(shape, u) + u)[0].numpy()
    expected = ndimage.map_coordinates(image[0, 0].numpy(), positions, order=1, mode="nearest")
    np.testing.assert_allclose(flow.warp(image, u)[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")
@pytest.mark.parametrize("dimensions", [2, 3])
def test_warp_and_integrate_agree_with_monai(dimensions):
    blocks = pytest.importorskip("monai.networks.blocks")
    shape = SHAPES[dimensions]
    image, u = random(2, 3, *shape).float(), (4 * random(2, dimensions, *shape, seed=1) - 2).float()
    expected = blocks.Warp("bilinear", "border")(image, u)
    assert torch.allclose(flow.warp(image, u), expected, atol=1e-5)
    ours, theirs = flow.integrate(0.5 * u, steps=5), blocks.DVF2DDF(5, "bilinear", "border")(0.5 * u)
    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 5, 4), (7, 5, 4), (4, 9)])
def test_warp_without_gradients_shares_one_sample_among_threads(shape):
    image, u = torch.randn(1, 3, *shape), torch.randn(1, len(shape), *shape)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            found = flow.warp(image, u)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, flow.warp(image, u))


def test_warp_onto_another_grid():
    image, u = random(1, 1, 9, 10), torch.zeros((1, 2, 5, 12), dtype=torch.float64)
    warped = flow.warp(image, u)
    assert warped.shape == (1, 1, 5, 12)
    assert torch.allclose(warped[..., :10], image[:, :, :5])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_composing_is_warping_twice(dimensions):
    shape = SHAPES[dimensions]
    a = linear_field(torch.diag(torch.full((dimensions,), -0.1, dtype=torch.float64)), shape)
    matrix = 0.05 * random(dimensions, dimensions, seed=4) - 0.05
    b = linear_field(matrix, shape)
    # (1 + B)(1 + A) - 1
    eye = torch.eye(dimensions, dtype=torch.float64)
    expected = linear_field((eye + matrix) @ (0.9 * eye) - eye, shape)
    assert torch.allclose(inside(flow.compose(a, b)), inside(expected), atol=1e-12)
    image = flow.identity_grid(shape, a)[:, :1]
    assert torch.allclose(
        inside(flow.warp(image, flow.compose(a, b))), inside(flow.warp(flow.warp(image, b), a)), atol=1e-12
    )


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_constant_velocity_is_its_displacement(dimensions):
    velocity = torch.full((1, dimensions, *SHAPES[dimensions]), 1.25, dtype=torch.float64)
    assert torch.allclose(flow.integrate(velocity), velocity, atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_linear_velocity_is_the_matrix_exponential(dimensions):
    shape = (17,) * dimensions
    matrix = 0.4 * (random(dimensions, dimensions, seed=2) - 0.5)
    matrix = matrix - 0.2 * torch.eye(dimensions, dtype=torch.float64)  # flows inward, so the border does not matter
    velocity = linear_field(matrix, shape)
    exact = linear_field(torch.linalg.matrix_exp(matrix) - torch.eye(dimensions, dtype=torch.float64), shape)
    assert (inside(flow.integrate(velocity, steps=10) - exact, 3)).abs().max() < 3e-3
    coarse = inside(flow.integrate(velocity, steps=4) - exact, 3).abs().max()
    fine = inside(flow.integrate(velocity, steps=6) - exact, 3).abs().max()
    assert fine < 0.3 * coarse  # first order in the step


def test_velocity_backwards_is_the_inverse():
    shape = (16, 16, 16)
    x = flow.identity_grid(shape, torch.zeros((), dtype=torch.float64)) / 15
    bump = torch.prod(torch.sin(np.pi * x), 1, keepdim=True)
    velocity = bump * torch.tensor([1.5, -2.0, 1.0], dtype=torch.float64).view(1, 3, 1, 1, 1)
    there, back = flow.integrate(velocity), flow.integrate(-velocity)
    assert there.abs().max() > 1.4
    assert flow.compose(there, back).abs().max() < 0.04  # what linear interpolation on 16 voxels leaves of 1.5
    assert flow.jacobian_determinant(there).min() > 0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_determinant_of_an_affine_field(dimensions):
    matrix = 0.6 * (random(dimensions, dimensions, seed=3) - 0.5)
    determinant = flow.jacobian_determinant(linear_field(matrix, SHAPES[dimensions]))
    expected = torch.linalg.det(torch.eye(dimensions, dtype=torch.float64) + matrix)
    assert determinant.shape == (1, 1, *SHAPES[dimensions])
    assert torch.allclose(determinant, expected.expand_as(determinant), atol=1e-12)


def test_determinant_agrees_with_the_evaluation():
    from DeepVsClassicRegLib.core.images.grid import Grid
    from DeepVsClassicRegLib.core.transforms.jacobian import field_jacobian
    from DeepVsClassicRegLib.core.transforms.transform import DisplacementField

    u = (2 * random(1, 3, *SHAPES[3]) - 1).float()
    field = DisplacementField(np.moveaxis(u[0].numpy(), 0, -1)[..., ::-1].copy(), Grid(SHAPES[3][::-1]))
    np.testing.assert_allclose(flow.jacobian_determinant(u)[0, 0].numpy(), field_jacobian(field).array, atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_resizing_keeps_a_linear_map(dimensions):
    matrix = 0.3 * (random(dimensions, dimensions, seed=6) - 0.5)
    old, new = (5, 6, 7)[:dimensions], (9, 16, 10)[:dimensions]
    scale = torch.tensor([(n - 1) / (m - 1) for n, m in zip(new, old, strict=True)], dtype=torch.float64)
    expected = linear_field(scale[:, None] * matrix / scale[None], new)
    assert torch.allclose(flow.resize_field(linear_field(matrix, old), new), expected, atol=1e-12)
    same = linear_field(matrix, old)
    assert flow.resize_field(same, old) is same


@pytest.mark.parametrize("name", ["warp", "compose", "integrate", "resize", "determinant"])
def test_gradients(name):
    u = 1.5 * random(1, 2, 4, 5, seed=8) - 0.7
    image = random(1, 1, 4, 5)
    functions = {
        "warp": lambda f: flow.warp(image, f),
        "compose": lambda f: flow.compose(f, 0.3 * f.flip(-1)),
        "integrate": lambda f: flow.integrate(f, steps=2),
        "resize": lambda f: flow.resize_field(f, (7, 6)),
        "determinant": flow.jacobian_determinant,
    }
    assert torch.autograd.gradcheck(functions[name], (u.requires_grad_(True),), eps=1e-7, atol=1e-5)


def test_half_precision_is_computed_in_single():
    image, u = random(1, 1, 200, 8).half(), torch.full((1, 2, 200, 8), 0.25, dtype=torch.float16)
    warped = flow.warp(image, u)
    assert warped.dtype == torch.float32
    assert torch.allclose(warped, flow.warp(image.float(), u.float()))
