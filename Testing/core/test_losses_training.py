"""The losses of network training: finite differences, MONAI where it has the same, and cases worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.losses.distribution import kl_graph_prior, kl_standard_normal  # noqa: E402
from DeepVsClassicRegLib.core.losses.overlap import multiscale_dice, soft_dice  # noqa: E402
from DeepVsClassicRegLib.core.losses.regularity import (  # noqa: E402
    antifold,
    bending,
    diffusion,
    folding,
    inverse_consistency,
)
from DeepVsClassicRegLib.core.losses.similarity import (  # noqa: E402
    lncc,
    mutual_information,
    ncc,
    normalized_mutual_information,
)

SHAPES = {2: (5, 6), 3: (4, 5, 4)}


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flows(dimensions, seed=0, size=2.0):
    return size * (random(2, dimensions, *SHAPES[dimensions], seed=seed) - 0.5)


def grid(*shape):
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij"))[None]


OF_IMAGES = {
    "ncc": ncc,
    "weighted ncc": lambda fixed, warped: ncc(fixed, warped, fixed[:, :1]),
    "soft Dice": soft_dice,
    "multi-scale Dice": lambda fixed, warped: multiscale_dice(fixed, warped, sigmas_vox=(0, 1, 2)),
}
OF_FIELDS = {
    "antifold": lambda a, b: antifold(4 * a),
    "folding": lambda a, b: folding(2 * a),
    "inverse consistency": inverse_consistency,
    "standard normal": kl_standard_normal,
    "graph prior": lambda a, b: kl_graph_prior(a, b, precision=3.0),
}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", list(OF_IMAGES))
def test_gradients_of_image_losses(name, dimensions):
    fixed, warped = random(2, 2, *SHAPES[dimensions]), random(2, 2, *SHAPES[dimensions], seed=1)
    assert torch.autograd.gradcheck(lambda leaf: OF_IMAGES[name](fixed, leaf), (warped.requires_grad_(True),))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", list(OF_FIELDS))
def test_gradients_of_field_losses(name, dimensions):
    first, second = (flows(dimensions, seed).requires_grad_(True) for seed in (2, 3))
    value = OF_FIELDS[name](first, second)
    assert torch.isfinite(value) and value != 0
    assert torch.autograd.gradcheck(OF_FIELDS[name], (first, second), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_gradient_of_normalized_information(dimensions):
    fixed, warped = (random(1, 1, *(9, 10, 8)[:dimensions], seed=seed) for seed in (0, 1))
    leaf = warped.clone().requires_grad_(True)
    normalized_mutual_information(fixed, leaf, bins=12).backward()
    direction = random(*warped.shape, seed=4) - 0.5
    direction[(warped == warped.min()) | (warped == warped.max())] = 0  # the bins hang on the extremes
    ahead, behind = (normalized_mutual_information(fixed, warped + step * direction, bins=12) for step in (1e-6, -1e-6))
    assert float((leaf.grad * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-4)


def test_correlation_of_related_images():
    image, other = random(2, 1, 20, 20), random(2, 1, 20, 20, seed=1)
    assert float(ncc(image, 3 * image + 7)) == pytest.approx(0, abs=1e-6)
    assert float(ncc(image, -image)) == pytest.approx(2, abs=1e-6)
    expected = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(image, other, strict=True)
    ]
    assert float(ncc(image, other)) == pytest.approx(1 - float(sum(expected)) / 2, abs=1e-6)
    assert float(ncc(image, torch.ones_like(image))) == pytest.approx(1)
    mask = torch.zeros_like(image)
    mask[..., :10] = 1
    assert float(ncc(image, other, mask)) == pytest.approx(float(ncc(image[..., :10], other[..., :10])))


def test_normalized_information_of_equal_and_independent_images():
    generator = torch.Generator().manual_seed(1)
    levels = torch.randint(0, 8, (1, 1, 40, 40, 40), generator=generator).double()
    other = torch.randint(0, 8, (1, 1, 40, 40, 40), generator=generator).double()
    assert float(normalized_mutual_information(levels, other, bins=12)) == pytest.approx(-1, abs=1e-2)
    same, mirrored = (float(normalized_mutual_information(levels, image, bins=12)) for image in (levels, 7 - levels))
    assert same == pytest.approx(mirrored, abs=1e-6) and same < -1.4
    # Each of the 8 levels lies on one row and is spread over four columns by the cubic window.
    counts = torch.bincount(levels.flatten().long()).double()
    rows = counts / counts.sum()
    joint = torch.zeros((8, 12), dtype=torch.float64)
    for level in range(8):
        place = 1 + level * 8 / 7
        first, t = math.floor(place), place - math.floor(place)
        s = 1 - t
        parts = (s**3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * s**2 + 3 * s**3, t**3)
        for offset, part in zip((-1, 0, 1, 2), parts, strict=True):
            joint[level, first + offset] += rows[level] * part / 6

    def entropy(shares):
        shares = shares[shares > 0]
        return float(-(shares * shares.log()).sum())

    expected = (entropy(joint.sum(1)) + entropy(joint.sum(0))) / entropy(joint.flatten())
    assert -same == pytest.approx(expected, rel=1e-3)


def test_antifold_counts_overtaking_only():
    x = grid(6, 7)
    assert float(antifold(-0.9 * x)) == 0 and float(antifold(3 * x)) == 0
    mirrored = torch.cat([-3 * x[:, :1], 0 * x[:, 1:]], 1)  # slope of the map: -2
    assert float(antifold(mirrored)) == pytest.approx(8)
    sheared = torch.cat([-3 * x[:, 1:], 0 * x[:, :1]], 1)
    assert float(antifold(sheared)) == 0


def test_inverse_consistency_of_shifts_and_of_a_true_inverse():
    ahead = torch.ones((1, 2, 6, 7), dtype=torch.float64) * torch.tensor([1.5, -0.5]).view(1, 2, 1, 1)
    assert float(inverse_consistency(ahead, -ahead)) == pytest.approx(0, abs=1e-12)
    assert float(inverse_consistency(ahead, 0 * ahead)) == pytest.approx(1.5**2 + 0.5**2)
    middle = grid(9, 9) - 4
    # x -> 0.8 x and x -> 1.25 x; the second leaves the box, where the border continues, so only shrinking is exact.
    there = -0.2 * middle
    assert float((there + 0.25 * 0.8 * middle).abs().max()) == pytest.approx(0, abs=1e-12)
    assert float(inverse_consistency(there, 0.25 * middle)) < 0.2 * float(inverse_consistency(there, 0 * middle))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_graph_prior_is_the_dense_divergence(dimensions):
    shape, precision = (3, 4, 2)[:dimensions], 5.0
    mean, log_variance = (random(2, dimensions, *shape, seed=seed) - 0.5 for seed in (1, 2))
    where = grid(*shape)[0].flatten(1).T
    adjacency = ((where[:, None] - where[None]).abs().sum(-1) == 1).double()
    inverse = precision * (torch.diag(adjacency.sum(1)) - adjacency)
    total = 0.0
    for mu, log_var in zip(mean.flatten(0, 1).flatten(1), log_variance.flatten(0, 1).flatten(1), strict=True):
        trace = float((inverse @ torch.diag(log_var.exp())).trace())
        total += 0.5 * (trace - float(log_var.sum()) + float(mu @ inverse @ mu))
    expected = total / len(where) / mean.shape[0]
    assert float(kl_graph_prior(mean, log_variance, precision=precision)) == pytest.approx(expected)


def test_the_best_variance_of_the_graph_prior():
    """Inside a 2D grid every voxel has 4 neighbors, so 1 / (4 precision) fits best."""
    mean = torch.zeros((1, 2, 40, 40), dtype=torch.float64)
    log_variance = torch.full_like(mean, -math.log(4 * 2.5)).requires_grad_(True)
    kl_graph_prior(mean, log_variance, precision=2.5).backward()
    assert log_variance.grad[..., 1:-1, 1:-1].abs().max() < 1e-12
    assert log_variance.grad[..., 0, :].abs().min() > 1e-5


def test_standard_normal_agrees_with_torch():
    mean, log_variance = random(2, 3, 4, 4) - 0.5, random(2, 3, 4, 4, seed=1) - 0.5
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, (0.5 * log_variance).exp()), normal(torch.zeros_like(mean), torch.ones_like(mean))
    )
    assert float(kl_standard_normal(mean, log_variance)) == pytest.approx(float(expected.mean()))


def test_multiscale_dice_attracts_labels_that_do_not_touch():
    def bar(start):
        image = torch.zeros((1, 1, 48, 48), dtype=torch.float64)
        image[..., start : start + 4, 20:28] = 1
        return image

    fixed = bar(10)
    assert float(multiscale_dice(fixed, fixed)) == pytest.approx(0, abs=1e-9)
    near, far = (float(multiscale_dice(fixed, bar(start))) for start in (16, 34))
    assert near < far - 0.1
    assert float(soft_dice(fixed, bar(16))) == pytest.approx(float(soft_dice(fixed, bar(34))), abs=1e-6)
    assert float(multiscale_dice(fixed, bar(12), sigmas_vox=(0.0,))) == pytest.approx(0.5, abs=1e-6)


def test_blurring_agrees_with_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    fixed, warped = random(1, 1, 12, 13), random(1, 1, 12, 13, seed=1)
    blurred = [
        torch.from_numpy(ndimage.gaussian_filter(image[0, 0].numpy(), 2.0, mode="nearest", radius=6))[None, None]
        for image in (fixed, warped)
    ]
    ours = float(multiscale_dice(fixed, warped, sigmas_vox=(2.0,)))
    both, size = (blurred[0] * blurred[1]).sum(), (blurred[0] ** 2 + blurred[1] ** 2).sum()
    assert ours == pytest.approx(1 - float(2 * both / size), abs=1e-7)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("dimensions", [2, 3])
def test_losses_that_monai_has(dimensions):
    losses = pytest.importorskip("monai.losses")
    shape = (11, 12, 10)[:dimensions]
    fixed, warped = (random(2, 1, *shape, seed=seed).float() for seed in (0, 1))
    theirs = losses.LocalNormalizedCrossCorrelationLoss(
        spatial_dims=dimensions, kernel_size=5, kernel_type="rectangular", smooth_nr=0.0, smooth_dr=1e-7
    )(warped, fixed)
    assert float(lncc(fixed, warped, radius=2, eps=1e-7)) == pytest.approx(1 + float(theirs), abs=1e-4)

    labels, others = (random(2, 3, *shape, seed=seed).float() for seed in (2, 3))
    dice = losses.DiceLoss(smooth_nr=1e-6, smooth_dr=1e-6)(others, labels)
    assert float(soft_dice(labels, others)) == pytest.approx(float(dice), abs=1e-6)

    x = grid(*shape)
    square = torch.cat([x[:, axis : axis + 1] ** 2 for axis in range(dimensions)], 1) + x[:, :1] * x[:, 1:2]
    assert float(bending(square)) == pytest.approx(float(losses.BendingEnergyLoss()(square)), rel=1e-6)
    line = 0.3 * x + 0.1 * x.flip(1)
    ours = float(diffusion(line)) * dimensions**2
    assert ours == pytest.approx(float(losses.DiffusionLoss()(line)) * dimensions, rel=1e-6)


def test_information_orders_images_as_monai_does():
    losses = pytest.importorskip("monai.losses")
    fixed = random(1, 1, 24, 24, 24).float()
    noise = random(1, 1, 24, 24, 24, seed=1).float()
    theirs = losses.GlobalMutualInformationLoss(kernel_type="b-spline", num_bins=32)
    values = []
    for share in (0.0, 0.3, 0.6, 1.0):
        image = (1 - share) * fixed + share * noise
        values.append((float(mutual_information(fixed, image)), float(theirs(image, fixed))))
    ours, reference = zip(*values, strict=True)
    assert list(ours) == sorted(ours) and list(reference) == sorted(reference)
    assert ours[0] < -1 and ours[-1] > -0.1
