"""DICOM Spatial Registration and Deformable Spatial Registration objects (DICOM PS3.3 C.20.2, C.20.3).

A Spatial Registration holds matrices from each frame of reference to the registered one, which is the fixed volume's;
the fixed-to-moving map is the inverse of the moving volume's matrix. A Deformable Spatial Registration leads from the
registered to the source frame of reference, as transforms here do: x -> post(pre(x) + u(x)).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError, RegistrationError
from ..files import atomic
from ..images.dicom_frame import PATIENT, STUDY, DicomFrame
from ..images.dicom_slices import looks_like_dicom, pydicom, read_dataset
from ..images.grid import Grid
from ..version import VERSION
from .transform import Affine, BSpline, DisplacementField, Transform, VelocityField

RIGID_OBJECT, DEFORMABLE_OBJECT = "1.2.840.10008.5.1.4.1.1.66.1", "1.2.840.10008.5.1.4.1.1.66.3"
ENDING = ".dcm"
CHECKED_POINTS = 2000


@dataclass(frozen=True)
class Written:
    """A written registration object.

    Attributes
    ----------
    kind : str
        'Spatial Registration' or 'Deformable Spatial Registration'.
    difference_mm : float
        Largest distance between the transform and the object read back, at 2000 points of the fixed grid.
    """

    kind: str
    difference_mm: float


def is_dicom_registration(path: Path) -> bool:
    """Return whether a file is a DICOM registration object of either kind."""
    if not path.is_file() or not looks_like_dicom(path):
        return False
    dataset = read_dataset(path, pixels=False)
    return dataset is not None and dataset.get("SOPClassUID") in (RIGID_OBJECT, DEFORMABLE_OBJECT)


def write_dicom_registration(
    transform: Transform, path: Path, *, fixed: DicomFrame, moving: DicomFrame, grid: Grid | None = None
) -> Written:
    """Write a transform as DICOM object: of matrices if it is linear, else with a deformation grid.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map. One displacement field followed by an affine map is written exactly; other chains are
        sampled on `grid`.
    path : Path
        File to write.
    fixed, moving : DicomFrame
        Frames of reference of the registered volumes; patient and study are those of the fixed one.
    grid : Grid, optional
        Fixed volume's grid, for chains that must be sampled.

    Raises
    ------
    RegistrationError
        When both volumes have one frame of reference and the map is not linear, or a grid is missing.
    """
    dataset = _new_object(RIGID_OBJECT if transform.affine is not None else DEFORMABLE_OBJECT, fixed)
    if transform.affine is not None:
        parts = (Affine.identity(), fixed), (transform.affine.inverse(), moving)
        dataset.RegistrationSequence = [_matrix_item(affine, frame) for affine, frame in parts]
    else:
        dataset.DeformableRegistrationSequence = [_grid_item(*_field_and_affine(transform, grid), moving)]
    _refer(dataset, fixed, moving)
    with atomic(path) as draft:
        dataset.save_as(draft, enforce_file_format=True)
    written = read_dicom_registration(path)
    around = grid or _own_grid(transform)
    points = around.index_to_point(np.random.default_rng(0).uniform(0, np.array(around.size) - 1, (CHECKED_POINTS, 3)))
    difference = np.linalg.norm(written.apply(points) - transform.apply(points), axis=1).max()
    kind = "Spatial Registration" if transform.affine is not None else "Deformable Spatial Registration"
    return Written(kind, float(difference))


def read_dicom_registration(path: Path) -> Transform:
    """Read the fixed-to-moving map of a registration object; the registered frame of reference is the fixed one.

    Raises
    ------
    FileError
        When the object is damaged or registers several other frames of reference.
    """
    dataset = read_dataset(path, pixels=True)
    kind = None if dataset is None else dataset.get("SOPClassUID")
    if kind not in (RIGID_OBJECT, DEFORMABLE_OBJECT):
        raise FileError(
            f"{path.name} is a DICOM file, but no registration.",
            hint="Give a Spatial Registration or Deformable Spatial Registration object.",
        )
    try:
        return _read_rigid(path, dataset) if kind == RIGID_OBJECT else _read_deformable(path, dataset)
    except (AttributeError, IndexError, ValueError, TypeError) as error:
        raise FileError(f"{path.name} is damaged: {error}.", hint="Export the registration again.") from error


def _read_rigid(path: Path, dataset: Any) -> Transform:
    others = [
        (item, matrix)
        for item in dataset.RegistrationSequence
        if not _is_fixed(item, dataset, matrix := _product(item.MatrixRegistrationSequence[0].MatrixSequence))
    ]
    if not others:
        return Transform().noted([f"{path.name} registers nothing: its matrices are the identity."])
    if len(others) > 1:
        frames = ", ".join(str(item.get("FrameOfReferenceUID", "unknown")) for item, _matrix in others)
        raise FileError(
            f"{path.name} registers several frames of reference: {frames}.",
            hint="Export the registration of one pair.",
        )
    return Transform((others[0][1].inverse(),))


def _is_fixed(item: Any, dataset: Any, matrix: Affine) -> bool:
    """Return whether an item is the registered frame itself."""
    same = item.get("FrameOfReferenceUID") in (None, dataset.get("FrameOfReferenceUID"))
    return bool(same and np.allclose(matrix.homogeneous, np.eye(4), atol=1e-9))


def _read_deformable(path: Path, dataset: Any) -> Transform:
    items = [item for item in dataset.DeformableRegistrationSequence if _moves(item)]
    if len(items) > 1:
        frames = ", ".join(str(item.SourceFrameOfReferenceUID) for item in items)
        raise FileError(
            f"{path.name} registers several frames of reference: {frames}.",
            hint="Export the registration of one pair.",
        )
    if not items:
        return Transform().noted([f"{path.name} registers nothing: it contains no deformation."])
    pre = _single_matrix(items[0], "PreDeformationMatrixRegistrationSequence")
    post = _single_matrix(items[0], "PostDeformationMatrixRegistrationSequence")
    parts: list[Any] = []
    notes = []
    for entry in (items[0].get("DeformableRegistrationGridSequence") or [])[:1]:
        vectors, grid, undefined = _deformation(entry)
        # pre(x) + u(x) = pre(x + M^-1 u(x)) for the linear part M of pre.
        parts.append(DisplacementField(vectors @ np.linalg.inv(pre.matrix).T, grid))
        if undefined:
            notes.append(f"{path.name}: the deformation is not defined at {undefined} grid points; it is 0 there.")
    linear = pre.then(post)
    if not parts or not np.allclose(linear.homogeneous, np.eye(4), atol=1e-12):
        parts.append(linear)
    return Transform.of(parts).noted(notes)


def _moves(item: Any) -> bool:
    names = ("Pre", "Post")
    return bool(
        item.get("DeformableRegistrationGridSequence")
        or any(item.get(f"{name}DeformationMatrixRegistrationSequence") for name in names)
    )


def _deformation(entry: Any) -> tuple[npt.NDArray[np.float64], Grid, int]:
    size = tuple(int(n) for n in entry.GridDimensions)
    cosines = np.array([float(value) for value in entry.ImageOrientationPatient]).reshape(2, 3)
    axes = np.stack([*cosines, np.cross(*cosines)], axis=1)
    grid = Grid(
        (size[0], size[1], size[2]),
        _three(entry.GridResolution),
        _three(entry.ImagePositionPatient),
        tuple(float(value) for value in axes.ravel()),
    )
    data = entry.VectorGridData
    raw = np.frombuffer(data, "<f4") if isinstance(data, bytes) else np.asarray(data, dtype=np.float32)
    vectors = raw.astype(np.float64).reshape(*grid.shape, 3)
    undefined = np.asarray(~np.isfinite(vectors).all(axis=-1))
    return np.where(undefined[..., None], 0.0, vectors), grid, int(undefined.sum())


def _single_matrix(item: Any, name: str) -> Affine:
    found = item.get(name)
    return _affine_of(found[0]) if found else Affine.identity()


def _product(items: Any) -> Affine:
    """Return the composition of the matrices of a sequence, applied in its order."""
    result = Affine.identity()
    for item in items:
        result = result.then(_affine_of(item))
    return result


def _affine_of(item: Any) -> Affine:
    values = np.array([float(value) for value in item.FrameOfReferenceTransformationMatrix])
    return Affine.from_homogeneous(values.reshape(4, 4))


def _field_and_affine(transform: Transform, grid: Grid | None) -> tuple[DisplacementField, Affine]:
    """Return the map as one field followed by one affine map."""
    parts = transform.parts
    first = parts[0].exponential() if isinstance(parts[0], VelocityField) else parts[0]
    if isinstance(first, DisplacementField) and len(parts) <= 2 and all(isinstance(p, Affine) for p in parts[1:]):
        tail = parts[1] if len(parts) == 2 else Affine.identity()
        assert isinstance(tail, Affine)
        return first, tail
    if grid is None:
        raise RegistrationError(
            "This transform is no single displacement field, so it must be sampled on the fixed volume's grid.",
            hint="Give the fixed volume as --reference.",
        )
    *dense, last = parts
    if isinstance(last, Affine) and dense:
        return Transform(tuple(dense)).displacement_on(grid), last
    return transform.displacement_on(grid), Affine.identity()


def _own_grid(transform: Transform) -> Grid:
    grids = [part.grid for part in transform.parts if isinstance(part, (BSpline, DisplacementField, VelocityField))]
    return grids[0] if grids else Grid((101, 101, 101), (4.0, 4.0, 4.0), (-200.0, -200.0, -200.0))


def _grid_item(field: DisplacementField, affine: Affine, moving: DicomFrame) -> Any:
    array, grid = _right_handed(field)
    entry = pydicom().Dataset()
    entry.ImagePositionPatient = [_decimal(value) for value in grid.origin_mm]
    entry.ImageOrientationPatient = [_decimal(value) for value in grid.axes[:, :2].T.ravel().tolist()]
    entry.GridDimensions = list(grid.size)
    entry.GridResolution = [float(value) for value in grid.spacing_mm]
    entry.VectorGridData = np.ascontiguousarray(array, dtype="<f4").tobytes()
    item = pydicom().Dataset()
    item.SourceFrameOfReferenceUID = moving.uid
    item.ReferencedImageSequence = _references(moving)
    item.RegistrationTypeCodeSequence = []
    item.DeformableRegistrationGridSequence = [entry]
    if not np.allclose(affine.homogeneous, np.eye(4), atol=1e-12):
        item.PostDeformationMatrixRegistrationSequence = [_matrix(affine)]
    return item


def _right_handed(field: DisplacementField) -> tuple[npt.NDArray[np.float32], Grid]:
    """Return the field with its last axis reversed if its axes are left-handed: DICOM derives that axis."""
    if np.linalg.det(field.grid.axes) > 0:
        return field.array_mm, field.grid
    grid, last = field.grid, field.grid.size[2] - 1
    axes = grid.axes * np.array([1, 1, -1])
    origin = grid.index_to_point([0, 0, last])
    turned = Grid(grid.size, grid.spacing_mm, _three(origin), tuple(float(value) for value in axes.ravel()))
    return field.array_mm[::-1], turned


def _matrix_item(affine: Affine, frame: DicomFrame) -> Any:
    item, registration = pydicom().Dataset(), pydicom().Dataset()
    registration.RegistrationTypeCodeSequence = []
    registration.MatrixSequence = [_matrix(affine)]
    item.FrameOfReferenceUID = frame.uid
    item.ReferencedImageSequence = _references(frame)
    item.MatrixRegistrationSequence = [registration]
    return item


def _matrix(affine: Affine) -> Any:
    item = pydicom().Dataset()
    item.FrameOfReferenceTransformationMatrix = [_decimal(value) for value in affine.homogeneous.ravel()]
    item.FrameOfReferenceTransformationMatrixType = "RIGID" if affine.is_rigid else "AFFINE"
    return item


def _decimal(value: float) -> Any:
    """Return a number as a decimal string of at most 16 characters, as exact as fits."""
    return pydicom().valuerep.DSfloat(float(value), auto_format=True)


def _references(frame: DicomFrame) -> list[Any]:
    items = []
    for kind, instance in frame.instances:
        item = pydicom().Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, instance
        items.append(item)
    return items


def _refer(dataset: Any, fixed: DicomFrame, moving: DicomFrame) -> None:
    """List the series that the object refers to, those of the other study apart."""
    own = {frame.series: frame for frame in (fixed, moving) if frame.study == fixed.study}
    dataset.ReferencedSeriesSequence = [_series(frame) for frame in own.values()]
    if moving.study != fixed.study:
        study = pydicom().Dataset()
        study.StudyInstanceUID = moving.study
        study.ReferencedSeriesSequence = [_series(moving)]
        dataset.StudiesContainingOtherReferencedInstancesSequence = [study]


def _series(frame: DicomFrame) -> Any:
    item = pydicom().Dataset()
    item.SeriesInstanceUID = frame.series
    item.ReferencedInstanceSequence = _references(frame)
    return item


def _new_object(kind: str, fixed: DicomFrame) -> Any:
    package = pydicom()
    meta = package.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = package.uid.generate_uid()
    meta.TransferSyntaxUID = package.uid.ExplicitVRLittleEndian
    dataset = package.Dataset()
    dataset.file_meta = meta
    for name in (*PATIENT, *STUDY):
        setattr(dataset, name, fixed.header.get(name, ""))
    character_set = fixed.header.get("SpecificCharacterSet")
    if character_set:
        dataset.SpecificCharacterSet = character_set
    now = datetime.datetime.now()
    facts: Mapping[str, Any] = {
        "SOPClassUID": kind,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "REG",
        "SeriesInstanceUID": package.uid.generate_uid(),
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SeriesDescription": "Registration",
        "FrameOfReferenceUID": fixed.uid,
        "PositionReferenceIndicator": "",
        "Manufacturer": "DeepVsClassicReg",
        "ManufacturerModelName": "DeepVsClassicReg",
        "DeviceSerialNumber": "0",
        "SoftwareVersions": VERSION,
        "ContentDate": now.strftime("%Y%m%d"),
        "ContentTime": now.strftime("%H%M%S"),
        "ContentLabel": "REGISTRATION",
        "ContentDescription": "",
        "ContentCreatorName": "",
    }
    for name, value in facts.items():
        setattr(dataset, name, value)
    return dataset


def _three(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
