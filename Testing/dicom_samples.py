"""A small DICOM writer for tests: slices with a known place in the patient, and objects made of frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from DeepVsClassicRegLib.core.images.io import read_volume
from faults import Call, Gives, Run
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import PYDICOM_ROOT_UID, ExplicitVRLittleEndian

CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "128"))
ENHANCED_MR, DOSE, SEG = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4.1", "481.2", "66.4"))
CAPTURE, NUCLEAR = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("7", "20"))
AXIAL = (1, 0, 0, 0, 1, 0)
SIZE = (12, 10, 8)
# Numbers of one length: a file that is cut at a share of its bytes is cut at the same element in every run.
_NUMBERS = itertools.count(10**20)
SPACING = (1.5, 2.0, 3.0)
ORIGIN = np.array([-20.0, -30.0, -40.0])


def values(points_mm: np.ndarray) -> np.ndarray:
    """Return integers that vary linearly in the patient, so that any place tells its true value."""
    return 1000 + points_mm @ [2.0, 4.0, 10.0]


def plane(
    position: Sequence[float], cosines: Sequence[float] = AXIAL, spacing: Sequence[float] = SPACING
) -> np.ndarray:
    """Return the true values of a slice (rows, columns) that begins at this position."""
    j, i = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]), indexing="ij")
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    points = np.asarray(position) + i[..., None] * SPACING[0] * row + j[..., None] * SPACING[1] * column
    return values(points)


def dataset(
    pixels: np.ndarray, *, sop: str = CT, modality: str = "CT", signed: bool = True, **facts: Any
) -> FileDataset:
    """Return an object of one or several frames of 16-bit pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = f"{PYDICOM_ROOT_UID}{next(_NUMBERS)}"
    found = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID, found.Modality = sop, meta.MediaStorageSOPInstanceUID, modality
    found.PatientName, found.PatientID = "Phantom", "1"
    found.StudyInstanceUID, found.SeriesInstanceUID, found.SeriesNumber = "1.2.3", "1.2.3.4", 1
    found.Rows, found.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        found.NumberOfFrames = len(pixels)
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 16, 15
    found.PixelRepresentation = int(signed)
    found.PixelData = np.round(pixels).astype("<i2" if signed else "<u2").tobytes()
    for name, value in facts.items():
        if value is None:
            if name in found:
                delattr(found, name)
        else:
            setattr(found, name, value)
    return found


def a_slice(
    position: Sequence[float], *, cosines: Sequence[float] = AXIAL, pixels: np.ndarray | None = None, **facts: Any
) -> FileDataset:
    """Return a single-frame slice that lies at this position and holds the true values."""
    stored = plane(position, cosines) if pixels is None else pixels
    geometry = {
        "ImagePositionPatient": [round(float(v), 6) for v in position],
        "ImageOrientationPatient": [round(float(v), 9) for v in cosines],
        "PixelSpacing": [SPACING[1], SPACING[0]],
        "SliceThickness": SPACING[2],
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }
    return dataset(stored, **{**geometry, **facts})


def positions(
    heights: Sequence[float] | None = None, *, cosines: Sequence[float] = AXIAL, shear: Sequence[float] = (0, 0)
) -> np.ndarray:
    """Return where slices begin that lie at these heights along their normal, shifted sideways by `shear` per mm."""
    row, column = np.array(cosines[:3], float), np.array(cosines[3:], float)
    z = np.arange(SIZE[2]) * SPACING[2] if heights is None else np.asarray(heights, float)
    along = np.cross(row, column) + shear[0] * row + shear[1] * column
    return ORIGIN + z[:, None] * along


def save(found: Dataset, path: Path) -> Path:
    """Write an object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def series(
    folder: Path,
    places: np.ndarray | None = None,
    *,
    name: str = "",
    change: Callable[[int, FileDataset], Any] | None = None,
    **facts: Any,
) -> Path:
    """Write a slice for each position and return the folder."""
    for number, position in enumerate(positions() if places is None else places):
        found = a_slice(position, **{"InstanceNumber": number + 1, **facts})
        if change is not None:
            change(number, found)
        save(found, folder / f"{name}{number:03d}.dcm")
    return folder


def item(**facts: Any) -> Dataset:
    """Return an item of a sequence."""
    found = Dataset()
    for name, value in facts.items():
        setattr(found, name, value)
    return found


def enhanced(
    places: np.ndarray, *, cosines: Sequence[float] = AXIAL, slopes: Sequence[float] = (), times: Sequence[int] = ()
) -> FileDataset:
    """Return an enhanced MR object with a frame at each position."""
    slopes = slopes or [1.0] * len(places)
    pixels = np.array([plane(place, cosines) / slope for place, slope in zip(places, slopes, strict=True)])
    found = dataset(pixels, sop=ENHANCED_MR, modality="MR")
    orientation = item(ImageOrientationPatient=list(cosines))
    measures = item(PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness=SPACING[2])
    found.SharedFunctionalGroupsSequence = Items(
        [item(PlaneOrientationSequence=Items([orientation]), PixelMeasuresSequence=Items([measures]))]
    )
    groups = []
    for number, (place, slope) in enumerate(zip(places, slopes, strict=True)):
        scale = item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")
        content = item(TemporalPositionIndex=times[number] if times else 1)
        groups.append(
            item(
                PlanePositionSequence=Items([item(ImagePositionPatient=[float(v) for v in place])]),
                PixelValueTransformationSequence=Items([scale]),
                FrameContentSequence=Items([content]),
            )
        )
    found.PerFrameFunctionalGroupsSequence = Items(groups)
    return found


def segmentation(frames: Sequence[tuple[int, Sequence[float], np.ndarray]], names: Sequence[str]) -> FileDataset:
    """Return a binary segmentation object: frames as (segment number, position, mask)."""
    masks = np.array([mask for *_, mask in frames])
    found = dataset(masks, sop=SEG, modality="SEG")
    found.BitsAllocated = found.BitsStored = 1
    found.HighBit, found.PixelRepresentation, found.SegmentationType = 0, 0, "BINARY"
    bits = np.packbits(masks.astype(np.uint8).ravel(), bitorder="little").tobytes()
    found.PixelData = bits + b"\0" * (len(bits) % 2)
    found.SegmentSequence = Items([item(SegmentNumber=n, SegmentLabel=name) for n, name in enumerate(names, start=1)])
    measures = item(PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness=SPACING[2], SpacingBetweenSlices=SPACING[2])
    found.SharedFunctionalGroupsSequence = Items(
        [
            item(
                PlaneOrientationSequence=Items([item(ImageOrientationPatient=list(AXIAL))]),
                PixelMeasuresSequence=Items([measures]),
            )
        ]
    )
    found.PerFrameFunctionalGroupsSequence = Items(
        [
            item(
                PlanePositionSequence=Items([item(ImagePositionPatient=[float(v) for v in place])]),
                SegmentIdentificationSequence=Items([item(ReferencedSegmentNumber=number)]),
            )
            for number, place, _ in frames
        ]
    )
    return found


def reads(make: Callable[[Path], Any], choice: str | None = None) -> Callable[[Path], Call]:
    """Return a `build` that writes `folder/dicom` and reads it."""

    def build(folder: Path) -> Call:
        path = make(folder / "dicom")
        return lambda: read_volume(path if isinstance(path, Path) else folder / "dicom", series=choice)

    return build


def misplaced(run: Run) -> float:
    """Return the largest difference of any measured voxel from the true value of its place."""
    wrong = np.abs(run.value.array - values(run.value.grid.points()))
    return float(wrong.max() if run.value.valid is None else wrong[run.value.valid].max())


def grid(run: Run) -> list[float]:
    """Return size, spacing and origin."""
    return [*run.value.grid.size, *run.value.grid.spacing_mm, *run.value.grid.origin_mm]


def true(*notes: str, tolerance: float = 0.6) -> Gives:
    """Expect every voxel to hold the value of its place (stored as integers)."""
    return Gives(0.0, tolerance, read=misplaced, notes=notes, silent=() if notes else ("note",))


def folder_of(places: Any = None, **facts: Any) -> Callable[[Path], Path]:
    """Return a writer of a series."""
    return lambda folder: series(folder, places, **facts)


def beside(extra: Callable[[], Any], name: str = "x.dcm") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        series(folder)
        save(extra(), folder / name)
        return folder

    return write


def in_one_file(make: Callable[[], Any]) -> Callable[[Path], Path]:
    return lambda folder: save(make(), folder / "file.dcm")
