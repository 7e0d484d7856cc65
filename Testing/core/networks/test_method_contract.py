"""What every method of the catalogue keeps: shapes, identity at first, gradients, terms, files, and that it learns."""

import dataclasses
import importlib.util

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.networks import catalogue, flow  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, MethodInfo  # noqa: E402
from DeepVsClassicRegLib.core.settings import from_json, to_json  # noqa: E402

ROOM = catalogue.__package__
# A line of the catalogue whose file is not written yet has nothing to test; anything else must import.
NAMES = [name for name, where in catalogue.METHODS.items() if importlib.util.find_spec(f"{ROOM}.{where.split(':')[0]}")]
SHAPES = {2: (17, 22), 3: (16, 17, 19)}


@pytest.fixture(autouse=True)
def seeded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield
    torch.set_num_threads(threads)


def blobs(count, shape, generator, shift):
    """Smooth random images with two labels each, and the same content moved by `shift` (count, D) voxels."""
    like = torch.zeros(())
    x = flow.identity_grid(shape, like)
    places = torch.rand((count, 4, len(shape)), generator=generator)
    places = (0.25 + 0.5 * places) * torch.tensor(shape)
    widths = 1.5 + 2 * torch.rand((count, 4), generator=generator)
    sides = [1] * len(shape)

    def draw(offset):
        parts = []
        for number in range(4):
            center = (places[:, number] + offset).view(count, -1, *sides)
            square = (x - center).square().sum(1, keepdim=True)
            parts.append(torch.exp(-0.5 * square / widths[:, number].view(count, 1, *sides) ** 2))
        image = (parts[0] + 0.7 * parts[1] + 0.5 * parts[2] + 0.3 * parts[3]).clamp(0, 1)
        labels = torch.cat([torch.sigmoid(12 * (part - 0.5)) for part in parts[:2]], 1)
        return image, labels

    (fixed, fixed_labels), (moving, moving_labels) = draw(torch.zeros_like(shift)), draw(shift)
    return Batch(fixed, moving, fixed_labels, moving_labels)


def batch(shape, *, count=1, shift=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return blobs(count, shape, generator, shift * (2 * torch.rand((count, len(shape)), generator=generator) - 1))


def small(info, **changes):
    """The method's settings with few channels, where it has such settings."""
    names = {field.name for field in dataclasses.fields(info.settings)}
    thin = {"encoder": (4, 8, 8, 8), "decoder": (8, 8, 8, 8, 4)}
    return from_json(info.settings, {key: value for key, value in {**thin, **changes}.items() if key in names})


@pytest.fixture(params=NAMES)
def method(request):
    return catalogue.get_method(request.param)


def test_the_written_methods_are_found():
    assert {"voxelmorph", "voxelmorph-diff"} <= set(NAMES)


def test_description(method):
    info = method.info
    assert isinstance(info, MethodInfo) and catalogue.get_method(info.name).info == info
    assert info.title and info.summary.endswith(".") and ("doi" in info.citation or "arXiv" in info.citation)
    assert info.supervision and set(info.supervision) <= {"none", "labels"}
    settings = info.settings()
    assert from_json(info.settings, to_json(settings)) == settings
    for field in dataclasses.fields(settings):
        assert field.metadata.get("label"), f"{field.name} has no label"


@pytest.mark.parametrize("dimensions", [2, 3])
def test_prediction_and_objective(method, dimensions):
    settings, pair = small(method.info), batch(SHAPES[dimensions])
    module = method.network(settings, dimensions=dimensions).train()
    prediction = module(pair.fixed, pair.moving)
    assert prediction.displacement.shape == (1, dimensions, *SHAPES[dimensions])
    for supervision in method.info.supervision:
        module.zero_grad()
        terms = method.loss(module(pair.fixed, pair.moving), pair, settings, supervision)
        assert len(terms) >= 2 and all(isinstance(name, str) and name for name in terms)
        assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
        sum(terms.values()).backward()
        for name, parameter in module.named_parameters():
            gradient = parameter.grad
            assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().max() > 0, name


@pytest.mark.parametrize("dimensions", [2, 3])
def test_nearly_the_identity_at_first_and_certain_in_evaluation(method, dimensions):
    pair = batch(SHAPES[dimensions])
    module = method.network(small(method.info), dimensions=dimensions).eval()
    with torch.no_grad():
        first, second = (module(pair.fixed, pair.moving).displacement for _ in range(2))
    assert torch.equal(first, second)
    assert first.abs().max() < 0.1


def test_training_samples_only_distributions(method):
    pair = batch(SHAPES[2])
    module = method.network(small(method.info), dimensions=2).train()
    with torch.no_grad():
        first, second = (module(pair.fixed, pair.moving) for _ in range(2))
    assert torch.equal(first.displacement, second.displacement) != method.info.probabilistic
    assert (first.log_variance is not None) == method.info.probabilistic
    if not method.info.probabilistic:
        return
    drawn = module.from_velocity(first.velocity + torch.randn_like(first.velocity), pair.fixed.shape[2:])
    assert drawn.shape == first.displacement.shape


def test_mixed_precision_keeps_fields_single(method):
    pair = batch(SHAPES[2])
    module = method.network(small(method.info), dimensions=2).train()
    with torch.autocast("cpu", torch.bfloat16):
        displacement = module(pair.fixed, pair.moving).displacement
    assert displacement.dtype == torch.float32 and torch.isfinite(displacement).all()


VARIANTS = [
    ("voxelmorph", {"affine": True}),
    ("voxelmorph", {"similarity": "mse", "steps": 0, "half": False}),
    ("voxelmorph-diff", {"half": False, "steps": 3}),
]


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_variants(name, changes):
    method, pair = catalogue.get_method(name), batch(SHAPES[3])
    settings = small(method.info, **changes)
    module = method.network(settings, dimensions=3)
    prediction = module(pair.fixed, pair.moving)
    assert prediction.displacement.shape == (1, 3, *SHAPES[3]) and prediction.displacement.abs().max() < 0.1
    terms = method.loss(prediction, pair, settings, "labels")
    assert set(terms) == {"image", "labels", "divergence" if method.info.probabilistic else "smoothness"}
    sum(terms.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in module.parameters())


def test_batches_do_not_mix(method):
    pairs = batch(SHAPES[2], count=3)
    module = method.network(small(method.info), dimensions=2).eval()
    strengthen(module)
    with torch.no_grad():
        together = module(pairs.fixed, pairs.moving).displacement
        alone = module(pairs.fixed[1:2], pairs.moving[1:2]).displacement
    assert together.abs().max() > 0.01
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_weights_round_trip(method, tmp_path):
    files = pytest.importorskip("safetensors.torch")
    pair, settings = batch(SHAPES[2]), small(method.info)
    module = method.network(settings, dimensions=2).eval()
    strengthen(module)
    files.save_file(module.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(99)
    again = method.network(from_json(method.info.settings, to_json(settings)), dimensions=2).eval()
    with torch.no_grad():
        expected = module(pair.fixed, pair.moving).displacement
        assert not torch.equal(again(pair.fixed, pair.moving).displacement, expected)
        again.load_state_dict(files.load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(again(pair.fixed, pair.moving).displacement, expected)


def test_weights_come_from_the_global_generator(method):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(method.network(small(method.info), dimensions=2).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_labels_that_are_missing_are_told(method):
    from DeepVsClassicRegLib.core.errors import RegistrationError

    pair, settings = batch(SHAPES[2]), small(method.info)
    prediction = method.network(settings, dimensions=2)(pair.fixed, pair.moving)
    if "labels" in method.info.supervision:
        with pytest.raises(RegistrationError, match="labels"):
            method.loss(prediction, Batch(pair.fixed, pair.moving), settings, "labels")
    with pytest.raises(RegistrationError):
        method.loss(prediction, pair, settings, "magic")


def strengthen(module):
    """Make a fresh network answer something visible."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


LEARNS = [(name, kind) for name in NAMES for kind in catalogue.get_method(name).info.supervision]


@pytest.mark.parametrize(("name", "supervision"), LEARNS)
def test_it_learns_shifts_it_has_not_seen(name, supervision):
    method = catalogue.get_method(name)
    settings = small(method.info, encoder=(16, 32, 32, 32), decoder=(32, 32, 32, 32, 16))
    module = method.network(settings, dimensions=2).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    unseen, shift = shifted_blobs(16, seed=1)
    before, _ = judge(module, unseen, shift)
    for step in range(240):
        pairs, _ = shifted_blobs(8, seed=100 + step)
        terms = method.loss(module(pairs.fixed, pairs.moving), pairs, settings, supervision)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        if step % 20 == 19:
            after, lowest = judge(module, unseen, shift)
            if after < 0.5 * before:
                break
    assert before == pytest.approx(float(shift.norm(dim=1).mean()), abs=0.1)
    assert after < 0.5 * before
    assert lowest > 0


def shifted_blobs(count, *, seed):
    """Pairs of 32 x 32 pixels and the shift of each, up to 2.5 pixels along each axis."""
    generator = torch.Generator().manual_seed(seed)
    shift = 2.5 * (2 * torch.rand((count, 2), generator=generator) - 1)
    return blobs(count, (32, 32), generator, shift), shift


def judge(module, pairs, shift):
    """Return the mean error of the displacement inside the labels, pixels, and the lowest determinant."""
    module.eval()
    with torch.no_grad():
        u = module(pairs.fixed, pairs.moving).displacement
    module.train()
    error = (u - shift[:, :, None, None]).norm(dim=1, keepdim=True)
    weight = pairs.fixed_labels.sum(1, keepdim=True)
    return float((error * weight).sum() / weight.sum()), float(flow.jacobian_determinant(u).min())
