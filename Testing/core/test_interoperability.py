"""Files written here have the same meaning in other tools, and orientation never changes a result."""

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.api import register
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_volume, write_volume
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.transforms.files import write_transform
from DeepVsClassicRegLib.core.transforms.transform import Affine
from testing_grids import oblique_grid, rotation


@pytest.fixture(scope="module")
def phantom():
    """An oblique, left-handed, anisotropic pair on differing grids with intensities 0 to about 1000."""
    fixed = oblique_grid((30, 26, 24), (6.4, 7.4, 8.0))
    moving = oblique_grid((32, 30, 22), (6.0, 6.4, 8.7), seed=4, left_handed=False)
    return make_phantom("head", fixed_grid=fixed, moving_grid=moving)


def inside(volume):
    """Voxels well inside the grid, where no tool's border rule matters."""
    mask = np.zeros(volume.grid.shape, bool)
    mask[3:-3, 3:-3, 3:-3] = True
    return mask


def test_sitk_applies_the_h5_identically(tmp_path, phantom):
    pair = phantom.pair
    path = write_transform(phantom.truth, tmp_path / "t.h5")
    fixed, moving = (write_volume(v, tmp_path / f"{v.name}.nii.gz") for v in (pair.fixed, pair.moving))
    image = sitk.Resample(sitk.ReadImage(str(moving)), sitk.ReadImage(str(fixed)), sitk.ReadTransform(str(path)))
    ours = warp_volume(pair.moving, pair.fixed.grid, phantom.truth, fill=0.0)
    assert np.abs(sitk.GetArrayFromImage(image) - ours.array).max() < 1.0


@pytest.mark.parametrize("ending", ["h5", "nii.gz"])
def test_ants_applies_our_files_identically(tmp_path, phantom, ending):
    ants = pytest.importorskip("ants")
    pair = phantom.pair
    path = write_transform(phantom.truth, tmp_path / f"t.{ending}", grid=pair.fixed.grid)
    fixed, moving = (write_volume(v, tmp_path / f"{v.name}.nii.gz") for v in (pair.fixed, pair.moving))
    images = [ants.image_read(str(name)) for name in (fixed, moving)]
    out = ants.apply_transforms(*images, transformlist=[str(path)], interpolator="linear")
    out.to_filename(str(tmp_path / "ants.nii.gz"))
    theirs = read_volume(tmp_path / "ants.nii.gz").array
    ours = warp_volume(pair.moving, pair.fixed.grid, phantom.truth, fill=0.0).array
    assert np.abs(theirs - ours)[inside(pair.fixed)].max() < 1.0


def test_ants_maps_points_identically(tmp_path, phantom):
    ants = pytest.importorskip("ants")
    pandas = pytest.importorskip("pandas")
    path = write_transform(phantom.truth, tmp_path / "t.h5")
    points = phantom.pair.fixed_points
    frame = pandas.DataFrame(points, columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, frame, [str(path)])[["x", "y", "z"]].to_numpy()
    assert np.abs(moved - phantom.truth.apply(points)).max() < 0.01


def test_an_oblique_pair_registers_like_its_canonical_copy():
    """The same voxels under two different headers: the result must be the same up to the headers."""
    canonical = make_phantom("head", size=32)
    pair = canonical.pair
    turn = Affine(rotation(2, left_handed=True), np.array([40.0, -25.0, 10.0]))

    def turned(item):
        axes = turn.matrix @ item.grid.axes
        grid = Grid(
            item.grid.size, item.grid.spacing_mm, tuple(turn.apply(item.grid.origin_mm)), tuple(axes.ravel().tolist())
        )
        return type(item)(item.array, grid, name=item.name)

    oblique = pair.replace(
        fixed=turned(pair.fixed),
        moving=turned(pair.moving),
        fixed_labels=turned(pair.fixed_labels),
        moving_labels=turned(pair.moving_labels),
        fixed_points=turn.apply(pair.fixed_points),
        moving_points=turn.apply(pair.moving_points),
    )
    scores = []
    for one in (pair, oblique):
        result = register(one, engine="sitk-demons", threads=1)
        scores.append(evaluate(one, result, measures=("overlap", "landmarks")).after)
    assert scores[1]["dice_mean"] == pytest.approx(scores[0]["dice_mean"], abs=0.01)
    assert scores[1]["tre_mm_mean"] == pytest.approx(scores[0]["tre_mm_mean"], abs=0.2)
