"""Auto-encoder features: what the network keeps, that it learns to reconstruct, and the difference as a loss."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.errors import SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.networks import catalogue  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, LossContext, Reconstruction  # noqa: E402
from DeepVsClassicRegLib.core.networks.ssemnet import FeatureDifference  # noqa: E402
from DeepVsClassicRegLib.core.settings import from_json, to_json  # noqa: E402
from DeepVsClassicRegLib.core.training.synthesis.draws import Draws  # noqa: E402
from DeepVsClassicRegLib.core.training.synthesis.noise import smooth_noise  # noqa: E402

METHOD = catalogue.get_method("ssemnet")
SMALL = {"widths": (4, 8), "noise": 0.0}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


def network(dimensions=2, **changes):
    return METHOD.network(from_json(METHOD.info.settings, {**SMALL, **changes}), dimensions=dimensions)


def textures(count, seed, size=32):
    images = [0.5 + 0.2 * smooth_noise(Draws("texture", seed, n), (size, size), scale=6.0) for n in range(count)]
    return torch.stack(images).clamp(0, 1)


def context_of(module, batch, supervision="none"):
    settings = from_json(METHOD.info.settings, SMALL)
    return LossContext(module, module(batch.fixed, batch.moving), batch, settings, supervision)


def test_all_methods_of_features_are_covered_here():
    kinds = {name: catalogue.get_method(name).info.kind for name in catalogue.METHODS}
    assert [name for name, kind in kinds.items() if kind == "features"] == ["ssemnet"]


def test_description():
    info = METHOD.info
    assert info.summary.endswith(".") and "doi" in info.citation and info.supervision == ("none",)
    settings = info.settings()
    assert from_json(info.settings, to_json(settings)) == settings
    assert all(field.metadata.get("label") for field in dataclasses.fields(settings))


@pytest.mark.parametrize("shape", [(33, 22), (17, 16, 21)])
def test_reconstruction_and_gradients(shape):
    module, batch = network(len(shape)), Batch(torch.rand(2, 1, *shape), torch.rand(2, 1, *shape))
    found = module(batch.fixed, batch.moving)
    assert isinstance(found, Reconstruction) and found.values.shape == (4, 1, *shape)
    assert torch.equal(found.images, torch.cat([batch.fixed, batch.moving]))
    terms = METHOD.loss(context_of(module, batch))
    sum(terms.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in module.parameters())
    with pytest.raises(SettingsError):
        METHOD.loss(context_of(module, batch, "labels"))


@pytest.mark.parametrize("shape", [(33, 22), (17, 16, 21)])
def test_levels_halve_the_resolution(shape):
    image = torch.rand(1, 1, *shape)
    levels = network(len(shape)).features(image)
    padded = [-(-size // 4) * 4 for size in shape]
    assert [level.shape[1] for level in levels] == [4, 8]
    assert [list(level.shape[2:]) for level in levels] == [[n // 2 for n in padded], [n // 4 for n in padded]]
    assert len(network(len(shape), compared="deepest").features(image)) == 1


def test_it_learns_to_reconstruct_images_it_has_not_seen():
    module, unseen = network(), Batch(textures(4, -1), textures(4, -2))
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    before = METHOD.measures(context_of(module, unseen))["explained"]
    for step in range(300):
        optimizer.zero_grad()
        terms = METHOD.loss(context_of(module, Batch(textures(2, 2 * step), textures(2, 2 * step + 1))))
        sum(terms.values()).backward()
        optimizer.step()
        if step % 20 == 19 and (after := METHOD.measures(context_of(module, unseen))["explained"]) > 0.8:
            break
    assert before < 0.2 and after > 0.8


@pytest.mark.parametrize("compared", ["all", "deepest"])
def test_equal_images_have_no_difference(compared):
    module, image = network(3, compared=compared).eval().requires_grad_(False), torch.rand(1, 1, 16, 12, 20)
    loss = FeatureDifference(module, image)
    assert float(loss(image, image)) == 0.0
    off = image.flip(2).requires_grad_(True)
    value = loss(image, off)
    value.backward()
    assert float(value.detach()) > 0.1 and off.grad.abs().max() > 0


def test_a_network_of_images_compares_slice_by_slice():
    """The axis with one voxel is that of the slices; a volume is the mean of its slices."""
    module, volume = network(2).eval().requires_grad_(False), torch.rand(1, 1, 3, 16, 20)
    other = torch.rand(1, 1, 3, 16, 20)
    flat = volume[:, :, :1]
    for axis in (2, 3, 4):
        loss = FeatureDifference(module, flat.movedim(2, axis))
        assert float(loss(flat, other[:, :, :1].movedim(2, axis))) == pytest.approx(
            float(FeatureDifference(module, flat)(flat, other[:, :, :1])), rel=1e-5
        )
    moved = volume.clone()
    moved[:, :, 1] = other[:, :, 1]
    loss = FeatureDifference(module, volume)
    both = volume.clone()
    both[:, :, 1:] = other[:, :, 1:]
    assert 0 < float(loss(volume, moved)) < float(loss(volume, both))


def test_a_weight_selects_the_measured_region():
    module, image = network(2).eval().requires_grad_(False), torch.rand(1, 1, 1, 64, 64)
    other = image.clone()
    other[..., 40:, :] = torch.rand(24, 64)
    far, near = torch.zeros_like(image), torch.zeros_like(image)
    far[..., :16, :], near[..., 48:, :] = 1.0, 1.0
    loss = FeatureDifference(module, image)
    assert float(loss(image, other, far)) == 0.0
    assert float(loss(image, other, near)) > float(loss(image, other)) > 0


def test_constant_images_have_finite_features():
    flat = torch.full((1, 1, 1, 16, 16), 0.5)
    loss = FeatureDifference(network(2).eval().requires_grad_(False), flat)
    assert torch.isfinite(loss(flat, torch.rand_like(flat)))
