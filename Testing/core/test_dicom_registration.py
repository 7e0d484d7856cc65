"""DICOM registration objects: written and read back as the same map, by the equations of the standard, and refusals."""

from __future__ import annotations

import dicom_samples
import numpy as np
import pydicom
import pytest
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError
from DeepVsClassicRegLib.core.images.dicom_frame import read_dicom_frame
from DeepVsClassicRegLib.core.transforms.dicom_files import (
    DEFORMABLE_OBJECT,
    RIGID_OBJECT,
    is_dicom_registration,
    write_dicom_registration,
)
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.core.transforms.transform import Affine, BSpline, DisplacementField, Transform, VelocityField
from testing_grids import GRIDS, oblique_grid

FIXED_FRAME, MOVING_FRAME = "1.2.826.0.1.1", "1.2.826.0.1.2"
TURN = Affine.about([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], [10, 20, 30], [5, -3, 2])
STRETCH = Affine.about([[0.9, 0.2, 0.0], [-0.1, 1.0, 0.1], [0.0, 0.1, 1.1]], [1, 2, 3], [5, -3, 2])
TOLERANCE_MM = 0.01


def field_on(grid, amplitude_mm=4.0):
    points = grid.points()
    return DisplacementField(amplitude_mm * np.sin(points[..., [1, 2, 0]] / 15), grid)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A CT and an MR of one patient, in two studies."""
    folder = tmp_path_factory.mktemp("dicom")
    fixed = dicom_samples.series(folder / "ct", FrameOfReferenceUID=FIXED_FRAME, PatientName="Doe^Ann")
    moving = dicom_samples.series(
        folder / "mr", FrameOfReferenceUID=MOVING_FRAME, StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1"
    )
    return {"fixed": read_dicom_frame(fixed), "moving": read_dicom_frame(moving)}


def points_on(grid):
    # Also half a voxel and far beyond the grid.
    return grid.index_to_point(np.random.default_rng(0).uniform(-3, np.array(grid.size) + 2, (500, 3)))


CHAINS = {
    "identity": lambda grid: (),
    "rigid": lambda grid: (TURN,),
    "affine": lambda grid: (STRETCH,),
    "field": lambda grid: (field_on(grid),),
    "field then affine": lambda grid: (field_on(grid), STRETCH),
    "velocity then affine": lambda grid: (VelocityField(field_on(grid).array_mm, grid), TURN),
}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("name", GRIDS)
def test_the_same_map_is_read_back(frames, tmp_path, name, chain):
    grid = GRIDS[name]
    transform = Transform(CHAINS[chain](grid))
    written = write_dicom_registration(transform, tmp_path / "reg.dcm", **frames)
    assert written.difference_mm < TOLERANCE_MM
    points = points_on(grid)
    assert np.abs(read_transform(tmp_path / "reg.dcm").apply(points) - transform.apply(points)).max() < 1e-4
    assert is_dicom_registration(tmp_path / "reg.dcm")


def test_a_chain_is_sampled_on_the_fixed_grid(frames, tmp_path):
    coarse = oblique_grid((10, 9, 8), (12.0, 14.0, 16.0), seed=3)
    spline = BSpline(np.random.default_rng(3).normal(size=(8, 9, 10, 3)), coarse)
    fine = coarse.cropped((2, 2, 2), (5, 4, 3)).with_spacing(1.0)
    transform = Transform((spline, STRETCH))
    with pytest.raises(RegistrationError, match="sampled on the fixed volume's grid"):
        write_dicom_registration(transform, tmp_path / "reg.dcm", **frames)
    written = write_dicom_registration(transform, tmp_path / "reg.dcm", **frames, grid=fine)
    assert 0 < written.difference_mm < TOLERANCE_MM


def test_a_matrix_leads_from_the_moving_to_the_fixed_frame(frames, tmp_path):
    """PS3.3 C.20.2: the matrix of an item maps its frame of reference to the registered one."""
    write_dicom_registration(Transform((TURN,)), tmp_path / "reg.dcm", **frames)
    found = pydicom.dcmread(tmp_path / "reg.dcm")
    assert found.SOPClassUID == RIGID_OBJECT and found.FrameOfReferenceUID == FIXED_FRAME and found.Modality == "REG"
    fixed, moving = found.RegistrationSequence
    assert (fixed.FrameOfReferenceUID, moving.FrameOfReferenceUID) == (FIXED_FRAME, MOVING_FRAME)
    (item,) = moving.MatrixRegistrationSequence[0].MatrixSequence
    assert item.FrameOfReferenceTransformationMatrixType == "RIGID"
    matrix = np.array(item.FrameOfReferenceTransformationMatrix, dtype=float).reshape(4, 4)
    on_fixed = np.array([10.0, -20.0, 30.0])
    assert np.allclose(matrix @ [*TURN.apply(on_fixed), 1], [*on_fixed, 1], atol=1e-9)


def test_the_object_belongs_to_the_fixed_study_and_refers_to_both_series(frames, tmp_path):
    write_dicom_registration(Transform((field_on(GRIDS["oblique"]), TURN)), tmp_path / "reg.dcm", **frames)
    found = pydicom.dcmread(tmp_path / "reg.dcm")
    assert found.SOPClassUID == DEFORMABLE_OBJECT and found.PatientName == "Doe^Ann"
    assert found.StudyInstanceUID == "1.2.3" and found.SeriesInstanceUID not in ("1.2.3.4", "1.2.9.1")
    (own,) = found.ReferencedSeriesSequence
    (other,) = found.StudiesContainingOtherReferencedInstancesSequence
    assert own.SeriesInstanceUID == "1.2.3.4" and other.StudyInstanceUID == "1.2.9"
    assert len(own.ReferencedInstanceSequence) == len(frames["fixed"].instances) > 1
    (item,) = found.DeformableRegistrationSequence
    assert item.SourceFrameOfReferenceUID == MOVING_FRAME and len(item.PostDeformationMatrixRegistrationSequence) == 1


def test_pre_and_post_matrices_follow_the_equation_of_the_standard(frames, tmp_path):
    """PS3.3 C.20.3.1.1: source = post(pre(x) + u(x)) at the grid points, of an object of another program."""
    grid = GRIDS["oblique"]
    write_dicom_registration(Transform((field_on(grid), TURN)), tmp_path / "reg.dcm", **frames)
    found = pydicom.dcmread(tmp_path / "reg.dcm")
    item = found.DeformableRegistrationSequence[0]
    pre = pydicom.Dataset()
    pre.FrameOfReferenceTransformationMatrix = STRETCH.homogeneous.ravel().round(10).tolist()
    pre.FrameOfReferenceTransformationMatrixType = "AFFINE"
    item.PreDeformationMatrixRegistrationSequence = [pre]
    found.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    points = grid.points()
    expected = TURN.apply(STRETCH.apply(points) + field_on(grid).array_mm)
    assert np.abs(read_transform(tmp_path / "other.dcm").apply(points) - expected).max() < 1e-4


def test_undefined_vectors_are_zero_and_noted(frames, tmp_path):
    grid = GRIDS["canonical"]
    write_dicom_registration(Transform((field_on(grid),)), tmp_path / "reg.dcm", **frames)
    found = pydicom.dcmread(tmp_path / "reg.dcm")
    entry = found.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    vectors = np.frombuffer(entry.VectorGridData, "<f4").copy()
    vectors[:3] = np.nan
    entry.VectorGridData = vectors.tobytes()
    found.save_as(tmp_path / "nan.dcm", enforce_file_format=True)
    read = read_transform(tmp_path / "nan.dcm")
    assert "not defined at 1 grid points" in read.notes[0]
    first = grid.index_to_point([[0, 0, 0]])
    assert np.allclose(read.apply(first), first)


def test_files_that_are_no_usable_registration(frames, tmp_path):
    image = dicom_samples.save(dicom_samples.a_slice((0, 0, 0)), tmp_path / "image.dcm")
    with pytest.raises(FileError, match="no registration"):
        read_transform(image)
    write_dicom_registration(Transform((TURN,)), tmp_path / "reg.dcm", **frames)
    found = pydicom.dcmread(tmp_path / "reg.dcm")
    third = pydicom.Dataset()
    third.update(found.RegistrationSequence[1])
    third.FrameOfReferenceUID = "1.2.7"
    found.RegistrationSequence.append(third)
    found.save_as(tmp_path / "three.dcm", enforce_file_format=True)
    with pytest.raises(FileError, match=r"several frames of reference: 1\.2\.826\.0\.1\.2, 1\.2\.7"):
        read_transform(tmp_path / "three.dcm")
    del found.RegistrationSequence
    found.save_as(tmp_path / "none.dcm", enforce_file_format=True)
    with pytest.raises(FileError, match="is damaged"):
        read_transform(tmp_path / "none.dcm")


def test_frames_of_several_series(tmp_path):
    for number, frame in enumerate((FIXED_FRAME, MOVING_FRAME), start=1):
        dicom_samples.series(
            tmp_path,
            name=f"s{number}-",
            FrameOfReferenceUID=frame,
            SeriesInstanceUID=f"1.2.3.{number}",
            SeriesNumber=number,
        )
    with pytest.raises(FileError, match="different frames of reference"):
        read_dicom_frame(tmp_path)
    assert read_dicom_frame(f"{tmp_path}#1.2.3.2").uid == MOVING_FRAME
    with pytest.raises(FileError, match="no DICOM image with a frame"):
        read_dicom_frame(f"{tmp_path}#7.7")
