"""What every method of kind 'field' keeps: shapes, identity at first, gradients, terms, files, and that it learns."""

import dataclasses
import importlib.util

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.networks import catalogue, flow  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import (  # noqa: E402
    KINDS,
    SUPERVISION,
    Batch,
    LossContext,
    MethodInfo,
    Stage,
    map_tensors,
)
from DeepVsClassicRegLib.core.networks.parts import total_displacement  # noqa: E402
from DeepVsClassicRegLib.core.settings import from_json, to_json  # noqa: E402
from DeepVsClassicRegLib.core.training.stages import begin_stage  # noqa: E402

ROOM = catalogue.__package__
# A line of the catalogue whose file is not written yet has nothing to test; anything else must import.
WRITTEN = [
    name for name, where in catalogue.METHODS.items() if importlib.util.find_spec(f"{ROOM}.{where.split(':')[0]}")
]
NAMES = [name for name in WRITTEN if catalogue.get_method(name).info.kind == "field"]
# Settings with these names make networks small; a method that has others is small by itself.
THIN = {
    "start_channels": 1,
    "bottleneck": 16,
    "code": 16,
    "squeezed": 16,
    "widths": (16, 32, 32),
    "cells": 4,
    "blocks": 2,
    "channels": 4,
    "affine_levels": 2,
    "spacings": (8, 4),
    "dropout": 0.05,
    "patches": 4,
    "structures": (1, 2),
}
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
    known = shift.view(count, -1, *sides).expand(count, -1, *shape)
    # A momentum that is the same everywhere moves everything against it.
    return Batch(fixed, moving, fixed_labels, moving_labels, known, momentum=-known)


def batch(shape, *, count=1, shift=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return blobs(count, shape, generator, shift * (2 * torch.rand((count, len(shape)), generator=generator) - 1))


def small(info, **changes):
    """The method's settings with few channels, where it has such settings."""
    names = {field.name for field in dataclasses.fields(info.settings)}
    thin = {"encoder": (4, 8, 8, 8), "decoder": (8, 8, 8, 8, 4), **THIN}
    known = {key: value for key, value in {**thin, **changes}.items() if key in names}
    if isinstance(info.settings().__dict__.get("channels"), tuple):
        known.pop("channels", None)
    return from_json(info.settings, known)


def stages_of(method, settings):
    """The settings of a stage's training: (stage, supervision) of every stage and supervision."""
    return [(stage, stage.supervision or kind) for stage in method.stages(settings) for kind in method.info.supervision]


def terms_of(method, module, pairs, settings, supervision, stage=None):
    """The objective of a batch."""
    prediction = module(pairs.fixed, pairs.moving)
    return method.loss(
        LossContext(module, prediction, pairs.shown(supervision), settings, supervision, stage or Stage())
    )


@pytest.fixture(params=NAMES)
def method(request):
    return catalogue.get_method(request.param)


def test_the_written_methods_are_found():
    assert {"voxelmorph", "voxelmorph-diff"} <= set(NAMES)


def test_description(method):
    info = method.info
    assert isinstance(info, MethodInfo) and catalogue.get_method(info.name).info == info
    assert info.title and info.summary.endswith(".") and ("doi" in info.citation or "arXiv" in info.citation)
    assert info.supervision and set(info.supervision) <= set(SUPERVISION)
    assert info.kind in KINDS and set(info.dimensions) <= {2, 3}
    settings = info.settings()
    assert from_json(info.settings, to_json(settings)) == settings
    for field in dataclasses.fields(settings):
        assert field.metadata.get("label"), f"{field.name} has no label"


@pytest.mark.parametrize("dimensions", [2, 3])
def test_prediction_and_objective(method, dimensions):
    """In every stage exactly what learns in it gets a gradient, and the stages together train everything."""
    if dimensions not in method.info.dimensions:
        pytest.skip("not for these dimensions")
    settings, pair = small(method.info), batch(SHAPES[dimensions])
    module = method.network(settings, dimensions=dimensions).train()
    assert module(pair.fixed, pair.moving).displacement.shape == (1, dimensions, *SHAPES[dimensions])
    trained = set()
    for stage, supervision in stages_of(method, settings):
        begin_stage(module, stage)
        module.zero_grad()
        terms = terms_of(method, module, pair, settings, supervision, stage)
        assert terms and all(isinstance(name, str) and name for name in terms)
        assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
        sum(terms.values()).backward()
        groups = stage.turns or (stage.learns,)
        for name, parameter in module.named_parameters():
            learns = any(name.startswith(start) for group in groups for start in group)
            gradient = parameter.grad
            assert (gradient is not None) == learns, f"{name} in {stage.name}"
            if learns:
                assert torch.isfinite(gradient).all() and gradient.abs().max() > 0, f"{name} in {stage.name}"
                trained.add(name)
    assert trained == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_exact_parts_are_the_displacement(method, dimensions):
    if dimensions not in method.info.dimensions:
        pytest.skip("not for these dimensions")
    pair = batch(SHAPES[dimensions])
    module = method.network(small(method.info), dimensions=dimensions).eval()
    strengthen(module)
    with torch.no_grad():
        prediction = module(pair.fixed, pair.moving)
    assert prediction.displacement.abs().max() > 0.01
    for one in [prediction, *([prediction.backward] if prediction.backward is not None else [])]:
        if one.parts:
            found = total_displacement(one.parts, SHAPES[dimensions])
            assert torch.allclose(found, one.displacement, atol=1e-4)
    for name, extra in prediction.extras.items():
        assert extra.values.shape[2:] == pair.fixed.shape[2:], name
        assert extra.kind in ("map", "image", "labels", "transform"), name
    doubled = map_tensors(prediction, lambda tensor: tensor.double())
    assert doubled.displacement.dtype == torch.float64


@pytest.mark.parametrize("dimensions", [2, 3])
def test_nearly_the_identity_at_first_and_certain_in_evaluation(method, dimensions):
    if dimensions not in method.info.dimensions:
        pytest.skip("not for these dimensions")
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
        mean = module.eval()(pair.fixed, pair.moving)
    assert torch.equal(first.displacement, second.displacement) != method.info.probabilistic
    assert (mean.distribution is not None) == method.info.probabilistic
    if mean.distribution is None:
        return
    one, again, other = (mean.distribution.sample(seed) for seed in (1, 1, 2))
    assert one.shape == first.displacement.shape
    assert torch.equal(one, again) and not torch.equal(one, other)


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
    terms = method.loss(LossContext(module, prediction, pair, settings, "labels"))
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


def test_labels_that_are_missing_are_reported(method):
    from DeepVsClassicRegLib.core.errors import RegistrationError

    pair, settings = batch(SHAPES[2]), small(method.info)
    module, stage = method.network(settings, dimensions=2), method.stages(settings)[-1]
    for missing in ("labels", "displacement", "momentum"):
        if missing in method.info.supervision:
            prediction = module(pair.fixed, pair.moving)
            nothing = LossContext(module, prediction, Batch(pair.fixed, pair.moving), settings, missing, stage)
            with pytest.raises(RegistrationError, match=missing):
                method.loss(nothing)
    with pytest.raises(RegistrationError):
        terms_of(method, module, pair, settings, "magic", stage)


def strengthen(module):
    """Make a fresh network answer something visible."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


# The others take 5 to 20 CPU seconds each.
QUICK_TO_LEARN = ("voxelmorph", "voxelmorph-diff", "synthmorph", "dlir")
LEARNS = [
    pytest.param(name, kind, marks=[] if name in QUICK_TO_LEARN else [pytest.mark.slow])
    for name in NAMES
    for kind in catalogue.get_method(name).info.supervision
]
STEPS = 240
# Momenta are mostly 0, and learned patch by patch.
MORE_STEPS = {"quicksilver": 1200}
# Deep U-Nets: channels that are enough here, and the rate at which they learn steadily.
SLOWER = {
    "symnet": (8, 1e-3),
    "lku-net": (8, 1e-3),
    "icnet": (8, 1e-3),
    "transmorph": (24, 1e-3),
    "localnet": (8, 1e-3),
    "quicksilver": (16, 1e-3),
}


@pytest.mark.parametrize(("name", "supervision"), LEARNS)
def test_it_learns_shifts_it_has_not_seen(name, supervision):
    """All stages one after another, until half of the error is gone."""
    method = catalogue.get_method(name)
    wide = {"encoder": (16, 32, 32, 32), "decoder": (32, 32, 32, 32, 16), "start_channels": 4, "channels": 16}
    channels, rate = SLOWER.get(name, (wide["channels"], 3e-3))
    settings = small(method.info, **{**wide, "channels": channels})
    module = method.network(settings, dimensions=2).train()
    unseen, shift = shifted_blobs(16, seed=1)
    before, _ = judge(module, unseen, shift)
    after, lowest, step = before, 1.0, 0
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    stages = method.stages(settings)
    pairs_of = Lessons(method.teacher(settings))
    steps = MORE_STEPS.get(name, STEPS)
    for stage in stages:
        begin_stage(module, stage)
        for number in range(round(steps * stage.share / sum(entry.share for entry in stages))):
            pairs = pairs_of(step)
            terms = terms_of(method, module, pairs, settings, stage.supervision or supervision, stage)
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
            step += 1
            if number % 20 == 19:
                module.set_stage("")
                after, lowest = judge(module, unseen, shift)
                module.set_stage(stage.name)
                if after < 0.5 * before:
                    break
    assert before == pytest.approx(float(shift.norm(dim=1).mean()), abs=0.1)
    assert after < 0.5 * before
    assert lowest > 0


class Lessons:
    """New pairs for each step; those of a teacher, who takes his time, come again after a while."""

    DIFFERENT = 12

    def __init__(self, teacher):
        self.teacher, self.known = teacher, {}

    def __call__(self, step):
        if self.teacher is None:
            return shifted_blobs(8, seed=100 + step)[0]
        number = step % self.DIFFERENT
        if number not in self.known:
            pairs, _ = shifted_blobs(8, seed=100 + number)
            self.known[number] = dataclasses.replace(pairs, momentum=self.teacher.find(pairs.fixed, pairs.moving))
        return self.known[number]


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
