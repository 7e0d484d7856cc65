"""The further outputs of the methods reach result, files and answer of a job by one path, in 3D and for slices."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import DeepVsClassicRegLib as dvc  # noqa: E402
from DeepVsClassicRegLib.core.device import Compute  # noqa: E402
from DeepVsClassicRegLib.core.errors import SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.images.grid import Grid  # noqa: E402
from DeepVsClassicRegLib.core.images.io import read_volume, write_volume  # noqa: E402
from DeepVsClassicRegLib.core.images.resample import warp_volume  # noqa: E402
from DeepVsClassicRegLib.core.images.volume import Volume  # noqa: E402
from DeepVsClassicRegLib.core.job import OUTPUTS, Job  # noqa: E402
from DeepVsClassicRegLib.core.networks.catalogue import get_method  # noqa: E402
from DeepVsClassicRegLib.core.networks.model_store import save_model  # noqa: E402
from DeepVsClassicRegLib.core.pair import Pair  # noqa: E402
from DeepVsClassicRegLib.core.progress import Progress  # noqa: E402
from DeepVsClassicRegLib.core.settings import to_json  # noqa: E402
from DeepVsClassicRegLib.core.transforms.files import read_transform, write_transform  # noqa: E402
from DeepVsClassicRegLib.core.transforms.transform import Transform  # noqa: E402
from DeepVsClassicRegLib.worker import registering  # noqa: E402
from testing_models import card  # noqa: E402

GRIDS = {
    3: Grid((24, 22, 20), (1.8,) * 3, (-20.0, 5.0, 3.0)),
    2: Grid((1, 30, 28), (4.0, 1.8, 1.8), (3.0, -4.0, 7.0), (0, 0, 1, 1, 0, 0, 0, 1, 0)),
}
# What each method adds; `uncertainty` has its own place in the result.
ADDED = {
    "krebs-cvae": ({}, {"uncertainty"}),
    "voxelmorph-diff": ({}, {"uncertainty"}),
    "istn": ({}, {"extra:structures_fixed", "extra:structures_warped"}),
    "cooperative": ({}, {"extra:atypical"}),
    "quicksilver": ({"channels": 2}, {"uncertainty", "extra:momentum", "extra:backward"}),
}


def body(grid: Grid, seed: int, radius: float = 12.0) -> Volume:
    """A soft ball off the middle of a grid."""
    center = grid.center_mm + np.random.default_rng(seed).uniform(-2, 2, 3)
    apart = np.linalg.norm(grid.points() - center, axis=-1)
    return Volume((100 / (1 + np.exp(apart - radius))).astype(np.float32), grid, f"body {seed}")


def write_model(folder, name, dimensions, changes):
    """Write a model with random weights that are large enough to deform."""
    torch.manual_seed(0)
    method = get_method(name)
    settings = method.info.settings(**changes)
    network = method.network(settings, dimensions=dimensions).eval()
    if name == "istn":
        network.draws_structures.fill_(True)  # as after a training with labels
    if name == "krebs-cvae":
        network.exit.weight.data.mul_(20000)
        network.log_variance.bias.data.fill_(0.0)
    save_model(folder, card(name, settings=to_json(settings), dimensions=dimensions, spacing_mm=1.8), network)
    return folder


def job_of(tmp_path, model, dimensions, **changes):
    """Write two volumes and their start, and return a job that registers them with a model."""
    grid = GRIDS[dimensions]
    for number, side in enumerate(("fixed", "moving")):
        write_volume(body(grid, number), tmp_path / f"{side}.nrrd")
    write_transform(Transform(), tmp_path / "start.h5")
    inputs = {"fixed": "fixed.nrrd", "moving": "moving.nrrd", "initial": "start.h5"}
    settings = {"model": str(model), "samples": 4, **changes}
    compute = Compute("cpu", 1)
    outputs = {role: OUTPUTS[role] for role in ("transform", "uncertainty", "extras", "report")}
    return Job(inputs=inputs, engine="network", settings=settings, compute=compute, outputs=outputs, evaluate=False)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ADDED)
def test_extra_outputs_of_a_method_are_in_files_and_result(tmp_path, name, dimensions):
    changes, wanted = ADDED[name]
    model = write_model(tmp_path / "model", name, dimensions, changes)
    answer = registering.register(job_of(tmp_path, model, dimensions), tmp_path, Progress())
    added = {role for role in answer["files"] if role == "uncertainty" or role.startswith("extra:")}
    assert added == wanted
    assert {entry["name"] for entry in answer["extras"]} == {role[6:] for role in wanted if role != "uncertainty"}
    for role in wanted:
        path = tmp_path / "out" / answer["files"][role]
        if role == "extra:backward":
            assert len(read_transform(path).parts) >= 1
            continue
        volume = read_volume(path)
        assert np.isfinite(volume.array).all() and volume.array.max() > 0
        assert (1 in volume.grid.size) == (dimensions == 2)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_deformation_is_transferred_to_another_subject(tmp_path, dimensions):
    """Of another size and place; the map lies on the grid of that image, and makes the deformed one."""
    grid = GRIDS[dimensions]
    size = tuple(n if n == 1 else n + 9 for n in grid.size)
    elsewhere = Grid(size, grid.spacing_mm, tuple(np.array(grid.origin_mm) + 300), grid.direction)
    other = body(elsewhere, 5, radius=16.0)
    write_volume(other, tmp_path / "other.nrrd")
    model = write_model(tmp_path / "model", "krebs-cvae", dimensions, {})
    job = job_of(tmp_path, model, dimensions, transfer_to=str(tmp_path / "other.nrrd"))
    answer = registering.register(job, tmp_path, Progress())
    assert [entry["kind"] for entry in answer["extras"]] == ["transform", "image"]
    out = tmp_path / "out"
    transform = read_transform(out / answer["files"]["extra:transferred"])
    points = elsewhere.points().reshape(-1, 3)
    assert np.linalg.norm(transform.apply(points) - points, axis=-1).max() > 0.3
    image = read_volume(out / answer["files"]["extra:transferred_image"])
    assert image.grid.same_as(elsewhere)
    np.testing.assert_allclose(image.array, warp_volume(other, elsewhere, transform).array, atol=0.5)
    assert np.abs(image.array - other.array).max() > 1

    # Transferred to the moving volume itself it is the deformation of the pair.
    pair = Pair(read_volume(tmp_path / "fixed.nrrd"), read_volume(tmp_path / "moving.nrrd"), initial=Transform())
    settings = {"model": str(model), "transfer_to": str(tmp_path / "moving.nrrd")}
    result = dvc.register(pair, "network", settings=settings, device="cpu", threads=1)
    same = {extra.name: extra.value for extra in result.extras}["transferred"]
    inside = grid.points().reshape(-1, 3)[body(grid, 1).array.ravel() > 50]
    moves = [one.apply(inside) - inside for one in (same, result.transform)]
    assert np.abs(moves[1]).max() > 0.3
    if dimensions == 2:  # the grid of a volume also depends on the foreground of the fixed one
        np.testing.assert_allclose(moves[0], moves[1], atol=0.02)
    assert np.corrcoef(moves[0].ravel(), moves[1].ravel())[0, 1] > 0.9


def test_what_cannot_be_transferred(tmp_path):
    grid = GRIDS[3]
    pair = Pair(body(grid, 0), body(grid, 1), initial=Transform())
    write_volume(body(GRIDS[2], 2), tmp_path / "slice.nrrd")
    for name, message in (("voxelmorph", "cannot transfer"), ("krebs-cvae", "needs a volume")):
        settings = {"model": str(write_model(tmp_path / name, name, 3, {}))}
        settings["transfer_to"] = str(tmp_path / "slice.nrrd")
        with pytest.raises(SettingsError, match=message):
            dvc.register(pair, "network", settings=settings, device="cpu", threads=1)
