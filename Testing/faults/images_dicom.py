"""DICOM folders and files: every voxel lies where the headers say, or the series is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.images.segmentations import read_labels
from dicom_samples import (
    CAPTURE,
    DOSE,
    NUCLEAR,
    ORIGIN,
    PET,
    SIZE,
    SPACING,
    a_slice,
    dataset,
    enhanced,
    item,
    plane,
    positions,
    save,
    segmentation,
    series,
    values,
)
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from . import Call, Case, Gives, Refused, Run

TILT = np.tan(np.deg2rad(20))
OBLIQUE = np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.3, 1.0, 0.2], [0.1, -0.2, 1.0]]))[0]
OBLIQUE_COSINES = tuple(np.round([*OBLIQUE[:, 0], *OBLIQUE[:, 1]], 9))


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
    """Expect every voxel to hold the value of its place (stored as whole numbers)."""
    return Gives(0.0, tolerance, read=misplaced, notes=notes, silent=() if notes else ("note",))


def folder_of(places: Any = None, **facts: Any) -> Callable[[Path], Path]:
    """Return a writer of a series."""
    return lambda folder: series(folder, places, **facts)


def _two(**other: Any) -> Callable[[Path], Path]:
    """Return a writer of two series that differ by these facts."""

    def write(folder: Path) -> Path:
        series(folder, name="a")
        return series(folder, name="b", **other)

    return write


def _with(extra: Callable[[], Any], name: str = "x.dcm") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        series(folder)
        save(extra(), folder / name)
        return folder

    return write


def _one(make: Callable[[], Any]) -> Callable[[Path], Path]:
    return lambda folder: save(make(), folder / "file.dcm")


def _scout() -> Any:
    cosines = (1, 0, 0, 0, 0, -1)
    return a_slice((-20, 0, 0), cosines=cosines, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


HEIGHTS = np.arange(SIZE[2]) * SPACING[2]
VARYING = np.concatenate([np.arange(6) * 2.5, 12.5 + 5 * np.arange(1, 7)])
GEOMETRY_CASES = [
    Case("A", "ordinary series", reads(folder_of()), true()),
    Case("A", "grid of an ordinary series", reads(folder_of()), Gives([*SIZE, *SPACING, *ORIGIN], 1e-6, read=grid)),
    Case(
        "A",
        "oblique series",
        reads(lambda f: series(f, positions(cosines=OBLIQUE_COSINES), cosines=OBLIQUE_COSINES)),
        true(),
    ),
    Case(
        "A",
        "sagittal series from right to left",
        reads(lambda f: series(f, positions(cosines=(0, 1, 0, 0, 0, -1))[::-1], cosines=(0, 1, 0, 0, 0, -1))),
        true(),
    ),
    Case("A", "files in another order", reads(folder_of(positions()[[3, 0, 7, 5, 1, 6, 2, 4]])), true()),
    Case("A", "no instance numbers", reads(folder_of(InstanceNumber=None)), true()),
    Case("A", "wrong instance numbers", reads(folder_of(InstanceNumber=7)), true()),
    Case("A", "slice thickness unlike the distance", reads(folder_of(SliceThickness=9)), true()),
    Case(
        "A",
        "two slices missing",
        reads(folder_of(positions(np.delete(HEIGHTS, [3, 4])))),
        Refused(GeometryError, "2 slices", "missing", "002.dcm", "003.dcm", "9 mm"),
    ),
    Case(
        "A",
        "slices missing in two places",
        reads(folder_of(positions(np.delete(np.arange(12) * 3.0, [3, 8])))),
        Refused(GeometryError, "2 slices", "missing"),
    ),
    Case(
        "A",
        "last slice far away",
        reads(folder_of(positions([*HEIGHTS[:-1], 90.0]))),
        Refused(GeometryError, "missing", "006.dcm"),
    ),
    Case("A", "gantry tilt", reads(folder_of(positions(shear=(0, -TILT)))), true("gantry tilt of 20.0")),
    Case("A", "tilt in both directions", reads(folder_of(positions(shear=(0.3, 0.2)))), true("gantry tilt")),
    Case(
        "A",
        "tilted and oblique",
        reads(lambda f: series(f, positions(cosines=OBLIQUE_COSINES, shear=(0, TILT)), cosines=OBLIQUE_COSINES)),
        true("gantry tilt"),
    ),
    Case("A", "thin slices below thick ones", reads(folder_of(positions(VARYING))), true("2.5 to 5 mm")),
    Case("A", "varying and tilted", reads(folder_of(positions(VARYING, shear=(0, 0.3)))), true("2.5 to 5", "tilt")),
    Case(
        "A",
        "positions rounded to a tenth",
        reads(folder_of(np.round(positions() + 0.04, 1))),
        true(),
    ),
    Case(
        "A",
        "two images at one position",
        reads(_with(lambda: a_slice(positions()[2], pixels=plane(positions()[2]) * 0.5))),
        Refused(GeometryError, "position", "002.dcm", "x.dcm"),
    ),
    Case(
        "A",
        "a copy of a file",
        reads(lambda f: (series(f), shutil.copy(f / "002.dcm", f / "copy.dcm"), f)[-1]),
        true("copies", "copy.dcm"),
    ),
    Case(
        "A",
        "one slice beside the others",
        reads(folder_of(positions() + np.array([[0, 0, 0]] * 4 + [[25, 0, 0]] + [[0, 0, 0]] * 3))),
        Refused(GeometryError, "straight line", "004.dcm"),
    ),
    Case(
        "A",
        "a fan of directions",
        reads(
            lambda f: [
                save(a_slice(ORIGIN, cosines=(1, 0, 0, 0, np.cos(t), np.sin(t))), f / f"{n}.dcm")
                for n, t in enumerate(np.linspace(0, 2, 5))
            ]
        ),
        Refused(FileError, "5 DICOM series", "1.1"),
    ),
    Case(
        "A",
        "pixel spacing missing",
        reads(folder_of(PixelSpacing=None)),
        Refused(FileError, "pixel spacing"),
    ),
    Case(
        "A",
        "position missing",
        reads(folder_of(ImagePositionPatient=None)),
        Refused(FileError, "position in the patient"),
    ),
    Case(
        "A",
        "orientation zero",
        reads(folder_of(ImageOrientationPatient=[0, 0, 0, 0, 0, 0])),
        Refused(FileError, "orientation"),
    ),
    Case(
        "A",
        "rows and columns not at right angles",
        reads(folder_of(ImageOrientationPatient=[1, 0, 0, 0.3, 0.95, 0])),
        Refused(GeometryError, "right angles"),
    ),
    Case(
        "A",
        "cosines rounded to three digits",
        reads(folder_of(ImageOrientationPatient=[1, 0.001, 0, 0, 1, 0])),
        true(tolerance=1.0),
    ),
]

ECHOES = _two(EchoNumbers=2, EchoTime=30)
CHOICE_CASES = [
    Case("A", "two echoes", reads(ECHOES), Refused(FileError, "2 DICOM series", "12 x 10 x 8", "echo 2", "--series")),
    Case("A", "two echoes, the second chosen", reads(ECHOES, "1.2"), true()),
    Case("A", "two echoes, a third chosen", reads(ECHOES, "5"), Refused(FileError, "no series '5'", "1.2")),
    Case(
        "A",
        "two series, by number",
        reads(_two(SeriesNumber=7, SeriesInstanceUID="1.9", SeriesDescription="T2 tse"), "7"),
        true(),
    ),
    Case(
        "A",
        "two series, by description",
        reads(_two(SeriesNumber=7, SeriesInstanceUID="1.9", SeriesDescription="T2 tse"), "t2 TSE"),
        true(),
    ),
    Case(
        "A",
        "two series, none chosen",
        reads(_two(SeriesNumber=7, SeriesInstanceUID="1.9", SeriesDescription="T2 tse")),
        Refused(FileError, "7: 'T2 tse'", "--series"),
    ),
    Case("A", "phases in time", reads(_two(TemporalPositionIdentifier=2)), Refused(FileError, "time point 2")),
    Case("A", "magnitude and phase", reads(_two(ImageType=["ORIGINAL", "PRIMARY", "P"])), Refused(FileError, "type")),
    Case("A", "a scout beside the series", reads(_with(_scout)), true("scouts")),
    Case(
        "A",
        "info lists the choices",
        lambda folder: ["info", ECHOES(folder / "dicom")],
        Refused(FileError, "1.1", "1.2", "--series"),
    ),
    Case(
        "A",
        "info --series",
        lambda folder: ["info", ECHOES(folder / "dicom"), "--series", "1.2"],
        Gives(True, notes=["12, 10, 8", "echo 2"], read=lambda run: run.code == 0),
    ),
    Case(
        "A",
        "evaluate --series",
        lambda folder: [
            *("evaluate", "--fixed", ECHOES(folder / "dicom"), "--moving", series(folder / "other")),
            *("--series", "fixed=1.2", "--json"),
        ],
        Gives(True, read=lambda run: '"measures"' in run.value),
    ),
    Case(
        "A",
        "--series without a role for two folders",
        lambda folder: [
            *("evaluate", "--fixed", ECHOES(folder / "dicom"), "--moving", series(folder / "other"), "--series", "1.2")
        ],
        Refused(RegistrationError, "fixed=1.2"),
    ),
    Case(
        "A",
        "the series of a folder in its path",
        lambda folder: lambda: read_volume(f"{ECHOES(folder / 'dicom')}#1.2"),
        true(),
    ),
]


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
        reads(_one(lambda: enhanced(positions()[ANY]))),
        true(),
    ),
    Case(
        "A",
        "enhanced MR, another slope in each frame",
        reads(_one(lambda: enhanced(positions(), slopes=[0.5 + 0.1 * n for n in range(8)]))),
        true(),
    ),
    Case(
        "A",
        "enhanced MR, a frame missing",
        reads(_one(lambda: enhanced(np.delete(positions(), 4, 0)))),
        Refused(GeometryError, "missing", "frame 4", "frame 5"),
    ),
    Case("A", "enhanced MR, tilted", reads(_one(lambda: enhanced(positions(shear=(0, TILT))))), true("gantry tilt")),
    Case(
        "A",
        "enhanced MR of two times",
        reads(_one(lambda: enhanced(np.repeat(positions(), 2, 0), times=[1, 2] * 8))),
        Refused(FileError, "time point 2"),
    ),
    Case(
        "A",
        "enhanced MR of two times, one chosen",
        reads(_one(lambda: enhanced(np.repeat(positions(), 2, 0), times=[1, 2] * 8)), "1.2"),
        true(),
    ),
    Case("A", "radiotherapy dose", reads(_one(_dose)), true()),
    Case("A", "nuclear medicine", reads(_one(_nuclear)), true()),
    Case("A", "radiotherapy contours", reads(_sample("rtstruct.dcm")), Refused(FileError, "contours", "SlicerRT")),
    Case("A", "radiotherapy plan", reads(_sample("rtplan.dcm")), Refused(FileError, "radiotherapy plan")),
    Case("A", "a report", reads(_sample("reportsi.dcm")), Refused(FileError, "report")),
    Case("A", "color capture", reads(_one(_color)), Refused(FileError, "color")),
    Case(
        "A",
        "film of a capture",
        reads(_one(lambda: dataset(np.zeros((4, 10, 12)), sop=CAPTURE, modality="US"))),
        Refused(FileError, "4 frames without positions"),
    ),
    Case(
        "A",
        "Siemens mosaic",
        reads(folder_of(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])),
        Refused(FileError, "mosaic", "dcm2niix"),
    ),
    Case("A", "report and contours beside the series", reads(_with(_color)), true()),
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

CASES = [*GEOMETRY_CASES, *CHOICE_CASES, *VALUE_CASES, *OBJECT_CASES]
