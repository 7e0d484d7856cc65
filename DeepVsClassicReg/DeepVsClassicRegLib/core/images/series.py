"""Frames over time: reading a 4D volume or a list of 3D volumes frame by frame, and writing a 4D volume."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ..errors import FileError, GeometryError
from .file_lists import VOLUME_ENDINGS
from .io import read_image, read_raw, stem, write_image
from .nifti import nifti_dimensions, nifti_frame_step, read_nifti_frames
from .raw import RawImage, is_nifti, looks_like_dicom
from .resample import grid_of, image_from_array, to_sitk
from .stated import geometry_notes
from .volume import Volume

FEWEST = 2
HINT = "Give one 4D volume (NIfTI, NRRD), a folder of 3D volumes, or two or more 3D volumes in the order of time."


@dataclass(frozen=True)
class FrameSeries:
    """Volumes of one subject in the order of time.

    Attributes
    ----------
    name : str
        Name of the 4D volume, or of the first frame.
    files : tuple of Path
        One 4D file, or one file per frame.
    count : int
        Number of frames.
    step_s : float or None
        Time between frames in seconds, when the file states it.
    """

    name: str
    files: tuple[Path, ...]
    count: int
    step_s: float | None = None

    def frames(self) -> Iterator[RawImage]:
        """Yield the frames as stored, one by one; a NIfTI is read once."""
        if len(self.files) > 1:
            yield from (read_raw(file) for file in self.files)
        elif is_nifti(self.files[0]):
            yield from read_nifti_frames(self.files[0])
        else:
            yield from _frames_of_image(self.files[0])


def open_series(sources: Sequence[Path]) -> FrameSeries:
    """Return the frames of a 4D volume, of a folder of 3D volumes, or of 3D volumes in the given order.

    Raises
    ------
    FileError
        When a file is missing or there are fewer than two frames.
    GeometryError
        When a single volume is not 4D.
    """
    files = tuple(Path(source).absolute() for source in sources)
    if len(files) == 1 and files[0].is_dir() and not looks_like_dicom(files[0]):
        files = _volumes_of(files[0]) or files
    for file in files:
        if not file.exists() and "#" not in file.name:
            raise FileError(f"There is no file {file}.", hint=HINT)
    if len(files) != 1:
        if len(files) < FEWEST:
            raise FileError(f"{len(files)} frames are given, expected {FEWEST} or more.", hint=HINT)
        return FrameSeries(stem(files[0]), files, len(files))
    file = files[0]
    lengths = nifti_dimensions(file) if is_nifti(file) else _dimensions(file)
    if len(lengths) != 4:
        raise GeometryError(f"{file.name} has {len(lengths)} dimensions {tuple(lengths)}, expected 4.", hint=HINT)
    return FrameSeries(stem(file), files, lengths[3], nifti_frame_step(file) if is_nifti(file) else None)


def write_series(frames: Iterable[Volume], path: Path, *, step_s: float | None = None) -> Path:
    """Write volumes on one grid as a 4D file (float32), compressed.

    Raises
    ------
    FileError
        When the file cannot be written.
    """
    return write_image(sitk.JoinSeries([to_sitk(frame) for frame in frames], 0.0, step_s or 1.0), path)


def write_frame(frame: RawImage, path: Path) -> Path:
    """Write one frame with its stored values."""
    return write_image(image_from_array(frame.array, frame.grid), path)


def _volumes_of(folder: Path) -> tuple[Path, ...]:
    """Return the volumes of a folder, in the order of the numbers in their names."""
    found = (path for path in folder.iterdir() if VOLUME_ENDINGS.search(path.name) and not path.name.startswith("."))

    def order(path: Path) -> tuple[tuple[int, int, str], ...]:
        return tuple((0, int(t), "") if t.isdigit() else (1, 0, t) for t in re.split(r"(\d+)", path.name) if t)

    return tuple(sorted(found, key=order))


def _dimensions(path: Path) -> tuple[int, ...]:
    """Return the lengths of all axes of an image; the components of a NRRD of volumes (.seq.nrrd) are its frames."""
    if path.is_dir() or looks_like_dicom(path):
        return read_raw(path).array.shape[::-1]
    image = read_image(path)
    if image.GetDimension() == 3 and image.GetNumberOfComponentsPerPixel() > 1:
        return (*image.GetSize(), image.GetNumberOfComponentsPerPixel())
    return tuple(image.GetSize())


def _frames_of_image(path: Path) -> Iterator[RawImage]:
    image = read_image(path)
    is_list, notes = image.GetDimension() == 3, geometry_notes(path)
    for number in range(image.GetNumberOfComponentsPerPixel() if is_list else image.GetSize()[3]):
        frame = sitk.VectorIndexSelectionCast(image, number) if is_list else image[:, :, :, number]
        yield RawImage(sitk.GetArrayFromImage(frame), grid_of(frame), frame.GetPixelIDTypeAsString(), notes)
