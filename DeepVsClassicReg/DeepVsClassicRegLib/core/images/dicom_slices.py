"""Headers of DICOM files: position, scale and distinguishing attributes of each slice or frame."""

from __future__ import annotations

import contextlib
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError
from .raw import first_bytes, looks_like_dicom

Array = npt.NDArray[np.float64]
_DIRECTORY = "1.2.840.10008.1.3.10"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_IMAGES = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("1", "1.1", "2", "2.1", "4", "4.1", "20", "128", "130"))
_CUT_OFF = "an image whose header ends early: the file is cut off or damaged"
# Description and remedy of files without pixels, by modality.
_NO_IMAGES = {
    "RTSTRUCT": "contours of a radiotherapy plan; turn them into a segmentation first (in Slicer: SlicerRT)",
    "RTPLAN": "a radiotherapy plan without an image",
    "REG": "a registration; it is not an image",
    "SR": "a report",
    "PR": "a presentation state",
    "KO": "a list of key images",
}


@dataclass(frozen=True, eq=False)
class Slice:
    """A single-frame file, or a frame of a multi-frame file.

    Parameters
    ----------
    path : Path
        The file.
    frame : int
        Number of the frame in the file, from 0.
    uid : str
        Its SOP instance UID, with the frame where there are several.
    series : str
        Series instance UID.
    number : int, optional
        Series number.
    description, modality : str
        Of the series.
    instance : int, optional
        Instance number.
    size : tuple of 2 int
        Columns and rows.
    spacing_mm : tuple of 2 float
        Between columns and between rows.
    thickness_mm : float
        Slice thickness; 0 when not stated.
    position_mm : (3,) array
        LPS position of the center of the first pixel.
    row, column : (3,) array
        LPS directions of growing column number and of growing row number.
    slope, intercept : float
        From stored to real values.
    padding : tuple of 2 int, optional
        Lowest and highest stored value of voxels that were not measured.
    marks : mapping of str to str
        Attributes that distinguish echoes, times, b-values and image types of one series.
    inverted : bool
        Whether low values are meant to be shown bright (MONOCHROME1).
    slope_is_zero : bool
        Whether the slope in the header is 0, which is not meaningful; `slope` is then 1.
    """

    path: Path
    frame: int
    uid: str
    series: str
    number: int | None
    description: str
    modality: str
    instance: int | None
    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    thickness_mm: float
    position_mm: Array
    row: Array
    column: Array
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    marks: Mapping[str, str]
    inverted: bool
    slope_is_zero: bool = False

    @property
    def normal(self) -> Array:
        """LPS direction across the slice."""
        return np.asarray(np.cross(self.row, self.column), dtype=np.float64)

    @property
    def is_scout(self) -> bool:
        """Whether the file is marked as a localizer."""
        return "LOCALIZER" in self.marks.get("image type", "").upper()


class Unfit(Exception):
    """A DICOM object that is not a slice of a volume; the text says what it is."""


class Incomplete(Unfit):
    """An image without a position in the volume, so that a slice of its series is missing."""


# Exceptions of pydicom and ITK for truncated or damaged files, in addition to pydicom's own error.
_DAMAGES = (
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    AttributeError,
    RuntimeError,
    OSError,
    struct.error,
)


def damages() -> tuple[type[Exception], ...]:
    """Return the exceptions that readers raise for damaged files, immediately or on first access to a value."""
    return (*_DAMAGES, pydicom().errors.BytesLengthException)


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Convert exceptions of pydicom for a damaged file to a `FileError` with its name.

    Values are parsed on first access, so every use of a dataset needs this context.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # relevant values are checked in this file
            yield
    except damages() as error:
        raise FileError(
            f"{path.name} is cut off or damaged: its DICOM header cannot be read ({error}).",
            hint="Copy or export the series again.",
        ) from error


def pydicom() -> Any:
    """Return the package pydicom.

    Raises
    ------
    FileError
        When it is not installed.
    """
    try:
        import pydicom as package
    except ImportError as error:
        raise FileError(
            "DICOM files are read with the Python package pydicom, which is not installed.",
            hint="Install it (pip install pydicom), or convert the series to NRRD or NIfTI first.",
        ) from error
    return package


def read_dataset(path: Path, *, pixels: bool) -> Any | None:
    """Return the content of a DICOM file, None when it is not a DICOM file.

    Raises
    ------
    FileError
        When the file is a DICOM file that is cut off or damaged.
    """
    package = pydicom()
    if not looks_like_dicom(path):
        return None
    with damage_named(path):
        dataset = package.dcmread(path, stop_before_pixels=not pixels, force=True)
        if "SOPClassUID" in dataset or "Rows" in dataset:
            return dataset
        meta = getattr(dataset, "file_meta", {})
        if _is_marked(path) and meta.get("MediaStorageSOPClassUID") != _DIRECTORY:
            raise EOFError("the file ends after its first lines")
        return None


def _is_marked(path: Path) -> bool:
    """Return whether the file has the DICOM prefix after its preamble."""
    return first_bytes(path, 132)[128:] == b"DICM"


def slices_of(dataset: Any, path: Path, *, segmentations: bool = False) -> list[Slice]:
    """Return the slices that a file holds; those of segmentations only when they are wanted.

    Raises
    ------
    Unfit
        When it contains none that a volume can be made of.
    FileError
        When its header is damaged.
    """
    with damage_named(path):
        return list(_slices(dataset, path, segmentations))


def series_of(dataset: Any, path: Path) -> str:
    """Return the series instance UID that a file names, '' when none."""
    with damage_named(path):
        return str(dataset.get("SeriesInstanceUID", ""))


def _slices(dataset: Any, path: Path, segmentations: bool) -> Iterator[Slice]:
    _check_fit(dataset, segmentations=segmentations)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" in dataset:
        groups = dataset.PerFrameFunctionalGroupsSequence
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        if len(groups) != frames:
            raise Unfit(f"a multi-frame image that describes {len(groups)} of its {frames} frames")
        for frame in range(frames):
            yield _enhanced(dataset, path, frame, groups[frame], shared)
    elif "GridFrameOffsetVector" in dataset:
        yield from _offset_frames(dataset, path, [float(value) for value in dataset.GridFrameOffsetVector])
    elif frames > 1 and dataset.get("SpacingBetweenSlices") and dataset.get("Modality") == "NM":
        step = float(dataset.SpacingBetweenSlices)
        yield from _offset_frames(dataset, path, [step * frame for frame in range(frames)])
    elif frames > 1:
        raise Unfit(f"{frames} frames without positions in the patient (a film or a capture)")
    else:
        yield _make(dataset, path, 0, dataset, dataset, dataset, _marks(dataset))


def _check_fit(dataset: Any, *, segmentations: bool) -> None:
    modality = str(dataset.get("Modality", ""))
    if dataset.get("SOPClassUID") == _DIRECTORY:
        raise Unfit("a directory of DICOM files (DICOMDIR)")
    if dataset.get("SOPClassUID") in SEGMENTATIONS and not segmentations:
        raise Unfit("a segmentation; give it as one, not as a volume")
    if "Rows" not in dataset or "Columns" not in dataset:
        if not modality or dataset.get("SOPClassUID") in _IMAGES:
            raise Incomplete(_CUT_OFF)
        raise Unfit(_NO_IMAGES.get(modality, f"an object without an image ({modality or 'unknown modality'})"))
    if "BitsAllocated" not in dataset:
        raise Incomplete(_CUT_OFF)
    if int(dataset.get("SamplesPerPixel", 1)) > 1 or "PALETTE" in str(dataset.get("PhotometricInterpretation", "")):
        raise Unfit("a color image (a screen capture, an ultrasound or a photograph)")
    if "MOSAIC" in [str(word).upper() for word in dataset.get("ImageType") or []]:
        raise Unfit("a Siemens mosaic, a volume tiled into one image; convert it with dcm2niix first")
    if "ModalityLUTSequence" in dataset:
        raise Unfit("an image whose values are defined by a lookup table; convert it first")


def _marks(dataset: Any) -> dict[str, str]:
    names = {
        "echo": "EchoNumbers",
        "echo time": "EchoTime",
        "image type": "ImageType",
        "b-value": "DiffusionBValue",
        "inversion time": "InversionTime",
        "time point": "TemporalPositionIdentifier",
        "trigger time": "TriggerTime",
        "frame time": "FrameReferenceTime",
        "acquisition": "AcquisitionNumber",
        "kernel": "ConvolutionKernel",
        "acquisition time": "AcquisitionTime",
    }
    return {mark: _text(dataset[tag].value) for mark, tag in names.items() if tag in dataset and dataset[tag].value}


def _text(value: Any) -> str:
    return (
        str(value)
        if isinstance(value, (str, int, float)) or not hasattr(value, "__iter__")
        else "\\".join(str(entry) for entry in value)
    )


def _enhanced(dataset: Any, path: Path, frame: int, own: Any, shared: Any) -> Slice:
    def group(name: str) -> Any:
        for place in (own, shared):
            if place is not None and name in place and len(place[name].value):
                return place[name].value[0]
        return {}

    marks: dict[str, str] = {}
    for mark, sequence, tag in (
        ("echo time", "MREchoSequence", "EffectiveEchoTime"),
        ("image type", "MRImageFrameTypeSequence", "FrameType"),
        ("image type", "CTImageFrameTypeSequence", "FrameType"),
        ("image type", "PETFrameTypeSequence", "FrameType"),
        ("b-value", "MRDiffusionSequence", "DiffusionBValue"),
        ("stack", "FrameContentSequence", "StackID"),
        ("time point", "FrameContentSequence", "TemporalPositionIndex"),
        ("acquisition", "FrameContentSequence", "FrameAcquisitionNumber"),
    ):
        value = group(sequence).get(tag)
        if value is not None:
            marks[mark] = _text(value)
    place = {
        "ImagePositionPatient": group("PlanePositionSequence").get("ImagePositionPatient"),
        "ImageOrientationPatient": group("PlaneOrientationSequence").get("ImageOrientationPatient"),
    }
    return _make(
        dataset, path, frame, place, group("PixelMeasuresSequence"), group("PixelValueTransformationSequence"), marks
    )


def _offset_frames(dataset: Any, path: Path, offsets_mm: list[float]) -> Iterator[Slice]:
    """Yield frames that lie at distances along the normal of the first (RT dose, nuclear medicine)."""
    if len(offsets_mm) != int(dataset.get("NumberOfFrames") or 1):
        raise Unfit(f"{dataset.get('NumberOfFrames')} frames with {len(offsets_mm)} positions")
    scale = {"RescaleSlope": dataset.get("DoseGridScaling") or dataset.get("RescaleSlope")}
    detector = (dataset.get("DetectorInformationSequence") or [dataset])[0]
    source = dataset if dataset.get("ImagePositionPatient") else detector
    first = _make(dataset, path, 0, source, dataset, scale, {})
    start = offsets_mm[0] if abs(offsets_mm[0] - first.position_mm[2]) < 1e-3 else 0.0  # absolute z in some files
    for frame, offset in enumerate(offsets_mm):
        place = {
            "ImagePositionPatient": (first.position_mm + (offset - start) * first.normal).tolist(),
            "ImageOrientationPatient": [*first.row, *first.column],
        }
        yield _make(dataset, path, frame, place, dataset, scale, {})


def _make(dataset: Any, path: Path, frame: int, place: Any, measures: Any, scale: Any, marks: dict[str, str]) -> Slice:
    """Return a slice whose position, pixel sizes and scale are taken from the groups that hold them."""
    position = _numbers(place.get("ImagePositionPatient"), 3, "a position in the patient")
    cosines = _numbers(place.get("ImageOrientationPatient"), 6, "an orientation in the patient")
    rows_mm, columns_mm = _numbers(measures.get("PixelSpacing"), 2, "a pixel spacing")
    row, column = cosines[:3], cosines[3:]
    if min(rows_mm, columns_mm) <= 0 or min(np.linalg.norm(row), np.linalg.norm(column)) < 0.5:
        raise Incomplete("an image whose pixel spacing or orientation is zero")
    slope, intercept = scale.get("RescaleSlope"), scale.get("RescaleIntercept")
    uid = str(dataset.get("SOPInstanceUID", path.name))
    return Slice(
        path=path,
        frame=frame,
        uid=f"{uid}/{frame}",
        series=str(dataset.get("SeriesInstanceUID", "")),
        number=_whole(dataset.get("SeriesNumber")),
        description=str(dataset.get("SeriesDescription") or "").strip(),
        modality=str(dataset.get("Modality") or ""),
        instance=_whole(dataset.get("InstanceNumber")),
        size=(int(dataset.Columns), int(dataset.Rows)),
        spacing_mm=(float(columns_mm), float(rows_mm)),
        thickness_mm=float(measures.get("SliceThickness") or 0),
        position_mm=position,
        row=row / np.linalg.norm(row),
        column=column / np.linalg.norm(column),
        slope=1.0 if slope is None or float(slope) == 0 else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        padding=_padding(dataset),
        marks=marks,
        inverted=str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1",
        slope_is_zero=slope is not None and float(slope) == 0,
    )


def _numbers(value: Any, count: int, what: str) -> Array:
    try:
        numbers = np.array([float(entry) for entry in value], dtype=float)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise Incomplete(f"an image without {what}")
    return numbers


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _padding(dataset: Any) -> tuple[int, int] | None:
    value = dataset.get("PixelPaddingValue")
    if value is None or isinstance(value, bytes):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [_signed(int(end), dataset) for end in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _signed(value: int, dataset: Any) -> int:
    """Return the number as stored; some files write a negative one without its sign."""
    bits = int(dataset.get("BitsAllocated", 16))
    return value - (1 << bits) if dataset.get("PixelRepresentation") == 1 and value >= 1 << (bits - 1) else value
