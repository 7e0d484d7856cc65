"""Values and kinds of DICOM objects: scales, codings, frames, dose, segmentations; read right or refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume
from dicom_samples import (
    CAPTURE,
    DOSE,
    NUCLEAR,
    ORIGIN,
    PET,
    SIZE,
    SPACING,
    a_slice,
    beside,
    dataset,
    enhanced,
    folder_of,
    in_one_file,
    item,
    plane,
    positions,
    reads,
    save,
    segmentation,
    series,
    true,
    values,
)
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from . import Call, Case, Gives, Refused

TILT = np.tan(np.deg2rad(20))
HEIGHTS = np.arange(SIZE[2]) * SPACING[2]


def _pet(number: int, found: Any) -> None:
    slope = 0.01 * (number + 1)
    found.PixelData = np.round(plane(positions()[number]) / slope).astype("<u2").tobytes()
    found.RescaleSlope, found.PixelRepresentation = slope, 0


def _implicit(number: int, found: Any) -> None:
    found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def _rle(number: int, found: Any) -> None:
    found.compress(RLELossless)


def _padded(number: int, found: Any) -> None:
    pixels = plane(positions()[number])
    pixels[:3] = -2000
    found.PixelData = np.round(pixels).astype("<i2").tobytes()
    found.PixelPaddingValue = -2000


def _false_jpeg(number: int, found: Any) -> None:
    found.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 no image"])
    found["PixelData"].VR = "OB"
    found.file_meta.TransferSyntaxUID = JPEG2000Lossless


def _cut(tenth: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        file = series(folder) / "003.dcm"
        content = file.read_bytes()
        file.write_bytes(content[: len(content) * tenth // 10])
        return folder

    return write


def _cut_anywhere(folder: Path) -> Call:
    """Cut the last slice at every byte of its header; return where that was not refused with the file's name."""
    return lambda: _unnoticed(series(folder / "made", positions([0, 3])), "001.dcm")


def _unnoticed(folder: Path, name: str) -> list[int]:
    file = folder / name
    content = file.read_bytes()
    found = []
    for length in range(126, len(content) - 2 * SIZE[0] * SIZE[1]):
        file.write_bytes(content[:length])
        try:
            read_volume(folder)
            found.append(length)
        except RegistrationError as refusal:
            found += [] if file.name in str(refusal) else [length]
    return found


def _with_file(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        series(folder)
        (folder / name).write_bytes(content)
        return folder

    return write


def _one_uid(number: int, found: Any) -> None:
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"


def _copied(folder: Path) -> Path:
    series(folder, change=_one_uid)
    shutil.copy(folder / "003.dcm", folder / "copy.dcm")
    return folder


def _thirteen_bits(number: int, found: Any) -> None:
    stored = np.frombuffer(found.PixelData, "<i2").astype(np.uint16) & 0x1FFF
    found.BitsStored, found.HighBit, found.PixelData = 13, 12, stored.tobytes()


def _longer(number: int, found: Any) -> None:
    found.PixelData += bytes(6)


def _thirty_two_bits(number: int, found: Any) -> None:
    found.BitsAllocated, found.BitsStored, found.HighBit = 32, 32, 31
    found.PixelData = np.frombuffer(found.PixelData, "<i2").astype("<i4").tobytes()


def _without_pixels(number: int, found: Any) -> None:
    if number == 2:
        del found.PixelData


def _ninth(**facts: Any) -> Callable[[Path], Path]:
    """Return a maker of a series that goes on with a slice with other facts."""
    return beside(lambda: a_slice(positions()[-1] + [0, 0, SPACING[2]], **facts), "008.dcm")


def _sample(*names: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir()
        for name in names:
            shutil.copy(str(get_testdata_file(name)), folder / name)
        return folder

    return write


def _same_as(name: str, other: str) -> Callable[[Path], Call]:
    """Return a `build` that compares two codings of the same image."""

    def build(folder: Path) -> Call:
        one, two = _sample(name)(folder / "one"), _sample(other)(folder / "two")
        return lambda: float(np.abs(read_volume(one).array - read_volume(two).array).max())

    return build


VALUE_CASES = [
    Case("A", "PET, another slope in each slice", reads(folder_of(sop=PET, modality="PT", change=_pet)), true()),
    Case(
        "A",
        "MR with a slope",
        reads(folder_of(modality="MR", RescaleSlope=0.5)),
        Gives(500.0, 0.6, read=lambda run: float(run.value.array[0, 0, 0]) - float(values(ORIGIN)) / 2 + 500),
    ),
    Case(
        "A",
        "CT with an intercept",
        reads(folder_of(RescaleIntercept=-1024)),
        Gives(float(values(ORIGIN)) - 1024, 0.6, read=lambda run: float(run.value.array[0, 0, 0])),
    ),
    Case("A", "implicit little endian", reads(folder_of(change=_implicit)), true()),
    Case("A", "RLE compressed", reads(folder_of(change=_rle)), true()),
    Case("A", "JPEG 2000, lossless", _same_as("MR_small_jp2klossless.dcm", "MR_small.dcm"), Gives(0.0)),
    Case("A", "JPEG-LS, lossless", _same_as("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"), Gives(0.0)),
    Case("A", "big endian", _same_as("MR_small_bigendian.dcm", "MR_small.dcm"), Gives(0.0)),
    Case("A", "RLE of another program", _same_as("MR_small_RLE.dcm", "MR_small.dcm"), Gives(0.0)),
    Case("A", "damaged JPEG 2000", reads(folder_of(change=_false_jpeg)), Refused(FileError, "JPEG 2000", "gdcmconv")),
    Case(
        "A",
        "padding value",
        reads(folder_of(change=_padded)),
        Gives(0.3, 1e-6, read=lambda run: float((~run.value.valid).mean()), notes=["padding"]),
    ),
    Case("A", "true values beside padding", reads(folder_of(change=_padded)), true("padding")),
    Case("A", "shown inverted", reads(folder_of(PhotometricInterpretation="MONOCHROME1")), true("MONOCHROME1")),
    *(Case("A", f"slice cut at {n} tenths", reads(_cut(n)), Refused(RegistrationError, "dcm")) for n in range(1, 10)),
    Case("A", "the last slice cut at every byte of its header", _cut_anywhere, Gives([])),
    Case("A", "an empty slice", reads(_with_file("008.dcm", b"")), Refused(FileError, "008.dcm", "0 bytes")),
    Case("A", "a text file beside the slices", reads(_with_file("notes.txt", b"from the archive")), true()),
    Case(
        "A",
        "a last slice without its position",
        reads(_ninth(ImagePositionPatient=None)),
        Refused(FileError, "008.dcm", "position in the patient"),
    ),
    Case(
        "A",
        "an image of another series without a position",
        reads(_ninth(ImagePositionPatient=None, SeriesInstanceUID="7.8")),
        true("008.dcm", "ignored"),
    ),
    Case(
        "A",
        "a color capture in the same series",
        reads(_ninth(SamplesPerPixel=3, PhotometricInterpretation="RGB", sop=CAPTURE)),
        true("008.dcm", "color image", "ignored"),
    ),
    Case("A", "one UID for all slices", reads(folder_of(change=_one_uid)), true()),
    Case("A", "one UID for all slices, and a copy", reads(_copied), true("copies")),
    Case("A", "a slope of 0", reads(folder_of(RescaleSlope=0)), true("scales values by 0")),
    Case("A", "13 bits stored, the sign not carried on", reads(folder_of(change=_thirteen_bits)), true()),
    Case("A", "bytes behind the pixels", reads(folder_of(change=_longer)), true()),
    Case("A", "pixels of 32 bits", reads(folder_of(change=_thirty_two_bits)), true()),
    Case("A", "no pixels", reads(folder_of(change=_without_pixels)), Refused(FileError, "002.dcm")),
    Case("A", "bits stored missing", reads(folder_of(BitsStored=None)), Refused(FileError, "000.dcm")),
    Case("A", "truncated file", reads(_sample("MR_truncated.dcm")), Refused(FileError, "MR_truncated.dcm")),
]


def _seg(*frames: tuple[int, int, slice], names: Sequence[str] = ("Liver", "Tumor")) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        made = []
        for number, height, part in frames:
            mask = np.zeros((SIZE[1], SIZE[0]), bool)
            mask[part] = True
            made.append((number, positions()[height], mask))
        return save(segmentation(made, names), folder / "seg.dcm")

    return write


def _labels(make: Callable[[Path], Path]) -> Callable[[Path], Call]:
    def build(folder: Path) -> Call:
        path = make(folder / "dicom")
        return lambda: read_labels(path)

    return build


def _dose() -> Any:
    pixels = np.array([plane(place) for place in positions()]) / 0.25
    return dataset(
        pixels,
        sop=DOSE,
        modality="RTDOSE",
        ImagePositionPatient=list(ORIGIN),
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[SPACING[1], SPACING[0]],
        GridFrameOffsetVector=list(HEIGHTS),
        DoseGridScaling=0.25,
        DoseUnits="GY",
    )


def _nuclear() -> Any:
    pixels = np.array([plane(place) for place in positions()])
    found = dataset(pixels, sop=NUCLEAR, modality="NM", PixelSpacing=[2.0, 1.5], SpacingBetweenSlices=SPACING[2])
    found.DetectorInformationSequence = [
        item(ImagePositionPatient=list(ORIGIN), ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    ]
    return found


def _color() -> Any:
    found = a_slice(ORIGIN, sop=CAPTURE, modality="OT")
    found.SamplesPerPixel, found.PhotometricInterpretation = 3, "RGB"
    return found


ANY = [2, 0, 1, 5, 4, 3, 7, 6]
OBJECT_CASES = [
    Case(
        "A",
        "enhanced MR, any order",
        reads(in_one_file(lambda: enhanced(positions()[ANY]))),
        true(),
    ),
    Case(
        "A",
        "enhanced MR, another slope in each frame",
        reads(in_one_file(lambda: enhanced(positions(), slopes=[0.5 + 0.1 * n for n in range(8)]))),
        true(),
    ),
    Case(
        "A",
        "enhanced MR, a frame missing",
        reads(in_one_file(lambda: enhanced(np.delete(positions(), 4, 0)))),
        Refused(GeometryError, "missing", "frame 4", "frame 5"),
    ),
    Case(
        "A",
        "enhanced MR, tilted",
        reads(in_one_file(lambda: enhanced(positions(shear=(0, TILT))))),
        true("gantry tilt"),
    ),
    Case(
        "A",
        "enhanced MR of two times",
        reads(in_one_file(lambda: enhanced(np.repeat(positions(), 2, 0), times=[1, 2] * 8))),
        Refused(FileError, "time point 2"),
    ),
    Case(
        "A",
        "enhanced MR of two times, one chosen",
        reads(in_one_file(lambda: enhanced(np.repeat(positions(), 2, 0), times=[1, 2] * 8)), "1.2"),
        true(),
    ),
    Case("A", "radiotherapy dose", reads(in_one_file(_dose)), true()),
    Case("A", "nuclear medicine", reads(in_one_file(_nuclear)), true()),
    Case("A", "radiotherapy contours", reads(_sample("rtstruct.dcm")), Refused(FileError, "contours", "SlicerRT")),
    Case("A", "radiotherapy plan", reads(_sample("rtplan.dcm")), Refused(FileError, "radiotherapy plan")),
    Case("A", "a report", reads(_sample("reportsi.dcm")), Refused(FileError, "report")),
    Case("A", "color capture", reads(in_one_file(_color)), Refused(FileError, "color")),
    Case(
        "A",
        "film of a capture",
        reads(in_one_file(lambda: dataset(np.zeros((4, 10, 12)), sop=CAPTURE, modality="US"))),
        Refused(FileError, "4 frames without positions"),
    ),
    Case(
        "A",
        "Siemens mosaic",
        reads(folder_of(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])),
        Refused(FileError, "mosaic", "dcm2niix"),
    ),
    Case("A", "report and contours beside the series", reads(beside(_color)), true()),
    Case("A", "folder without DICOM", reads(lambda f: f.mkdir()), Refused(FileError, "No DICOM series")),
    Case(
        "A",
        "folder of folders",
        lambda folder: (series(folder / "study" / "ct"), lambda: read_volume(folder / "study"))[1],
        Refused(FileError, "No DICOM series", "ct"),
    ),
    Case("A", "text file among the slices", reads(lambda f: ((series(f) / "a.txt").write_text("x"), f)[1]), true()),
    Case(
        "A",
        "segmentation given as a volume",
        reads(_seg((1, 0, np.s_[2:5]))),
        Refused(FileError, "segmentation"),
    ),
    Case(
        "A",
        "segmentation: numbers and names",
        _labels(_seg((1, 0, np.s_[2:5]), (2, 4, np.s_[6:]))),
        Gives({1: "Liver", 2: "Tumor"}, read=lambda run: dict(run.value.names)),
    ),
    Case(
        "A",
        "segmentation whose empty frames are left out",
        _labels(_seg((1, 0, np.s_[2:5]), (2, 4, np.s_[6:]))),
        Gives(
            [5, 36, 48],
            read=lambda run: [len(run.value.array), (run.value.array[0] == 1).sum(), (run.value.array[4] == 2).sum()],
        ),
    ),
    Case(
        "A",
        "segmentation whose segments overlap",
        _labels(_seg((1, 0, np.s_[2:5]), (2, 0, np.s_[4:6]))),
        Gives(24, read=lambda run: int((run.value.array == 2).sum()), notes=["overlap", "Tumor", "12 voxels", "Liver"]),
    ),
]

CASES = [*VALUE_CASES, *OBJECT_CASES]
