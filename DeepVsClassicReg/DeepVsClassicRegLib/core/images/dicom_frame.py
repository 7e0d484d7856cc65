"""The frame of reference of a DICOM series, and what an object that refers to the series repeats of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileError
from ..files import split_series
from .dicom_slices import read_dataset
from .raw import Pathlike

# Attributes of patient and study that an object of the same study repeats.
PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")


@dataclass(frozen=True, eq=False)
class DicomFrame:
    """The frame of reference of a series.

    Attributes
    ----------
    uid : str
        Frame of Reference UID.
    study, series : str
        Instance UIDs.
    instances : tuple of (str, str)
        SOP class and SOP instance UID of each image.
    header : pydicom.Dataset
        Patient and study attributes.
    """

    uid: str
    study: str
    series: str
    instances: tuple[tuple[str, str], ...]
    header: Any


def read_dicom_frame(path: Pathlike) -> DicomFrame:
    """Return the frame of reference of a DICOM file or folder.

    Parameters
    ----------
    path : path
        File or folder; `folder#UID` selects a series by its UID, number or description.

    Raises
    ------
    FileError
        When there is no DICOM image, or several series with different frames of reference.
    """
    folder, series = split_series(Path(path))
    if not folder.exists():
        raise FileError(f"No such DICOM file or folder: {folder}.", hint="Check the path.")
    files = [folder] if folder.is_file() else sorted(entry for entry in folder.iterdir() if entry.is_file())
    return frame_of_files(files, name=str(path), series=series)


def frame_of_files(files: Iterable[Path], *, name: str, series: str | None = None) -> DicomFrame:
    """Return the common frame of reference of the images in some files; raises as `read_dicom_frame`."""
    found: dict[str, list[Any]] = {}
    for file in files:
        dataset = read_dataset(file, pixels=False)
        if dataset is not None and "Rows" in dataset and dataset.get("FrameOfReferenceUID") and _is(dataset, series):
            found.setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    if not found:
        raise FileError(
            f"{name} contains no DICOM image with a frame of reference.",
            hint="Give the DICOM series from which the volume was made; registrations refer to its frame of reference.",
        )
    frames = {str(images[0].FrameOfReferenceUID) for images in found.values()}
    if len(frames) > 1:
        listed = ", ".join(f"#{uid}" for uid in found)
        raise FileError(f"{name} contains series with different frames of reference.", hint=f"Select one: {listed}.")
    first = next(iter(found.values()))
    return DicomFrame(
        uid=frames.pop(),
        study=str(first[0].StudyInstanceUID),
        series=str(first[0].SeriesInstanceUID),
        instances=tuple((str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in first),
        header=first[0],
    )


def _is(dataset: Any, series: str | None) -> bool:
    names = (dataset.get(key) for key in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription"))
    return series is None or series in {str(name) for name in names if name is not None}
