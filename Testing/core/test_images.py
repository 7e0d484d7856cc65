"""Volumes, files and the checks before any compute."""

import gzip
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.files import CHUNK, write_gzip
from DeepVsClassicRegLib.core.images import io
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.intensity import with_dark_background
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume, stem, write_volume
from DeepVsClassicRegLib.core.images.points import read_landmarks, write_points
from DeepVsClassicRegLib.core.images.resample import sampled_on, warp_labels, warp_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair, check_pair
from DeepVsClassicRegLib.core.transforms.transform import Affine


def ramp(grid, name="ramp"):
    """A volume that is linear in physical space, so that any exact resampling is known."""
    return Volume(grid.points() @ [1.0, 2.0, 3.0], grid, name)


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_volumes_survive_a_file(tmp_path, grid, ending):
    volume = ramp(grid)
    again = read_volume(write_volume(volume, tmp_path / f"ä b.{ending}"))
    assert again.grid.same_as(grid)
    assert np.allclose(again.array, volume.array)
    assert again.name == "ä b"


def test_nifti_files_are_one_gzip_stream_of_several_parts(tmp_path):
    """Other programs must read them, so they are unpacked by zlib and read by ITK here."""
    random = np.random.default_rng(0)
    volume = Volume(random.standard_normal((40, 100, 100)).astype(np.float32), Grid((100, 100, 40), (1, 2, 3)))
    path = write_volume(volume, tmp_path / "v.nii.gz")
    stream = zlib.decompressobj(wbits=31)
    plain = stream.decompress(path.read_bytes())
    assert stream.eof and not stream.unused_data
    assert len(plain) == 352 + volume.array.nbytes > CHUNK
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), volume.array)
    assert [file.name for file in tmp_path.iterdir()] == ["v.nii.gz"]


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_files_of_any_length_are_compressed(tmp_path, size):
    content = np.random.default_rng(size).integers(0, 9, size, dtype=np.uint8).tobytes()
    (tmp_path / "a").write_bytes(content)
    assert gzip.decompress(write_gzip(tmp_path / "a", tmp_path / "a.gz", threads=3).read_bytes()) == content


@pytest.mark.parametrize(("highest", "kind"), [(3, "8-bit"), (300, "16-bit"), (70000, "32-bit")])
def test_labels_survive_a_file_in_the_smallest_type(tmp_path, highest, kind):
    labels = LabelMap(np.arange(27).reshape(3, 3, 3) * (highest // 26), Grid((3, 3, 3)))
    path = write_volume(labels, tmp_path / "labels.nrrd")
    assert np.array_equal(read_labels(path).array, labels.array)
    assert kind in sitk.ReadImage(str(path)).GetPixelIDTypeAsString()


def test_dicom_folder_is_read(tmp_path):
    image = sitk.GetImageFromArray(np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7))
    image.SetSpacing((0.5, 0.7, 2.0))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(5):
        piece = image[:, :, z]
        for tag, value in {
            "0008|0060": "CT",
            "0020|000e": "1.2.3",
            "0020|000d": "1.2",
            "0008|0018": f"1.2.3.{z}",
            "0020|0032": f"0\\0\\{2 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(z),
        }.items():
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(tmp_path / f"{z}.dcm"))
        writer.Execute(piece)
    volume = read_volume(tmp_path)
    assert volume.grid.size == (7, 6, 5)
    assert volume.grid.spacing_mm == pytest.approx((0.5, 0.7, 2.0))
    assert volume.array[4, 5, 6] == 5 * 6 * 7 - 1
    with pytest.raises(FileError, match="No DICOM"):
        read_volume(tmp_path.parent)


def test_nan_counts_as_not_measured_or_is_refused(tmp_path):
    array = np.ones((4, 4, 4), np.float32)
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2] = np.nan, np.inf, -5
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "nan.nrrd"))
    repaired = read_volume(tmp_path / "nan.nrrd")
    assert repaired.array[0, 0, 0] == repaired.array[1, 1, 1] == -5
    assert np.array_equal(repaired.valid, np.isfinite(array))
    assert len(repaired.notes) == 1
    assert "2 voxels" in repaired.notes[0]
    with pytest.raises(RegistrationError, match="not finite"):
        read_volume(tmp_path / "nan.nrrd", repair=False)
    sitk.WriteImage(sitk.GetImageFromArray(np.full((4, 4, 4), np.nan, np.float32)), str(tmp_path / "all.nrrd"))
    with pytest.raises(RegistrationError, match="no finite value"):
        read_volume(tmp_path / "all.nrrd")


@pytest.mark.parametrize("radius", [2, 8])
def test_holes_continue_their_surroundings_and_padding_stays_background(radius):
    grid = Grid((40, 40, 40))
    distance = np.linalg.norm(grid.points() - 19.5, axis=-1)
    body = np.where(distance < 16, 100.0 + grid.points()[..., 0], 0.0)
    hole, padding = distance < radius, distance > 22
    volume = Volume(np.where(hole | padding, -5, body), grid, "body", ~hole & ~padding)
    filled = with_dark_background(volume)
    assert np.abs(filled.array - body)[hole].max() < radius  # the slope of the body is 1
    assert np.array_equal(filled.array[~hole & ~padding], volume.array[~hole & ~padding])
    assert len(np.unique(filled.array[padding])) == 1 and filled.array[padding][0] < 1
    assert filled.valid is None


def test_what_was_not_measured_survives_resampling():
    grid = Grid((16, 16, 16))
    array = np.full(grid.shape, 7.0)
    array[:, :, 12:] = np.nan
    volume = Volume.filled(array, grid, "half")
    assert volume.valid is not None
    warped = warp_volume(volume, grid, Affine.shift([0.5, 0, 0]), fill=7)
    assert warped.valid[:, :, :11].all()
    assert not warped.valid[:, :, 11:].any()
    assert warped.notes == volume.notes
    coarse = sampled_on(volume, grid.with_spacing(2.0))
    assert np.array_equal(coarse.valid[0, 0], [True] * 6 + [False] * 2)
    assert np.all(coarse.array[coarse.valid] == 7)
    assert warp_volume(ramp(grid), grid).valid is None


def test_notes_of_readers_reach_the_remarks_of_a_pair():
    grid = Grid((10, 10, 10))
    odd = replace(ramp(grid, "odd"), notes=("Something was odd.",))
    mask = LabelMap(np.ones(grid.shape, int), grid, name="m", notes=("A mask note.",))
    assert check_pair(Pair(ramp(grid), odd, fixed_mask=mask)) == [
        "Moving volume 'odd': Something was odd.",
        "Fixed mask 'm': A mask note.",
    ]


def write_4d(path, *, frames):
    """Write a file of so many 4 x 5 x 6 frames."""
    array = np.zeros((frames, 4, 5, 6), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(path))


def test_unfit_files_say_why(tmp_path):
    vectors = sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), np.float32), isVector=True)
    sitk.WriteImage(vectors, str(tmp_path / "vectors.nrrd"))
    write_4d(tmp_path / "4d.nii.gz", frames=2)
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    for name, word in [("vectors.nrrd", "3 components"), ("4d.nii.gz", "4 dimensions")]:
        with pytest.raises(RegistrationError, match=word):
            read_volume(tmp_path / name)
    with pytest.raises(FileError, match="Could not read"):
        read_volume(tmp_path / "broken.nii.gz")
    with pytest.raises(FileError, match="No such file"):
        read_volume(tmp_path / "missing.nii.gz")
    with pytest.raises(FileError, match="Could not write"):
        write_volume(ramp(Grid((3, 3, 3))), tmp_path / "no" / "folder.nrrd")


def test_one_frame_of_4d_is_read_as_3d(tmp_path):
    write_4d(tmp_path / "4d.nii.gz", frames=1)
    assert read_volume(tmp_path / "4d.nii.gz").grid.size == (6, 5, 4)


def test_sheared_nifti_is_refused(tmp_path):
    path = tmp_path / "sheared.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.float32)), str(path))
    content = bytearray(path.read_bytes())
    content[252:256] = np.array([0, 1], "<i2").tobytes()  # qform_code, sform_code
    content[280:328] = np.array([[1, 0.6, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0]], "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(GeometryError, match=r"shear|right angles"):
        read_volume(path)


def test_fractions_are_no_labels():
    with pytest.raises(RegistrationError, match="not a label map"):
        LabelMap(np.full((3, 3, 3), 0.5), Grid((3, 3, 3)))


def test_arrays_cannot_be_changed():
    volume = ramp(Grid((3, 3, 3)))
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1


@pytest.mark.parametrize("prefix", ["", "fixed_"])
def test_landmarks_from_csv(tmp_path, prefix):
    path = tmp_path / "points.csv"
    path.write_text(f"n,{prefix}x,{prefix}y,{prefix}z\na,1,2,3\nb,4,5,6\n")
    assert read_landmarks(path, prefix=prefix).points_mm.tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(FileError, match="columns"):
        read_landmarks(path, prefix="other_")


def test_markups_obey_their_coordinate_system(tmp_path):
    for system, expected in (("LPS", [1, 2, 3]), ("RAS", [-1, -2, 3])):
        markup = {"markups": [{"coordinateSystem": system, "controlPoints": [{"position": [1, 2, 3]}]}]}
        path = tmp_path / "points.mrk.json"
        path.write_text(json.dumps(markup))
        assert read_landmarks(path).points_mm.tolist() == [expected]
        path = tmp_path / "points.fcsv"
        path.write_text(f"# CoordinateSystem = {system}\n# columns = id,x,y,z\nP1,1,2,3,0,0,0,1\n")
        assert read_landmarks(path).points_mm.tolist() == [expected]


def test_points_survive_a_file(tmp_path):
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(read_landmarks(write_points(points, tmp_path / "p.csv")).points_mm, points, atol=1e-6)


def test_stem_drops_double_endings():
    assert [stem(n) for n in ("/a/b.c.nii.gz", "x.mha", "s.seg.nrrd")] == ["b.c", "x", "s"]


def test_resampling_a_ramp_through_an_affine_is_exact(grid):
    moving = ramp(Grid((60, 60, 60), (3.0, 3.0, 3.0), (-90.0, -90.0, -90.0)))
    transform = Affine(np.diag([0.9, 1.1, 1.0]) + 0.05, np.array([1.0, 2.0, 3.0]))
    warped = warp_volume(moving, grid, transform)
    assert np.allclose(warped.array, transform.apply(grid.points()) @ [1, 2, 3], atol=1e-2)


def test_labels_are_resampled_without_new_values():
    grid = Grid((8, 8, 8))
    labels = LabelMap(np.where(grid.points()[..., 0] > 3.5, 7, 3), grid, {7: "seven"})
    half = Affine.shift([0.5, 0, 0])
    warped = warp_labels(labels, grid, half)
    assert set(warped.labels) == {3, 7}
    assert warped.names[7] == "seven"


def test_checks_name_what_is_wrong():
    good = ramp(Grid((10, 10, 10)))
    constant = Volume(np.ones((10, 10, 10)), Grid((10, 10, 10)))
    with pytest.raises(GeometryError, match="single slice"):
        check_pair(Pair(good, ramp(Grid((10, 10, 1)))))
    with pytest.raises(GeometryError, match="only 5 voxels"):
        check_pair(Pair(ramp(Grid((10, 10, 5))), good))
    with pytest.raises(RegistrationError, match="constant"):
        check_pair(Pair(good, constant))
    empty = LabelMap(np.zeros((10, 10, 10), int), Grid((10, 10, 10)))
    with pytest.raises(RegistrationError, match="empty"):
        check_pair(Pair(good, good, fixed_mask=empty))
    elsewhere = LabelMap(np.ones((10, 10, 10), int), Grid((10, 10, 10), origin_mm=(500, 0, 0)))
    with pytest.raises(GeometryError, match="outside"):
        check_pair(Pair(good, good, moving_mask=elsewhere))
    assert check_pair(Pair(good, good)) == []


def test_pair_refuses_unpaired_landmarks():
    good = ramp(Grid((10, 10, 10)))
    with pytest.raises(RegistrationError, match="one side only"):
        Pair(good, good, fixed_points=np.zeros((2, 3)))
    with pytest.raises(RegistrationError, match="different lengths"):
        Pair(good, good, fixed_points=np.zeros((2, 3)), moving_points=np.zeros((3, 3)))


def test_a_volume_that_is_read_once_is_not_compressed(tmp_path, monkeypatch):
    volume = Volume(np.zeros((20, 21, 22)), Grid((22, 21, 20)))
    packed, plain = (write_volume(volume, tmp_path / f"{c}.nrrd", compress=c) for c in (True, False))
    assert packed.stat().st_size < 4 * volume.array.size <= plain.stat().st_size
    assert np.array_equal(read_volume(plain).array, read_volume(packed).array)
    packed = write_volume(volume, tmp_path / "volume.nii.gz", compress=False)
    assert packed.read_bytes()[:2] == b"\x1f\x8b"

    def cut_off(_image, path, **_options):  # what ITK leaves on a full disk, without an error
        path.write_bytes(plain.read_bytes()[:5000])

    monkeypatch.setattr(io, "_write_with_itk", cut_off)
    with pytest.raises(FileError, match="truncated after 5000 bytes"):
        write_volume(volume, tmp_path / "full.nrrd", compress=False)
