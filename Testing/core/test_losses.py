"""The losses' gradients agree with finite differences, and their values with cases that can be worked out."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.losses.mind import mind_ssc  # noqa: E402
from DeepVsClassicRegLib.core.losses.overlap import soft_dice  # noqa: E402
from DeepVsClassicRegLib.core.losses.regularity import bending, diffusion, folding  # noqa: E402
from DeepVsClassicRegLib.core.losses.similarity import lncc, mse, mutual_information  # noqa: E402

SHAPES = {2: (1, 1, 9, 10), 3: (1, 1, 7, 8, 9)}
LOSSES = {"mse": mse, "lncc": lncc, "mi": mutual_information, "mind": lambda *images: mse(*map(mind_ssc, images))}


def images(dimensions):
    generator = torch.Generator().manual_seed(3)
    fixed = torch.rand(SHAPES[dimensions], generator=generator, dtype=torch.float64)
    return fixed, 0.6 * fixed + 0.4 * torch.rand(SHAPES[dimensions], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_is_the_finite_difference(name, dimensions):
    fixed, warped = images(dimensions)
    leaf = warped.clone().requires_grad_(True)
    LOSSES[name](fixed, leaf).backward()
    generator = torch.Generator().manual_seed(5)
    direction = torch.randn(warped.shape, generator=generator, dtype=torch.float64)
    if name == "mi":  # its bins hang on the extremes, which must not move
        direction[(warped == warped.min()) | (warped == warped.max())] = 0
    step = 1e-6
    with torch.no_grad():
        ahead = LOSSES[name](fixed, warped + step * direction)
        behind = LOSSES[name](fixed, warped - step * direction)
    expected = float(ahead - behind) / (2 * step)
    assert float((leaf.grad * direction).sum()) == pytest.approx(expected, rel=2e-3, abs=1e-7)


@pytest.mark.parametrize("name", list(LOSSES))
def test_an_image_is_most_like_itself(name):
    fixed, warped = images(3)
    assert LOSSES[name](fixed, fixed) < LOSSES[name](fixed, warped)


def test_lncc_ignores_the_scale_of_intensity():
    fixed, _ = images(3)
    assert float(lncc(fixed, 3 * fixed, eps=0.0)) == pytest.approx(float(lncc(fixed, fixed, eps=0.0)), abs=1e-6)


def test_weight_leaves_voxels_out():
    fixed, warped = images(3)
    weight = torch.zeros_like(fixed)
    weight[..., :4] = 1
    assert float(mse(fixed, warped, weight)) == pytest.approx(float(((fixed - warped) ** 2)[..., :4].mean()))


def test_information_of_independent_and_equal_images():
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand((1, 1, 32, 32, 32), generator=generator) for _ in range(2))
    assert float(mutual_information(a, b, bins=16)) == pytest.approx(0, abs=0.01)
    assert float(mutual_information(a, a, bins=16)) < -1


def test_mind_does_not_see_contrast():
    fixed, _ = images(3)
    assert torch.allclose(mind_ssc(fixed), mind_ssc(1 - 2 * fixed), atol=1e-9)
    assert mind_ssc(fixed).shape[1] == 12 and mind_ssc(images(2)[0]).shape[1] == 4


def test_mind_of_numpy_and_torch_agree():
    from DeepVsClassicRegLib.core.engines.instance.descriptors import mind_ssc as of_numpy

    image = images(3)[0].float()
    ours = of_numpy(image[0, 0].numpy())
    np.testing.assert_allclose(ours, mind_ssc(image)[0].numpy(), atol=1e-5)


def test_soft_dice_of_half_overlapping_bars():
    a, b = torch.zeros((1, 2, 8, 8)), torch.zeros((1, 2, 8, 8))
    a[0, 0, :4] = 1
    b[0, 0, 2:6] = 1
    a[0, 1, :, :2] = b[0, 1, :, :2] = 1
    assert float(soft_dice(a, b)) == pytest.approx(1 - (0.5 + 1) / 2, abs=1e-5)


def test_regularity_of_closed_forms():
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (6, 7, 8)), indexing="ij")
    linear = torch.stack([0.1 * z, 0.2 * y, 0.3 * x])[None]
    assert float(diffusion(linear)) == pytest.approx((0.01 + 0.04 + 0.09) / 3 / 3)
    assert float(bending(linear)) == pytest.approx(0, abs=1e-12)
    curved = torch.stack([z**2, y * x, 0 * x])[None]
    assert float(bending(curved)) == pytest.approx((4 + 2) / 3)
    assert float(folding(linear)) == 0
    mirrored = torch.stack([0 * z, 0 * y, -2 * x])[None]
    assert float(folding(mirrored)) == pytest.approx(1)
