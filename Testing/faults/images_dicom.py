"""DICOM series: every slice lies where its header says, one series is chosen, or the folder is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.images.io import read_volume
from dicom_samples import (
    ORIGIN,
    SIZE,
    SPACING,
    a_slice,
    beside,
    folder_of,
    grid,
    plane,
    positions,
    reads,
    save,
    series,
    true,
)

from . import Case, Gives, Refused

TILT = np.tan(np.deg2rad(20))
OBLIQUE = np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.3, 1.0, 0.2], [0.1, -0.2, 1.0]]))[0]
OBLIQUE_COSINES = tuple(np.round([*OBLIQUE[:, 0], *OBLIQUE[:, 1]], 9))


def _two(**other: Any) -> Callable[[Path], Path]:
    """Return a writer of two series that differ by these facts."""

    def write(folder: Path) -> Path:
        series(folder, name="a")
        return series(folder, name="b", **other)

    return write


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
        reads(beside(lambda: a_slice(positions()[2], pixels=plane(positions()[2]) * 0.5))),
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
    Case("A", "a scout beside the series", reads(beside(_scout)), true("scouts")),
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

CASES = [*GEOMETRY_CASES, *CHOICE_CASES]
