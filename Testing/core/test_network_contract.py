"""What the network engine makes of a prediction: exact parts, plane images, extras, both directions, adaptation."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from DeepVsClassicRegLib.core.device import Compute  # noqa: E402
from DeepVsClassicRegLib.core.engines.base import Recorder  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.engine import NetworkSettings, register_with  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.grid import plane_grid  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.memory import fitting_factor, forward_bytes  # noqa: E402
from DeepVsClassicRegLib.core.errors import SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.images.grid import Grid  # noqa: E402
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import ExtraMap, Prediction, RegistrationNetwork  # noqa: E402
from DeepVsClassicRegLib.core.networks.bspline import control_shape  # noqa: E402
from DeepVsClassicRegLib.core.networks.flow import identity_grid  # noqa: E402
from DeepVsClassicRegLib.core.networks.parts import (  # noqa: E402
    AffinePart,
    DisplacementPart,
    SplinePart,
    VelocityPart,
)
from DeepVsClassicRegLib.core.pair import Pair  # noqa: E402
from DeepVsClassicRegLib.core.progress import Progress  # noqa: E402
from DeepVsClassicRegLib.core.transforms.transform import (  # noqa: E402
    Affine,
    BSpline,
    Transform,
    VelocityField,
)
from testing_models import SHIFT, card  # noqa: E402

GRID = Grid((32, 32, 32), (1.8,) * 3, (-20.0, 5.0, 3.0))
START = Affine.shift((1.0, -2.0, 0.5))


def bump(shape, like, size, channel=0):
    """A smooth hump of `size` voxels in the middle of a grid, along one axis; 0 at the border."""
    x = identity_grid(shape, like)
    middle = torch.tensor([(n - 1) / 2 for n in shape]).view(1, -1, *[1] * len(shape))
    width = torch.tensor([n / 7 for n in shape]).view(1, -1, *[1] * len(shape))
    hump = torch.exp(-0.5 * ((x - middle) / width).square().sum(1, keepdim=True))
    return torch.cat([size * hump if axis == channel else 0 * hump for axis in range(len(shape))], 1)


class Known(RegistrationNetwork):
    """Always predicts the map of some parts."""

    def __init__(self, make, **more):
        super().__init__()
        self.make, self.more = make, more

    def forward(self, fixed, moving):
        shape = self.shape = fixed.shape[2:]
        found = Prediction.of(self.make(shape, fixed), shape)
        return dataclasses.replace(found, **{name: value(fixed, moving, found) for name, value in self.more.items()})


def affine(shape, like):
    matrix = torch.tensor([[[1.05, 0.03, 0.0], [-0.02, 0.97, 0.01], [0.0, 0.02, 1.02]]])
    return [AffinePart(matrix, torch.tensor([[1.0, -0.5, 2.0]]))]


def spline(shape, like):
    return [SplinePart(bump(control_shape(shape, 4), like, 2.0, 1), 4)]


def velocity(shape, like):
    return [VelocityPart(bump([n // 2 for n in shape], like, 1.5, 2), 6, 2)]


def field(shape, like):
    return [DisplacementPart(bump(shape, like, 2.0))]


def chain(shape, like):
    return [*velocity(shape, like), *spline(shape, like), *affine(shape, like)]


KINDS = {affine: Affine, spline: BSpline, velocity: VelocityField}


def volume(grid=GRID, seed=0):
    rng = np.random.default_rng(seed)
    return Volume(np.clip(rng.random(grid.shape), 0.3, 1).astype(np.float32), grid)


def register(network, pair, dimensions=3, recorder=None, **changes):
    about = card(SHIFT, dimensions=dimensions, spacing_mm=1.8)
    recorder = recorder or Recorder(Compute("cpu", 1))
    settings = NetworkSettings(**changes)
    return register_with(network.eval(), about, pair, settings, Progress(), Compute("cpu", 1), recorder)


def expected_points(network, points):
    """Where the network's map brings points of the grid, read off its dense displacement."""
    shape = tuple(network.shape)
    grid = GRID.padded([(n - m) // 2 for n, m in zip(shape[::-1], GRID.size, strict=True)])
    u = Prediction.of(network.make(shape, torch.zeros(1)), shape).displacement[0].double().numpy()
    index = np.rint(grid.point_to_index(points)).astype(int)
    moved = np.stack([u[axis][index[:, 2], index[:, 1], index[:, 0]] for axis in (2, 1, 0)], -1)
    return points + moved * 1.8


@pytest.mark.parametrize("make", [affine, spline, velocity, field, chain])
def test_exact_parts_are_the_predicted_map(make):
    pair = Pair(volume(), volume(), initial=Transform((START,)))
    network = Known(make)
    found = register(network, pair)
    index = np.random.default_rng(1).integers(6, 26, (60, 3))
    points = GRID.index_to_point(index)
    wanted = START.apply(expected_points(network, points))
    np.testing.assert_allclose(found.transform.apply(points), wanted, atol=0.02)
    if make in KINDS:
        assert isinstance(found.transform.parts[0], KINDS[make]) or make is affine
        assert len(found.transform.parts) == (1 if make is affine else 2)  # affine parts merge
    dense = Transform.of([found.field, START])
    np.testing.assert_allclose(dense.apply(points), wanted, atol=0.02)


def test_passes_are_chained_the_last_one_first():
    pair = Pair(volume(), volume())
    twice = register(Known(affine), pair, passes=2).transform
    once = register(Known(affine), pair).transform
    points = GRID.index_to_point(np.random.default_rng(1).integers(8, 24, (20, 3)))
    np.testing.assert_allclose(twice.apply(points), once.apply(once.apply(points)), atol=1e-4)
    assert len(twice.parts) == 1


def test_parts_that_fold_become_a_relaxed_field_and_the_user_is_notified():
    def folding(shape, like):
        return [DisplacementPart(bump(shape, like, 20.0)), *affine(shape, like)]

    recorder = Recorder(Compute("cpu", 1))
    found = register(Known(folding), Pair(volume(), volume()), recorder=recorder)
    assert len(found.transform.parts) == 1
    assert any("smoothed around" in note for note in recorder.notes)


PLANES = {
    "axial": Grid((30, 40, 1), (1.8, 1.8, 5.0), (3.0, -4.0, 7.0)),
    "sagittal": Grid((1, 30, 40), (4.0, 1.8, 1.8), (3.0, -4.0, 7.0), (0, 0, 1, 1, 0, 0, 0, 1, 0)),
    "coronal, coarse": Grid((20, 1, 24), (2.5, 3.0, 2.0), (0.0, 1.0, 2.0)),
}


@pytest.mark.parametrize("name", PLANES)
def test_networks_of_plane_images_register_slices(name):
    """A shift along the slice's own axes becomes the same shift in space, and nothing leaves the plane."""
    grid = PLANES[name]

    def shift(shape, like):
        assert len(shape) == 2
        u = torch.zeros(1, 2, *shape)
        u[:, 0], u[:, 1] = 2.0, -1.5  # y, x
        return [DisplacementPart(u)]

    found = register(Known(shift), Pair(volume(grid), volume(grid)), dimensions=2).transform
    flat = grid.size.index(1)
    across = [axis for axis in range(3) if axis != flat]
    spacing = plane_grid(grid, spacing_mm=1.8).spacing_mm
    wanted = -1.5 * spacing[0] * grid.axes[:, across[0]] + 2.0 * spacing[1] * grid.axes[:, across[1]]
    points = grid.points().reshape(-1, 3)
    moved = found.apply(points) - points
    np.testing.assert_allclose(moved, np.broadcast_to(wanted, moved.shape), atol=1e-3)


def test_a_plane_grid_keeps_the_pixels_it_can():
    same = plane_grid(PLANES["axial"], spacing_mm=1.8)
    assert same.size == (32, 48, 1)
    np.testing.assert_allclose(same.origin_mm, PLANES["axial"].origin_mm)
    finer = plane_grid(PLANES["axial"], spacing_mm=0.9, multiple=4)
    assert finer.size == (60, 80, 1)
    edge = finer.index_to_point([-0.5, -0.5, 0])
    np.testing.assert_allclose(edge, PLANES["axial"].index_to_point([-0.5, -0.5, 0]))


def test_extras_and_the_backward_map_reach_the_result():
    def extras(fixed, moving, found):
        members = torch.stack([fixed[0, 0] > 0.8, fixed[0, 0] < 0.35]).float()[None]
        return {
            "doubt": ExtraMap(torch.full_like(fixed, 0.5), title="Doubt", unit="voxels"),
            "structures": ExtraMap(members, "labels"),
            "seen": ExtraMap(moving, "image"),
            "carried": ExtraMap(found.displacement, "transform"),
        }

    def backward(fixed, moving, found):
        return Prediction(-found.displacement)

    pair = Pair(volume(), volume(seed=1), initial=Transform((START,)))
    result = register(Known(field, extras=extras, backward=backward), pair)
    found = {extra.name: extra for extra in result.extras}
    assert set(found) == {"doubt", "structures", "seen", "carried", "backward"}
    assert (found["doubt"].unit, found["doubt"].title) == ("mm", "Doubt")
    np.testing.assert_allclose(found["doubt"].value.array, 0.9, rtol=1e-5)
    assert isinstance(found["structures"].value, LabelMap) and found["structures"].value.labels == (1, 2)
    assert found["seen"].kind == "image"
    middle = GRID.center_mm[None]
    there = result.transform.apply(middle)
    assert np.abs(there - middle).max() > 1.5
    # The hump is flat in its middle: minus itself is its inverse there.
    np.testing.assert_allclose(found["backward"].value.apply(there), middle, atol=0.4)
    np.testing.assert_allclose(found["carried"].value.apply(middle), START.inverse().apply(there), atol=1e-3)


class Adapting(Known):
    """Learns a shift on the pair it is asked about."""

    adaptation_steps = 5

    def __init__(self):
        super().__init__(lambda shape, like: [DisplacementPart(torch.zeros(1, 3, *shape))])
        self.asked = []

    def adapted(self, fixed, moving, steps, check_cancelled):
        self.asked.append(steps)
        shift = torch.zeros(1, 3, 1, 1, 1, requires_grad=True)
        optimizer = torch.optim.SGD([shift], lr=0.5)
        for _ in range(steps):
            check_cancelled()
            optimizer.zero_grad()
            (shift - 1).square().sum().backward()
            optimizer.step()
        return Prediction(shift.expand(1, 3, *fixed.shape[2:]))


def test_adaptation_runs_with_gradients_and_can_be_chosen():
    pair, network = Pair(volume(), volume()), Adapting()
    moved = register(network, pair).transform.apply(GRID.center_mm) - GRID.center_mm
    np.testing.assert_allclose(moved, 1.8, atol=1e-3)
    register(network, pair, adaptation=0)
    register(network, pair, adaptation=2)
    assert network.asked == [5, 2]
    with pytest.raises(SettingsError, match="no test-time adaptation"):
        register(Known(field), pair, adaptation=3)


def test_the_memory_estimate_of_a_network_is_used():
    class Attention(Known):
        def memory_bytes(self, shape):
            return float(np.prod(shape)) ** 2

    network = Attention(field)
    assert forward_bytes(network, (4, 4, 4)) == 4096
    shape_at = {}

    def shape(factor):
        shape_at[factor] = tuple(int(np.ceil(16 / factor)) for _ in range(3))
        return shape_at[factor]

    factor = fitting_factor(shape, network, 1e6)
    assert forward_bytes(network, shape(factor)) <= 1e6
    assert forward_bytes(network, shape(factor / 1.25)) > 1e6
    assert fitting_factor(shape, network, 1e12) == 1


def test_extras_reach_the_files(tmp_path, monkeypatch):
    from DeepVsClassicRegLib.core.images.io import read_volume, write_volume
    from DeepVsClassicRegLib.core.job import Job
    from DeepVsClassicRegLib.core.result import Extra
    from DeepVsClassicRegLib.core.transforms.files import read_transform
    from DeepVsClassicRegLib.worker import registering

    original = registering.api.register

    def with_extras(pair, *arguments, **options):
        extras = (
            Extra("doubt", "Doubt", Volume(np.full(GRID.shape, 0.5), GRID), unit="mm"),
            Extra("backward", "Inverse", Transform((START.inverse(),)), "transform"),
        )
        return dataclasses.replace(original(pair, *arguments, **options), extras=extras)

    monkeypatch.setattr(registering.api, "register", with_extras)
    for side in ("fixed", "moving"):
        write_volume(volume(), tmp_path / f"{side}.nrrd")
    inputs = {"fixed": "fixed.nrrd", "moving": "moving.nrrd"}
    outputs = {"transform": "t.h5", "extras": "extra.nrrd"}
    job = Job(inputs=inputs, engine="linear", compute=Compute("cpu", 1), outputs=outputs, evaluate=False)
    answer = registering.register(job, tmp_path, Progress())
    assert [entry["name"] for entry in answer["extras"]] == ["doubt", "backward"]
    assert answer["files"]["extra:doubt"] == "extra_doubt.nrrd"
    assert read_volume(tmp_path / "out" / "extra_doubt.nrrd").array.mean() == 0.5
    assert read_transform(tmp_path / "out" / answer["files"]["extra:backward"]).affine is not None


def test_single_slices_go_through_the_whole_library(tmp_path):
    """With a model of plane images they are registered and measured, from a linear alignment in their plane."""
    import DeepVsClassicRegLib as dvc
    from DeepVsClassicRegLib.core.networks.catalogue import get_method
    from DeepVsClassicRegLib.core.networks.model_store import save_model

    settings = {"encoder": [4, 4], "decoder": [4, 4]}
    method = get_method("voxelmorph")
    network = method.network(method.info.settings(encoder=(4, 4), decoder=(4, 4)), dimensions=2)
    about = card("voxelmorph", settings=settings, dimensions=2, name="plane")
    save_model(tmp_path / "plane", about, network)
    grid = PLANES["sagittal"]
    labels = LabelMap((volume(grid).array > 0.6).astype(np.int32), grid)
    pair = Pair(volume(grid), volume(grid), fixed_labels=labels, moving_labels=labels)
    result = dvc.register(pair, "network", settings={"model": str(tmp_path / "plane")}, device="cpu", threads=1)
    found = grid.point_to_index(result.transform.apply(grid.points()))
    assert np.abs(found[..., 0]).max() < 1e-3, "a voxel leaves the plane"
    assert dvc.evaluate(pair, result).after["dice_mean"] > 0.99
