"""Methods that score patches of a fixed and a warped image: what they keep, and that they learn known errors."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.errors import RegistrationError, SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.networks import catalogue  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import SUPERVISION, Batch, LossContext, PatchScores  # noqa: E402
from DeepVsClassicRegLib.core.networks.patch import (  # noqa: E402
    PatchNetwork,
    PatchSettings,
    at_voxels,
    edge_channels,
    patch_means,
    patch_weights,
)
from DeepVsClassicRegLib.core.settings import from_json, to_json  # noqa: E402
from DeepVsClassicRegLib.core.training.misalignment import MisalignmentSettings, misaligned  # noqa: E402
from DeepVsClassicRegLib.core.training.synthesis.draws import Draws  # noqa: E402
from DeepVsClassicRegLib.core.training.synthesis.noise import smooth_noise  # noqa: E402

NAMES = [name for name in catalogue.METHODS if catalogue.get_method(name).info.kind in ("metric", "error")]
SMALL = {"widths": (4, 8), "hidden": 8}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


@pytest.fixture(params=NAMES)
def method(request):
    return catalogue.get_method(request.param)


def batch(shape, count=2):
    """Noise, with an error of 0 in the first sample and of 3 voxels in the others."""
    error = torch.zeros(count, 1, *shape)
    error[1:] = 3.0
    return Batch(torch.rand(count, 1, *shape), torch.rand(count, 1, *shape), error=error)


def textures(count, seed):
    """Smooth noise and the same under a shift of up to 4 pixels along each axis, a third of them aligned."""
    settings = MisalignmentSettings(aligned=0.35, jitter_mm=0.1, rigid=1.0, affine=0.0, spline=0.0,
                                    rotation_deg=0.0, translation_mm=4.0)  # fmt: skip
    still, pairs = torch.zeros(1, 2, 32, 32), []
    for number in range(count):
        draws = Draws("texture", seed, number)
        image = 0.5 + 0.2 * smooth_noise(draws, (32, 32), scale=4.0)[None]
        pairs.append(misaligned(draws, image, image, still, settings, 1.0))
    return Batch(*(torch.cat([getattr(pair, side) for pair in pairs]) for side in ("fixed", "moving")),
                 error=torch.cat([pair.error for pair in pairs]))  # fmt: skip


def test_the_three_targets_are_in_the_catalogue():
    assert set(NAMES) == {"haskins", "simonovsky", "eppenhof"}


def test_description(method):
    info = method.info
    assert info.title and info.summary.endswith(".") and "doi" in info.citation
    assert info.supervision == ("error",) and set(info.supervision) <= set(SUPERVISION)
    settings = info.settings()
    assert from_json(info.settings, to_json(settings)) == settings
    assert all(field.metadata.get("label") for field in dataclasses.fields(settings))


@pytest.mark.parametrize("shape", [(33, 22), (17, 16, 21)])
def test_scores_and_gradients(method, shape):
    settings = from_json(method.info.settings, SMALL)
    network, pairs = method.network(settings, dimensions=len(shape)), batch(shape)
    scores = network(pairs.fixed, pairs.moving)
    assert isinstance(scores, PatchScores) and scores.stride == 4
    assert scores.values.shape == (2, 1, *(-(-size // 4) for size in shape))
    assert at_voxels(scores, shape).shape == (2, 1, *shape)
    context = LossContext(network, scores, pairs.shown("error"), settings, "error")
    # Unlike weights: what pushes two classes apart cancels in the last bias.
    sum(weight * term for weight, term in enumerate(method.loss(context).values(), start=1)).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())
    assert all(isinstance(value, float) for value in method.measures(context).values())


def test_batches_do_not_mix(method):
    network, pairs = method.network(from_json(method.info.settings, SMALL), dimensions=2).eval(), batch((32, 32), 3)
    with torch.no_grad():
        together = network(pairs.fixed, pairs.moving).values[1:2]
        alone = network(pairs.fixed[1:2], pairs.moving[1:2]).values
    assert torch.allclose(together, alone, atol=1e-6)


def test_batches_without_a_known_error_are_refused(method):
    settings = from_json(method.info.settings, SMALL)
    network, pairs = method.network(settings, dimensions=2), batch((32, 32))
    scores, plain = network(pairs.fixed, pairs.moving), Batch(pairs.fixed, pairs.moving)
    with pytest.raises(RegistrationError, match="error"):
        method.loss(LossContext(network, scores, plain, settings, "error"))
    with pytest.raises(SettingsError):
        method.loss(LossContext(network, scores, pairs, settings, "labels"))


def test_the_receptive_field_of_a_patch_has_32_voxels():
    network = PatchNetwork(PatchSettings(inputs="images"), dimensions=2).eval()
    image = torch.rand(1, 1, 96, 96, requires_grad=True)
    network(image, image.detach()).values[0, 0, 12, 12].backward()
    (seen,) = image.grad[0, 0].abs().sum(1).nonzero(as_tuple=True)
    assert (int(seen.min()), int(seen.max())) == (34, 65)  # the patch's own voxels are 48 to 51


def test_a_volume_is_scored_as_its_patches_are():
    network = PatchNetwork(PatchSettings(widths=(4, 8), hidden=8), dimensions=2).eval()
    fixed, moving = torch.rand(1, 1, 96, 96), torch.rand(1, 1, 96, 96)
    with torch.no_grad():
        whole = network(fixed, moving).values[..., 12, 12]
        part = network(fixed[..., 28:76, 28:76], moving[..., 28:76, 28:76]).values[..., 5, 5]
    assert torch.allclose(whole, part, atol=1e-6)


def test_lengths_are_never_negative_and_rise():
    network = PatchNetwork(PatchSettings(widths=(4,), hidden=4), dimensions=2, outputs=3, lengths=True)
    with torch.no_grad():
        values = network(torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)).values
    assert values.min() >= 0 and (values.diff(dim=1) >= 0).all()


def test_scores_of_a_ramp_are_the_ramp_at_the_voxels():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    found = at_voxels(PatchScores(patch_means(ramp, 4), 4), (32, 32))
    assert torch.allclose(found[..., 2:-2], ramp[..., 2:-2], atol=1e-5)


def test_edges_are_the_same_in_another_contrast():
    disk = ((torch.stack(torch.meshgrid(*[torch.arange(24.0)] * 2, indexing="ij")) - 11.5).norm(dim=0) < 7).float()
    disk = disk[None, None]
    here, there, parallel = edge_channels(disk, 1 - disk)
    assert torch.equal(here, there) and torch.allclose(parallel, here**2, atol=1e-6)
    assert parallel.max() > 0.9 and parallel[0, 0, 11, 11] == 0
    apart = edge_channels(disk, 1 - disk.roll(5, 2))[2]
    assert apart.sum() < 0.5 * parallel.sum()


def test_flat_images_have_a_gradient():
    flat = torch.full((1, 1, 16, 16), 0.5, requires_grad=True)
    sum(channel.sum() for channel in edge_channels(flat, flat)).backward()
    assert torch.isfinite(flat.grad).all()


def test_only_a_background_of_zeros_does_not_count():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 9] = 0.2
    assert patch_weights(image, 4)[0, 0, 0].tolist() == [0, 0, 1, 0]


def test_wrong_settings_are_reported():
    with pytest.raises(SettingsError, match="Quantiles"):
        from_json(catalogue.get_method("eppenhof").info.settings, {"quantiles": (0.9, 0.5)})
    with pytest.raises(SettingsError, match="misaligned"):
        from_json(catalogue.get_method("simonovsky").info.settings, {"misaligned": 0.1})


def test_quantiles_are_those_of_the_errors():
    """The loss is least where the stated part of the errors is below the estimate."""
    method = catalogue.get_method("eppenhof")
    settings = from_json(method.info.settings, {"quantiles": (0.2, 0.8)})
    errors = torch.linspace(0, 10, 64).view(1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    pairs = Batch(torch.ones_like(errors), torch.ones_like(errors), error=errors)

    def loss(low, high):
        values = torch.tensor([low, high]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
        context = LossContext(torch.nn.Identity(), PatchScores(values, 4), pairs, settings, "error")
        return float(method.loss(context)["error"])

    assert min((loss(low, 8.0), low) for low in (1.0, 2.0, 3.0))[1] == 2.0
    assert min((loss(2.0, high), high) for high in (7.0, 8.0, 9.0))[1] == 8.0


LEARNS = {
    "eppenhof": {"correlation": 0.6},
    "simonovsky": {"aligned_found": 0.7, "misaligned_found": 0.7},
    "haskins": {"gain": 0.3},
}


def judged(method, network, settings, pairs):
    network.eval()
    with torch.no_grad():
        context = LossContext(network, network(pairs.fixed, pairs.moving), pairs, settings, "error")
    network.train()
    numbers = dict(method.measures(context))
    if method.info.name == "haskins":
        truth = pairs.error.mean(dim=(1, 2, 3))
        numbers["gain"] = 1 - numbers["off_voxels"] / float((truth - truth.median()).abs().mean())
    return numbers


def test_it_learns_errors_it_has_not_seen(method):
    """After seconds of training it tells more than the average error would."""
    least = LEARNS[method.info.name]
    settings = from_json(method.info.settings, {"widths": (8, 16), "hidden": 32})
    network, unseen = method.network(settings, dimensions=2), textures(24, seed=-1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(400):
        seen = textures(8, seed=step)
        context = LossContext(network, network(seen.fixed, seen.moving), seen, settings, "error")
        optimizer.zero_grad()
        sum(method.loss(context).values()).backward()
        optimizer.step()
        if step % 20 == 19:
            found = judged(method, network, settings, unseen)
            if all(found[name] > value for name, value in least.items()):
                break
    print(method.info.name, step)
    assert {name: found[name] > value for name, value in least.items()} == dict.fromkeys(least, True), found
