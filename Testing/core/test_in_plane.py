"""2D images and single slices: every engine registers them in their plane, or refuses them clearly; color images."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.engines.catalogue import ENGINES, get_engine
from DeepVsClassicRegLib.core.engines.in_plane import InPlane
from DeepVsClassicRegLib.core.engines.registration import register
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.images.channels import Channels
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_channels, read_labels, read_volume, write_channels, write_volume
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

# Fewer iterations than the defaults.
FASTER = {
    "linear": {"kind": "rigid"},
    "elastix": {"iterations": 150},
    "sitk-bspline": {"metric": "mean-squares", "iterations": (8, 8, 8), "grid_spacing_mm": 12},
    "ants": {"iterations": (30, 30, 20, 10)},
    "fireants": {"iterations": (60, 40, 20)},
    "instance": {"iterations": (30, 30, 20)},
}
HEAVY = {"elastix", "sitk-bspline", "ants", "fireants", "niftyreg", "convexadam", "learned-metric", "network+refine"}
RIGID = ("linear", "agent")
TURN = np.deg2rad(8.0)
POSE = Affine(np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]]), [4.0, -3.0, 0])
EDGE = 1.2


def shown(points):
    """Return smooth blobs as a function of x and y."""
    rng = np.random.default_rng(3)
    total = np.zeros(points.shape[:-1])
    for x, y, radius, height in zip(
        *rng.uniform(-20, 20, (2, 30)), rng.uniform(3, 8, 30), rng.uniform(0.3, 1, 30), strict=True
    ):
        total += height * np.exp(-((points[..., 0] - x) ** 2 + (points[..., 1] - y) ** 2) / radius**2)
    return (100 * total).astype(np.float32)


def bent(points):
    """Return the points moved in the plane, by up to 1.5 mm and a rigid pose."""
    x, y, z = np.moveaxis(points, -1, 0)
    return POSE.apply(np.stack([x + 1.5 * np.sin(y / 10), y + 1.5 * np.cos(x / 9), z], axis=-1))


def slices(truth=bent, height=0.0) -> Pair:
    """Return two slices on different grids, the moving one at another height."""
    fixed = Grid((56, 52, 1), (EDGE, EDGE, 3.0), (-33, -31, 0))
    moving = Grid((60, 56, 1), (1.1, EDGE, 3.0), (-33, -33, height))
    return Pair(Volume(shown(truth(fixed.points())), fixed, "fixed"), Volume(shown(moving.points()), moving, "moving"))


def error(pair: Pair, transform: Transform, truth) -> float:
    """Return the mean error in the plane, mm, where the fixed slice shows something."""
    points = pair.fixed.grid.points()
    moved = points + transform.displacement_on(pair.fixed.grid).array_mm
    seen = pair.fixed.array > 15
    return float(np.linalg.norm((moved - truth(points))[..., :2], axis=-1)[seen].mean())


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in HEAVY else []) for n in ENGINES])
def test_every_engine_registers_slices_in_their_plane_or_refuses_them(name):
    info = get_engine(name).info
    if info.missing():
        pytest.skip(f"engine '{name}' needs {info.missing()[0].name}")
    truth = POSE.apply if name in RIGID else bent
    pair = slices(truth)
    try:
        found = register(pair, name, settings=FASTER.get(name, {}), device="cpu", threads=1)
    except FileError as missing:  # of a method without a bundled model
        pytest.skip(missing.message)
    except RegistrationError as refusal:
        assert "slice" in refusal.message and refusal.hint, f"{refusal} is no clear refusal"
        assert not (info.single_slices or info.slabs) or name.startswith("network")
        return
    before, after = error(pair, Transform(), truth), error(pair, found.transform, truth)
    assert after < 0.3 * before
    across = found.transform.displacement_on(pair.fixed.grid).array_mm[..., 2]
    assert np.abs(across).max() < 1e-4, "it moved out of the plane"


def test_slices_anywhere_in_any_plane():
    """The same pair as a sagittal slice elsewhere, with the moving slice 5 mm beside it."""
    pair = slices(bent, height=5.0)
    turned = Affine(np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]), [40.0, -7.0, 11.0])

    def sagittal(volume: Volume) -> Volume:
        """Turn a slice and store it with the thin axis first."""
        grid = volume.grid
        axes = (turned.matrix @ grid.axes)[:, [2, 0, 1]]
        origin = tuple(float(v) for v in turned.apply(grid.origin_mm))
        size = (grid.size[2], grid.size[0], grid.size[1])
        spacing = (grid.spacing_mm[2], grid.spacing_mm[0], grid.spacing_mm[1])
        return Volume(volume.array.transpose(1, 2, 0), Grid(size, spacing, origin, tuple(axes.ravel())), volume.name)

    other = Pair(sagittal(pair.fixed), sagittal(pair.moving))
    plain, moved = (register(p, "sitk-demons", threads=1).transform for p in (pair, other))
    points = pair.fixed.grid.points()[:, 10:40:6, 10:40:6]
    expected = turned.apply(points + 0)
    assert np.allclose(plain.apply(points)[..., 2], 5.0, atol=1e-3), "the moving plane is not reached"
    assert np.allclose(moved.apply(expected), turned.apply(plain.apply(points)), atol=0.3)
    assert any("5 mm apart" in note for note in InPlane(pair).notes())
    tilted = Affine.about(np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]), [0, 0, 0.0])
    grid = pair.moving.grid
    oblique = Grid(grid.size, grid.spacing_mm, grid.origin_mm, tuple((tilted.matrix @ grid.axes).ravel()))
    notes = InPlane(Pair(pair.fixed, Volume(pair.moving.array, oblique))).notes()
    assert "37 degrees" in notes[0]


def test_a_slice_and_a_volume_are_refused():
    pair = slices()
    thick = Volume(np.repeat(pair.moving.array, 12, axis=0), Grid((60, 56, 12), (1.1, 1.2, 3.0), (-33, -33, 0)))
    for one in (Pair(pair.fixed, thick), Pair(thick, pair.moving)):
        with pytest.raises(GeometryError, match="single slice"):
            register(one, "sitk-demons")


def color(tmp_path, ending=".png"):
    """Write a color picture and return its path and its channels."""
    pair = slices()
    gray = np.clip(pair.moving.array, 0, 255).astype(np.uint8)
    array = np.stack([gray, 255 - gray, gray // 2], axis=-1)
    return write_channels(Channels(array, pair.moving.grid), tmp_path / f"photo{ending}"), array


@pytest.mark.parametrize("ending", [".png", ".tif", ".nii.gz", ".nrrd"])
def test_color_images_are_read_by_luminance_or_channel(tmp_path, ending):
    path, array = color(tmp_path, ending)
    volume = read_volume(path)
    assert volume.array.shape == array.shape[:3]
    assert np.allclose(volume.array, array @ np.array([0.299, 0.587, 0.114]), atol=0.01)
    assert any("luminance" in note for note in volume.notes)
    assert np.array_equal(read_volume(f"{path}#channel=1").array, array[..., 1])
    assert np.array_equal(read_channels(path).array, array)
    with pytest.raises(RegistrationError, match="no channel '3'"):
        read_volume(f"{path}#channel=3")
    with pytest.raises(RegistrationError, match="not a segmentation"):
        read_labels(path)


def test_vector_images_need_a_channel(tmp_path):
    array = np.random.default_rng(0).normal(size=(9, 9, 9, 3)).astype(np.float32)
    path = write_channels(Channels(array, Grid((9, 9, 9))), tmp_path / "field.nii.gz")
    with pytest.raises(RegistrationError, match="3 components per voxel"):
        read_volume(path)
    assert np.array_equal(read_volume(f"{path}#channel=2").array, array[..., 2])


def test_two_dimensional_files(tmp_path):
    array = np.arange(20 * 12, dtype=np.uint8).reshape(12, 20)
    image = sitk.GetImageFromArray(array)
    for name, edge, thickness in (("a.png", 1.0, 1.0), ("b.nii.gz", 0.5, 1.0), ("c.mha", 0.5, 0.5)):
        image.SetSpacing((edge, edge))
        sitk.WriteImage(image, str(tmp_path / name))
        volume = read_volume(tmp_path / name)
        assert volume.grid.size == (20, 12, 1) and volume.grid.spacing_mm == pytest.approx((edge, edge, thickness)), (
            name
        )
        assert np.array_equal(volume.array[0], array), name
        assert any("2D" in note for note in volume.notes), name
    written = write_volume(volume, tmp_path / "out.png")
    assert read_volume(written).array.max() == 255
    with pytest.raises(FileError, match="holds one slice"):
        write_volume(Volume(np.zeros((3, 4, 5), np.float32), Grid((5, 4, 3))), tmp_path / "bad.png")
