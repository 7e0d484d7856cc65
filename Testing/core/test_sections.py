"""Serial sections from files, and as training pairs."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError, SettingsError
from DeepVsClassicRegLib.core.images.channels import Channels, luminance
from DeepVsClassicRegLib.core.images.io import read_volume, write_channels, write_volume
from DeepVsClassicRegLib.core.images.sections import Sections, read_sections, sliced_along
from DeepVsClassicRegLib.core.images.volume import Volume
from testing_grids import oblique_grid


def write_plane(path, array, spacing=None):
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 3)
    if spacing is not None:
        image.SetSpacing((spacing, spacing))
    sitk.WriteImage(image, str(path))


def plane(number, shape=(10, 12)):
    array = np.zeros(shape, np.uint8)
    array[2:5, 3:9] = 10 * number
    return array


def test_images_are_sorted_by_their_numbers(tmp_path):
    for number in (10, 9, 1):
        write_plane(tmp_path / f"section{number}.png", plane(number))
    found = read_sections(tmp_path, spacing_mm=0.5, thickness_mm=2.0)
    assert found.names == ("section1.png", "section9.png", "section10.png")
    assert found.volume.array[:, 3, 5].tolist() == [10, 90, 100]
    assert found.volume.grid.spacing_mm == (0.5, 0.5, 2.0) and found.volume.grid.size == (12, 10, 3)


def test_color_and_different_sizes(tmp_path):
    write_plane(tmp_path / "a.png", np.full((10, 12, 3), (100, 50, 200), np.uint8))
    write_plane(tmp_path / "b.png", plane(3, (14, 12)))
    found = read_sections(tmp_path)
    assert found.volume.grid.size == (12, 14, 2) and "different sizes" in found.volume.notes[0]
    assert found.volume.array[0] == pytest.approx(0.299 * 100 + 0.587 * 50 + 0.114 * 200)


def test_pixel_sizes_come_from_the_files_when_all_have_the_same(tmp_path):
    for number in (1, 2):
        write_plane(tmp_path / f"{number}.mha", plane(number), spacing=0.25)
    assert read_sections(tmp_path).volume.grid.spacing_mm == (0.25, 0.25, 0.25)
    write_plane(tmp_path / "3.mha", plane(3), spacing=0.5)
    with pytest.raises(SettingsError, match="pixel sizes"):
        read_sections(tmp_path)
    assert read_sections(tmp_path, spacing_mm=0.3).volume.grid.spacing_mm[0] == 0.3


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_every_axis_of_a_volume_can_be_that_of_the_sections(tmp_path, axis):
    grid = oblique_grid((7, 6, 5), (1.0, 1.5, 2.0), seed=3, left_handed=True)
    volume = Volume(np.random.default_rng(1).random(grid.shape, np.float32), grid)
    write_volume(volume, tmp_path / "v.nrrd")
    found = read_sections(tmp_path / "v.nrrd", axis=axis).volume
    assert found.grid.size[2] == grid.size["ijk".index(axis)]
    # Every voxel is where it was in the patient.
    at = volume.grid.point_to_index(found.grid.points()).round().astype(int)
    assert np.array_equal(found.array, volume.array[at[..., 2], at[..., 1], at[..., 0]])
    assert sliced_along(volume, "k") is volume


def test_what_are_no_sections_is_refused(tmp_path):
    write_plane(tmp_path / "only.png", plane(1))
    with pytest.raises(GeometryError, match="at least 2"):
        read_sections(tmp_path)
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(FileError, match=r"torn\.png"):
        read_sections(tmp_path)
    with pytest.raises(SettingsError, match="axis"):
        read_sections(tmp_path, axis="x")
    volume = Volume(np.zeros((3, 4, 4), np.float32), oblique_grid((4, 4, 3), (1, 1, 1), seed=1, left_handed=False))
    with pytest.raises(RegistrationError, match="names"):
        Sections(volume, ("one",))


def training_source(path, **changes):
    pytest.importorskip("torch")
    from DeepVsClassicRegLib.core.training.sections_source import SectionsSource

    options = {"seed": 1, "size": (16, 16), "spacing_mm": 1.0, "batch": 3, "validation_pairs": 2, **changes}
    return SectionsSource(path, **options)


def write_stack(folder, count=12):
    folder.mkdir()
    for number in range(1, count + 1):
        write_plane(folder / f"s{number}.png", plane(number, (16, 16)))
    return folder


def level(image):
    """Which section it is: the sections differ in position of the step only after normalization."""
    return image.flatten(1).sum(1)


def test_training_pairs_are_neighbors_and_never_those_of_the_validation(tmp_path):
    torch = pytest.importorskip("torch")
    folder = tmp_path / "stack"
    folder.mkdir()
    for number in range(12):
        array = np.zeros((16, 16), np.uint8)
        array[2 : 3 + number, 3:12] = 200
        write_plane(folder / f"s{number}.png", array)
    source = training_source(folder)
    heights = lambda image: (image[:, 0, :, 7] > 0.5).sum(1)  # noqa: E731
    held = set()
    for batch in source.validation():
        held |= {
            tuple(sorted(pair))
            for pair in zip(heights(batch.fixed).tolist(), heights(batch.moving).tolist(), strict=True)
        }
    assert len(held) == 2
    seen = set()
    for step in range(40):
        batch = source.sample(step)
        assert batch.fixed.shape == (3, 1, 16, 16) and batch.fixed.min() >= 0 and batch.fixed.max() <= 1
        assert torch.equal((heights(batch.fixed) - heights(batch.moving)).abs(), torch.ones(3, dtype=torch.long))
        seen |= {
            tuple(sorted(pair))
            for pair in zip(heights(batch.fixed).tolist(), heights(batch.moving).tolist(), strict=True)
        }
    assert not seen & held and len(seen) >= 7
    assert torch.equal(source.sample(5).fixed, training_source(folder).sample(5).fixed)
    assert source.describe()["sections"] == 12 and len(source.domain_examples()) > 0


def test_volumes_of_a_folder_are_separate_stacks(tmp_path):
    grid = oblique_grid((16, 16, 5), (1.0, 1.0, 3.0), seed=3, left_handed=False)
    for name in ("a", "b"):
        write_volume(Volume(np.random.default_rng(1).random(grid.shape, np.float32), grid), tmp_path / f"{name}.nrrd")
    assert len(training_source(tmp_path).pairs) == 8
    assert read_volume(tmp_path / "a.nrrd").grid.size == (16, 16, 5)


def test_what_cannot_be_trained_on_is_refused(tmp_path):
    folder = write_stack(tmp_path / "few", count=3)
    with pytest.raises(RegistrationError, match="pairs of neighboring sections"):
        training_source(folder)
    with pytest.raises(SettingsError, match="2 sizes"):
        training_source(write_stack(tmp_path / "more"), size=(16, 16, 16))


def test_a_model_is_trained_on_sections(tmp_path):
    """`dvcreg train --method ssemnet --data sections:FOLDER`, and the model folder it makes."""
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from DeepVsClassicRegLib.core.networks.card import read_card
    from DeepVsClassicRegLib.core.training.config import DataSettings, TrainingConfig, TrainSettings
    from DeepVsClassicRegLib.core.training.loop import train
    from DeepVsClassicRegLib.core.training.source_factory import make_source

    data = DataSettings(f"sections:{write_stack(tmp_path / 'stack')}", (16, 16), 1.0, validation=2)
    assert data.generated and data.has_own_images
    with pytest.raises(SettingsError, match="supervision"):
        make_source(data, seed=0, supervision="error")
    settings = {"widths": [2], "compared": "all", "noise": 0.0}
    config = TrainingConfig("ssemnet", settings, "none", {}, TrainSettings(steps=4, validate_every=2))
    outcome = train(config, make_source(data, seed=0), tmp_path / "out", register=lambda *_: pytest.fail("no field"))
    card = read_card(outcome.model)
    assert outcome.finished and card.kind == "features" and card.dimensions == 2
    assert card.licence == "that of the sections" and "explained" in card.validation


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_the_channels_of_color_volumes_are_kept(tmp_path, axis):
    array = np.random.default_rng(2).integers(0, 255, (5, 6, 7, 3), np.uint8)
    grid = oblique_grid((7, 6, 5), (1.0, 1.5, 2.0), seed=3)
    write_channels(Channels(array, grid), tmp_path / "c.nrrd")
    found = read_sections(tmp_path / "c.nrrd", axis=axis)
    assert found.volume.array == pytest.approx(luminance(found.channels), abs=1e-3)
    chosen = read_sections(f"{tmp_path / 'c.nrrd'}#channel=2", axis=axis)
    assert np.array_equal(chosen.volume.array, chosen.channels[..., 2])


def test_the_channels_of_color_images_are_kept(tmp_path):
    for number, size in ((1, 12), (2, 14)):
        write_plane(tmp_path / f"{number}.png", np.full((10, size, 3), (10 * number, 50, 200), np.uint8))
    found = read_sections(tmp_path)
    assert found.channels.shape == (2, 10, 14, 3) and found.channels[1, 0, 0].tolist() == [20, 50, 200]
    write_plane(tmp_path / "3.png", plane(1))
    assert read_sections(tmp_path).channels is None, "one of the images is gray"
