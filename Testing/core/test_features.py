"""Deformable registration by features (`similarity=features:MODEL`), and single slices in the engine `instance`."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from DeepVsClassicRegLib.core.api import register  # noqa: E402
from DeepVsClassicRegLib.core.engines.similarity_models import feature_model, is_features  # noqa: E402
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError  # noqa: E402
from DeepVsClassicRegLib.core.images.grid import Grid  # noqa: E402
from DeepVsClassicRegLib.core.images.volume import Volume  # noqa: E402
from DeepVsClassicRegLib.core.networks import model_store  # noqa: E402
from DeepVsClassicRegLib.core.networks.card import Card  # noqa: E402
from DeepVsClassicRegLib.core.networks.model_store import fresh_network, save_model  # noqa: E402
from DeepVsClassicRegLib.core.pair import Pair  # noqa: E402
from DeepVsClassicRegLib.core.transforms.transform import Transform  # noqa: E402

SETTINGS = {"widths": [4, 8], "noise": 0.0}


def write_features(folder, dimensions=2):
    """Random filters: a random projection of neighborhoods is a feature as well."""
    card = Card(
        name=folder.name, title="Features", summary="Random.", method="ssemnet", settings=SETTINGS, spacing_mm=1.0,
        size=(32, 32, 1 if dimensions == 2 else 32), dimensions=dimensions, kind="features",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_model(folder, card, fresh_network(card))
    return str(folder)


def blobs(points: np.ndarray) -> np.ndarray:
    rng, total = np.random.default_rng(7), np.zeros(points.shape[:-1])
    for center, radius in zip(rng.uniform(8, 40, (30, 2)), rng.uniform(2, 5, 30), strict=True):
        total += np.exp(-((points[..., :2] - center) ** 2).sum(-1) / radius**2)
    return (100 * total).astype(np.float32)


def bent(points: np.ndarray) -> np.ndarray:
    x, y = points[..., 0], points[..., 1]
    return points + np.stack([1.8 * np.sin(y / 9), 1.5 * np.cos(x / 10), 0 * x], axis=-1)


def pair_of(slices: int) -> tuple[Pair, np.ndarray]:
    grid = Grid((48, 48, slices), (1.0, 1.0, 1.0))
    truth = bent(grid.points())
    fixed, moving = Volume(blobs(truth), grid, "fixed"), Volume(blobs(grid.points()), grid, "moving")
    return Pair(fixed, moving, initial=Transform()), truth


def gain(slices: int, similarity: str) -> tuple[float, float]:
    """The part of the error that is left, and the longest component across the slices."""
    pair, truth = pair_of(slices)
    changes = {"similarity": similarity, "iterations": (30, 30, 20), "adapt": False}
    found = register(pair, "instance", settings=changes, device="cpu", threads=1)
    assert "torch" in found.diagnostics.versions
    grid = pair.fixed.grid
    moved = grid.points() + found.transform.displacement_on(grid).array_mm
    seen = pair.fixed.array > 30
    before, after = (np.linalg.norm(each - truth, axis=-1)[seen].mean() for each in (grid.points(), moved))
    return float(after / before), float(np.abs(moved - grid.points())[..., 2].max())


@pytest.mark.parametrize("similarity", ["lncc", "mind", "mi", "mse"])
def test_single_slices_are_registered_in_their_plane(similarity):
    left, across = gain(1, similarity)
    assert left < 0.5 and across == 0.0


def test_features_of_images_register_single_slices_and_volumes(tmp_path):
    model = write_features(tmp_path / "flat")
    assert gain(1, f"features:{model}")[0] < 0.5
    assert gain(9, f"features:{model}")[0] < 0.6


def test_features_of_volumes_register_volumes_only(tmp_path):
    model = write_features(tmp_path / "solid", dimensions=3)
    assert gain(9, f"features:{model}")[0] < 0.6
    with pytest.raises(RegistrationError, match="not of single slices"):
        gain(1, f"features:{model}")


def test_which_model_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(model_store, "user_models_folder", lambda: tmp_path)
    with pytest.raises(FileError, match="ssemnet"):
        feature_model()
    write_features(tmp_path / "flat")
    assert feature_model().card.name == "flat"
    write_features(tmp_path / "solid", dimensions=3)
    assert feature_model(dimensions=2).card.name == "flat"
    assert feature_model(dimensions=3).card.name == "solid"
    with pytest.raises(RegistrationError, match="kind 'error'"):
        feature_model("error-any")
    assert is_features("features:flat") and not is_features("metric:flat")
