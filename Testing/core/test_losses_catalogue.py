"""One list of losses: every entry is callable with what it compares, options are checked, prepared images agree."""

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.errors import SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.losses import catalogue, similarity  # noqa: E402


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, 12, 13, generator=generator), torch.rand(2, 1, 12, 13, generator=generator)


@pytest.mark.parametrize("name", catalogue.loss_names())
def test_every_loss_is_lower_for_a_match(name, images):
    loss = catalogue.make_loss(name)
    first, second = images
    if loss.compares == "field":
        field = 6 * torch.cat(images, 1) - 3
        assert float(loss(0 * field)) == 0 < float(loss(field))
        return
    call = loss.of_images if loss.compares == "images" else loss
    assert torch.isfinite(call(first, second))
    assert float(call(first, first)) < float(call(first, second))


def test_options():
    assert catalogue.loss_options("lncc")["radius"] == 2
    image, other = torch.rand(1, 1, 9, 9), torch.rand(1, 1, 9, 9)
    narrow = catalogue.make_loss("lncc", radius=1)(image, other)
    assert float(narrow) == pytest.approx(float(similarity.lncc(image, other, radius=1)))
    assert catalogue.accepted("mse", {"radius": 3}) == {}
    with pytest.raises(SettingsError, match="no option 'radius'"):
        catalogue.make_loss("mse", radius=3)
    with pytest.raises(SettingsError, match="no loss 'lnc'"):
        catalogue.make_loss("lnc")


def test_an_optimizer_may_prepare_once():
    image, other = torch.rand(1, 1, 9, 10), torch.rand(1, 1, 9, 10)
    loss = catalogue.make_loss("mind")
    assert loss.prepare(image).shape[1] == 4
    assert torch.equal(loss(loss.prepare(image), loss.prepare(other)), loss.of_images(image, other))
