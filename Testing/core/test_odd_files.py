"""Files that are odd but real: incomplete headers, other content than the name says, almost whole labels."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.engines.engine_input import engine_view
from DeepVsClassicRegLib.core.engines.initial_direction import inverse_note
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.evaluation.similarity import local_agreement
from DeepVsClassicRegLib.core.files import protect_inputs
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume, write_volume
from DeepVsClassicRegLib.core.images.points import read_landmarks
from DeepVsClassicRegLib.core.images.resample import to_sitk, warp_volume
from DeepVsClassicRegLib.core.images.sections import read_sections
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume, is_unsound, percent_text
from DeepVsClassicRegLib.core.pair import Pair, check_pair
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

SHAPE = (9, 10, 11)
VALUES = np.random.default_rng(0).integers(0, 99, SHAPE).astype("<i2")
VOXELS = VALUES.tobytes()
GRID = Grid(SHAPE[::-1], (1.0, 2.0, 3.0), (-5.0, 6.0, 7.0))
META = {
    "NDims": "3",
    "DimSize": "11 10 9",
    "ElementType": "MET_SHORT",
    "ElementSpacing": "1 2 3",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "-5 6 7",
}
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "11 10 9",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "space origin": "(-5,6,7)",
    "endian": "little",
    "encoding": "raw",
}


def meta(path, *, without=(), voxels=VOXELS, **changed):
    entries = {name: text for name, text in {**META, **changed}.items() if name not in without}
    entries["ElementDataFile"] = entries.pop("ElementDataFile", "LOCAL")
    path.write_bytes("".join(f"{name} = {text}\n" for name, text in entries.items()).encode() + voxels)
    return path


def nrrd(path, *, without=(), voxels=VOXELS, **changed):
    entries = {**NRRD, **{name.replace("_", " "): text for name, text in changed.items()}}
    lines = [f"{name}: {text}\n" for name, text in sorted(entries.items()) if name not in without]
    path.write_bytes(("NRRD0004\n" + "".join(lines) + "\n").encode() + voxels)
    return path


@pytest.mark.parametrize(("make", "name"), [(meta, "v.mha"), (nrrd, "v.nrrd")])
def test_complete_headers_need_no_note(tmp_path, make, name):
    volume = read_volume(make(tmp_path / name))
    assert volume.notes == ()
    assert volume.grid.same_as(GRID)
    assert np.array_equal(volume.array, VALUES)


@pytest.mark.parametrize(
    ("make", "changes", "said"),
    [
        (meta, {"without": ("TransformMatrix",)}, "no orientation"),
        (meta, {"without": ("ElementSpacing",)}, "no voxel size"),
        (meta, {"DistanceUnits": "um"}, "lengths in 'um'"),
        (nrrd, {"without": ("space",), "space_dimension": "3"}, "no anatomical space"),
        (nrrd, {"space": "scanner-xyz"}, "'scanner-xyz'"),
        (nrrd, {"without": ("space", "space directions", "space origin"), "spacings": "1 2 3"}, "no orientation"),
        (nrrd, {"without": ("space", "space directions", "space origin")}, "no voxel size"),
        (nrrd, {"space_units": '"um" "um" "um"'}, "lengths in 'um'"),
    ],
)
def test_what_itk_assumes_is_said(tmp_path, make, changes, said):
    notes = read_volume(make(tmp_path / ("v.mha" if make is meta else "v.nrrd"), **changes)).notes
    assert any(said in note and is_unsound(note) for note in notes), notes


def test_formats_without_orientation_say_so(tmp_path):
    sitk.WriteImage(to_sitk(Volume(VALUES, GRID)), str(tmp_path / "v.vtk"))
    assert any("VTK" in note and is_unsound(note) for note in read_volume(tmp_path / "v.vtk").notes)


def test_a_missing_position_is_no_danger(tmp_path):
    (note,) = read_volume(nrrd(tmp_path / "v.nrrd", without=("space origin",))).notes
    assert "no position" in note and not is_unsound(note)


def test_directions_that_contain_the_spacing_are_read(tmp_path):
    volume = read_volume(meta(tmp_path / "v.mha", TransformMatrix="1 0 0 0 2 0 0 0 3", ElementSpacing="1 1 1"))
    assert volume.grid.same_as(GRID)
    with pytest.raises(GeometryError, match=r"v\.mha has sheared axes"):
        read_volume(meta(tmp_path / "v.mha", TransformMatrix="1 0 0 0.4 1 0 0 0 1"))


@pytest.mark.parametrize(
    ("make", "name", "changes", "said"),
    [
        (meta, "v.mhd", {"ElementDataFile": "away.raw"}, "away.raw, is missing"),
        (nrrd, "v.nhdr", {"data_file": "away.raw"}, "away.raw, is missing"),
        (nrrd, "v.nrrd", {"voxels": VALUES.tobytes()[:-2]}, "cut off"),
        (nrrd, "v.nrrd", {"encoding": "gzip"}, "cut off or damaged"),
        (nrrd, "v.nrrd", {"encoding": "bzip2"}, "bzip2"),
    ],
)
def test_incomplete_files_are_named(tmp_path, make, name, changes, said, capfd):
    with pytest.raises(FileError, match=said):
        read_volume(make(tmp_path / name, **changes))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["v.mha", "v.nrrd", "v"])
def test_nifti_is_read_whatever_its_name(tmp_path, name):
    write_volume(Volume(VALUES, GRID), tmp_path / "v.nii.gz").rename(tmp_path / name)
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.array, VALUES) and volume.grid.same_as(GRID)
    assert any("NIfTI by its content" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>Not found", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        (b"PK\x03\x04 and more", "zip archive"),
        (b"BZh91AY", "bzip2"),
        (b"NRRD0004\ntype: short\n", "one of NRRD"),
    ],
)
def test_other_content_is_named(tmp_path, content, said):
    (tmp_path / "v.nii.gz").write_bytes(content)
    with pytest.raises(FileError, match=said) as error:
        read_volume(tmp_path / "v.nii.gz")
    assert error.value.hint


def test_empty_axes_of_a_nifti_are_passed_over(tmp_path):
    path = write_volume(Volume(VALUES, GRID), tmp_path / "v.nii")
    content = bytearray(path.read_bytes())
    content[40:56] = np.array([4, 11, 10, 9, 0, 0, 0, 0], "<i2").tobytes()
    path.write_bytes(content)
    assert np.array_equal(read_volume(path).array, VALUES)


def test_almost_whole_labels_are_rounded(tmp_path):
    labels = (VALUES % 4).astype(np.float32)
    found = read_labels(write_volume(Volume(labels * 0.9999, GRID), tmp_path / "l.nii.gz"))
    assert np.array_equal(found.array, labels)
    assert any("rounded" in note for note in found.notes)
    with pytest.raises(RegistrationError, match="not integers"):
        read_labels(write_volume(Volume(labels * 0.9, GRID), tmp_path / "l.nii.gz"))


@pytest.mark.parametrize("markup", [5, {"controlPoints": [5]}, {"controlPoints": {"a": 1}}])
def test_damaged_markups_are_named(tmp_path, markup):
    (tmp_path / "m.mrk.json").write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
    with pytest.raises(FileError, match="no list of control points"):
        read_landmarks(tmp_path / "m.mrk.json")


def test_coordinate_systems_are_read_in_any_case(tmp_path):
    markup = {"type": "Fiducial", "coordinateSystem": "ras", "controlPoints": [{"position": [1, 2, 3]}]}
    (tmp_path / "m.mrk.json").write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
    assert read_landmarks(tmp_path / "m.mrk.json").points_mm.tolist() == [[-1, -2, 3]]
    (tmp_path / "c.csv").write_text("x,y,z\n1,2,3,\n", encoding="utf-8")
    assert read_landmarks(tmp_path / "c.csv").points_mm.tolist() == [[1, 2, 3]]


ELASTIX = """(Transform "EulerTransform")
(NumberOfParameters 6)
(TransformParameters 0.1 0 0 1 2 3)
(InitialTransformParametersFileName "NoInitialTransform")
(Direction 1 0 0 0 1 0 0 0 1)
(CenterOfRotationPoint 1 2 3)
"""
LTA = "type = one\nnxforms = 1\n1 4 4\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"
XFM = (
    "MNI Transform File\nTransform_Type = Linear;\nInvert_Flag = True;\nLinear_Transform =\n0 0 0 0 0 0 0 0 0 0 0 0;\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.txt", ELASTIX.replace("Point 1 2 3", "Point 1 2")),
        ("t.txt", ELASTIX.replace("Point 1", "Point a")),
        ("t.txt", ELASTIX.replace("Parameters 6", "Parameters six")),
        ("t.txt", ELASTIX.replace("Direction 1", "Direction x")),
        ("t.lta", LTA),
        ("t.xfm", XFM),
    ],
)
def test_damaged_transforms_are_user_errors(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(FileError) as error:
        read_transform(tmp_path / name)
    assert error.value.hint


def test_splines_of_another_order_are_named(tmp_path):
    spline = sitk.BSplineTransformInitializer(to_sitk(Volume(VALUES, GRID)), [3, 3, 3], 2)
    sitk.WriteTransform(spline, str(tmp_path / "b.tfm"))
    with pytest.raises(FileError, match="cubic"):
        read_transform(tmp_path / "b.tfm")


def a_pair(**more):
    return Pair(Volume(VALUES, GRID, "f"), Volume(VALUES, GRID, "m"), **more)


def test_unusable_initial_transforms_are_refused():
    check_pair(a_pair(initial=Transform((Affine.shift([2, 0, 0]),))))
    with pytest.raises(GeometryError, match="completely outside"):
        check_pair(a_pair(initial=Transform((Affine.shift([1000, 0, 0]),))))
    with pytest.raises(RegistrationError, match="mirrors"):
        check_pair(a_pair(initial=Transform((Affine(np.diag([-1.0, 1, 1]), np.zeros(3)),))))


def test_an_initial_transform_in_the_wrong_direction_is_suspected():
    pair = make_phantom("head", size=32, seed=0).pair
    shift = Affine.shift([0, 12.0, 0])
    moved = pair.replace(moving=warp_volume(pair.fixed, pair.fixed.grid, Transform((shift.inverse(),))))
    assert inverse_note(moved) is None
    assert inverse_note(moved.replace(initial=Transform((shift,)))) is None
    note = inverse_note(moved.replace(initial=Transform((shift.inverse(),))))
    assert note is not None and is_unsound(note) and "fixed to moving" in note


def test_a_segmentation_of_another_place_is_named():
    away = LabelMap(np.ones(SHAPE, int), Grid(GRID.size, GRID.spacing_mm, (900.0, 0.0, 0.0)), name="s")
    notes = check_pair(a_pair(moving_labels=away))
    assert any("'s' is completely outside the moving volume" in note and is_unsound(note) for note in notes)


def test_other_units_of_length_are_suspected():
    pair = a_pair()
    assert not any("unit of length" in note for note in check_pair(pair))
    notes = check_pair(pair.replace(moving=pair.moving.scaled(0.1)))
    assert any("unit of length" in note and is_unsound(note) for note in notes)


def test_a_path_that_is_too_long_is_a_user_error(tmp_path):
    with pytest.raises(FileError, match="too long"):
        protect_inputs([], [tmp_path / ("y" * 300) / "warped.nii.gz"])
    with pytest.raises(FileError, match="too long"):
        read_volume(tmp_path / ("y" * 300))


def test_percentages_have_no_exponent():
    assert [percent_text(value) for value in (0.0123, 27.4, 99.6, 100.0)] == ["0.012 %", "27 %", "100 %", "100 %"]


def test_sections_with_holes_and_hidden_files_are_read(tmp_path):
    for number in range(3):
        section = VALUES[number].astype(np.float32)
        section[2, number] = np.nan
        sitk.WriteImage(sitk.GetImageFromArray(section), str(tmp_path / f"s{number}.mha"))
    (tmp_path / "._s1.mha").write_bytes(b"\0\5\x16\7")
    volume = read_sections(tmp_path).volume
    assert volume.grid.size == (11, 10, 3) and np.isfinite(volume.array).all()
    assert any("NaN" in note for note in volume.notes)
    (tmp_path / "s1.mha").write_bytes((tmp_path / "s1.mha").read_bytes()[:-9])
    with pytest.raises(FileError, match="cut off"):
        read_sections(tmp_path)


def test_folders_without_dicom_say_what_to_give(tmp_path):
    write_volume(Volume(VALUES, GRID), tmp_path / "v.nii.gz")
    with pytest.raises(FileError) as error:
        read_volume(tmp_path)
    assert "v.nii.gz" in error.value.hint


def test_engines_and_measures_do_not_see_extreme_intensities():
    """A defect voxel would fill the histogram of a back end; tiny values fall below its tolerances."""
    smooth = np.cumsum(np.random.default_rng(1).standard_normal((24, 24, 24)), axis=0).astype(np.float32)
    clean = Volume(smooth, Grid(smooth.shape))
    inside = np.ones(smooth.shape, dtype=bool)
    expected = local_agreement(smooth, smooth + 1, inside)
    hot = smooth.copy()
    hot[5, 6, 7] = 1e30
    for odd in (hot, smooth * 1e-12, smooth * 1e30):
        view, remarks = engine_view(Pair(clean, Volume(odd, clean.grid)))
        assert 1e-3 < np.ptp(view.moving.array) < 1e6
        assert bool(remarks) == (odd is hot)
        found = local_agreement(smooth, odd, inside)
        assert abs(found.mean - expected.mean) < 0.05 and abs(found.sharpness - expected.sharpness) < 0.05
    assert engine_view(Pair(clean, clean))[0].moving is clean
