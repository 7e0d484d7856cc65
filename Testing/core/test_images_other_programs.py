"""Volumes written by other libraries on random grids are read where those libraries say the voxels lie."""

from __future__ import annotations

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.images.io import read_volume
from dicom_samples import a_slice, save

RAS = np.array([-1.0, -1.0, 1.0])
SEEDS = range(8)


def random_grid(seed, *, left_handed=None):
    """Return size, spacing, origin and axes (columns, LPS): oblique, permuted, of either hand."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0][:, rng.permutation(3)]
    hand = seed % 2 == 1 if left_handed is None else left_handed
    if (np.linalg.det(axes) < 0) != hand:
        axes[:, 2] *= -1
    return tuple(rng.integers(4, 9, 3).tolist()), rng.uniform(0.3, 4, 3), rng.normal(size=3) * 100, axes


def content(seed, size):
    """Return an array indexed (i, j, k)."""
    return np.random.default_rng(seed).integers(-500, 1500, size).astype(np.int16)


def check(volume, array, to_point, tolerance_mm=1e-3):
    """Check every voxel: the value, and the place that `to_point` gives for its index in LPS."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in array.shape), indexing="ij"), axis=-1)
    theirs = np.apply_along_axis(to_point, -1, index)
    nearest = np.rint(volume.grid.point_to_index(theirs)).astype(int)
    assert np.abs(volume.grid.index_to_point(nearest) - theirs).max() < tolerance_mm
    i, j, k = np.moveaxis(nearest, -1, 0)
    assert volume.array.size == array.size
    assert np.array_equal(volume.array[k, j, i], array)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "ending"),
    [(nib.Nifti1Image, "nii.gz"), (nib.Nifti2Image, "nii"), (nib.Nifti1Pair, "hdr"), (nib.MGHImage, "mgz")],
)
def test_nibabel(tmp_path, kind, ending, seed):
    size, spacing, origin, axes = random_grid(seed)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = RAS[:, None] * axes * spacing, RAS * origin
    image = kind(content(seed, size), affine)
    if seed % 3 == 0 and kind is not nib.MGHImage:
        image.set_qform(affine, 1)
        image.set_sform(None, 0)
    nib.save(image, tmp_path / f"a.{ending}")
    theirs = nib.load(tmp_path / f"a.{ending}")
    volume = read_volume(tmp_path / f"a.{ending}")
    check(volume, np.asarray(theirs.dataobj), lambda index: RAS * nib.affines.apply_affine(theirs.affine, index))
    assert volume.notes == ()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ending", ["nrrd", "mha", "nii.gz"])
def test_simpleitk(tmp_path, ending, seed):
    size, spacing, origin, axes = random_grid(seed)
    image = sitk.GetImageFromArray(content(seed, size).transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(axes.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / f"a.{ending}"))
    theirs = sitk.ReadImage(str(tmp_path / f"a.{ending}"))
    array = sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)
    volume = read_volume(tmp_path / f"a.{ending}")
    check(volume, array, lambda index: theirs.TransformIndexToPhysicalPoint(index.tolist()))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior"])
def test_pynrrd(tmp_path, space, seed):
    size, spacing, origin, axes = random_grid(seed)
    signs = np.array([1 if word in ("left", "posterior", "superior") else -1 for word in space.split("-")])
    header = {
        "space": space,
        "space directions": (signs[:, None] * axes * spacing).T,
        "space origin": signs * origin,
        "kinds": ["domain"] * 3,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), content(seed, size), header)
    array, found = nrrd.read(str(tmp_path / "a.nrrd"))
    steps, start = found["space directions"].T, found["space origin"]
    check(read_volume(tmp_path / "a.nrrd"), array, lambda index: signs * (steps @ index + start))


@pytest.mark.parametrize("seed", SEEDS)
def test_pydicom(tmp_path, seed):
    size, spacing, origin, axes = random_grid(seed)
    array = content(seed, size)
    for number in np.random.default_rng(seed).permutation(size[2]):
        found = a_slice(
            origin + axes[:, 2] * spacing[2] * number,
            cosines=[*axes[:, 0], *axes[:, 1]],
            pixels=array[:, :, number].T,
            PixelSpacing=[float(f"{spacing[1]:.9g}"), float(f"{spacing[0]:.9g}")],
            InstanceNumber=int(number) + 1,
        )
        save(found, tmp_path / "series" / f"{number}.dcm")
    # The standard's own formula (PS3.3 C.7.6.2.1.1), from the position of each slice.
    check(read_volume(tmp_path / "series"), array, lambda index: origin + axes @ (spacing * index), 1e-2)
