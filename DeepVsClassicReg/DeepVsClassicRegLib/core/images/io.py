"""Reading and writing volumes, label maps and landmarks in the formats of the field."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import FileError, GeometryError, RegistrationError
from ..files import settle
from .simple import grid_of, labels_from_sitk, to_sitk
from .volume import LabelMap, Volume

Pathlike = str | os.PathLike[str]
log = logging.getLogger(__name__)
FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha, .mhd) or a DICOM folder"


def read_volume(path: Pathlike, *, repair: bool = True, name: str | None = None) -> Volume:
    """Read a scalar 3D volume.

    Parameters
    ----------
    path : path
        A file of any format SimpleITK reads, or a folder with one DICOM series.
    repair : bool, default True
        Replace NaN and Inf by the lowest finite value, with a warning in the log.
    name : str, optional
        Name of the volume; the file's name when not given.

    Raises
    ------
    FileError
        When the file is missing or unreadable.
    GeometryError
        When the volume is not 3D or its axes are sheared.
    RegistrationError
        When it is a color image, or holds no finite value.
    """
    image = _read_image(Path(path))
    title = name or stem(path)
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        array = _repaired(array, finite, title, repair=repair)
    return Volume(array, grid_of(image), title)


def read_labels(path: Pathlike, *, name: str | None = None) -> LabelMap:
    """Read a segmentation or mask; the same errors as `read_volume`."""
    image = _read_image(Path(path))
    return labels_from_sitk(image, name=name or stem(path))


def write_volume(volume: Volume | LabelMap, path: Pathlike) -> Path:
    """Write a volume (float32) or a label map (smallest integer type), compressed.

    Raises
    ------
    FileError
        When the file cannot be written (folder missing, disk full, unknown format).
    """
    image = to_sitk(volume)
    if isinstance(volume, LabelMap):
        image = sitk.Cast(image, _label_type(volume))
    return write_image(image, path)


def write_image(image: sitk.Image, path: Pathlike) -> Path:
    """Write a SimpleITK image, compressed; `FileError` when that fails."""
    target = Path(path)
    try:
        sitk.WriteImage(image, str(target), useCompression=True)
    except RuntimeError as error:
        raise FileError(
            f"Could not write {target}: {_last_line(error)}.", hint="Check the folder, the ending and the free space."
        ) from error
    return settle(target)


def read_points(path: Pathlike, *, prefix: str = "") -> npt.NDArray[np.float64]:
    """Read landmarks as an (N, 3) array in LPS mm.

    Parameters
    ----------
    path : path
        `.csv` with columns x, y, z (LPS mm; `prefix` in front: 'fixed_' or 'moving_' reads the shared
        two-sided layout), a Slicer markups `.mrk.json` or `.fcsv` (their own coordinate system is
        obeyed), or a `.json` list of triples.
    prefix : str
        Prefix of the columns wanted from a `.csv`.

    Raises
    ------
    FileError
        When the file is missing or holds no such columns.
    """
    source = Path(path)
    if not source.is_file():
        raise FileError(f"No such landmark file: {source}.", hint="Check the path.")
    readers = {".csv": _points_csv, ".fcsv": _points_fcsv, ".json": _points_json}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise FileError(f"{source.name}: landmarks must be .csv, .fcsv, .mrk.json or .json.")
    try:
        points = np.asarray(reader(source, prefix), dtype=np.float64)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise FileError(
            f"Could not read landmarks from {source.name}: {error!r}.",
            hint=f"A .csv needs the columns {prefix}x, {prefix}y, {prefix}z in LPS mm.",
        ) from error
    if points.size == 0:
        raise FileError(f"{source.name} holds no landmarks.")
    return points.reshape(-1, 3)


def write_points(points_mm: npt.ArrayLike, path: Pathlike, *, names: Sequence[str] | None = None) -> Path:
    """Write (N, 3) LPS mm points as `.csv` (columns name, x, y, z)."""
    target = Path(path)
    points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
    labels = names or [str(number) for number in range(1, len(points) + 1)]
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "x", "y", "z"])
        for label, point in zip(labels, points, strict=True):
            writer.writerow([label, *(f"{value:.6f}" for value in point)])
    return target


def stem(path: Pathlike) -> str:
    """Return the file's name without folder and (double) ending."""
    name = Path(path).name
    for ending in (".nii.gz", ".mrk.json", ".seg.nrrd"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return Path(name).stem


def _read_image(path: Path) -> sitk.Image:
    if not path.exists():
        raise FileError(f"No such file: {path}.", hint="Check the path.")
    try:
        image = _read_dicom(path) if path.is_dir() else sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise GeometryError(
                f"{path.name} has sheared axes (no orthonormal direction).",
                hint="Resample it to an ordinary grid first (in Slicer: Harden transform, Resample).",
            ) from error
        raise FileError(f"Could not read {path}: {_last_line(error)}.", hint=f"Readable are {FORMATS}.") from error
    return _three_dimensional(image, path.name)


def _read_dicom(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise FileError(f"No DICOM series in {folder}.", hint=f"Readable are {FORMATS}.")
    if len(series) > 1:
        raise FileError(f"{folder} holds {len(series)} DICOM series.", hint="Give a folder with a single series.")
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    return reader.Execute()


def _three_dimensional(image: sitk.Image, name: str) -> sitk.Image:
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise RegistrationError(
            f"{name} has {image.GetNumberOfComponentsPerPixel()} components per voxel (color or vector image).",
            hint="Only scalar volumes can be registered; extract one component first.",
        )
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        log.warning("%s: a 4D file with one frame, read as 3D.", name)
        return image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise GeometryError(
            f"{name} has {image.GetDimension()} dimensions {image.GetSize()}, expected 3.",
            hint="Extract one 3D frame first." if image.GetDimension() == 4 else "Give a 3D volume.",
        )
    return image


def _repaired(
    array: npt.NDArray[np.float32], finite: npt.NDArray[np.bool_], name: str, *, repair: bool
) -> npt.NDArray[np.float32]:
    if not finite.any():
        raise RegistrationError(f"{name} holds no finite value at all.")
    if repair:
        lowest = array[finite].min()
        log.warning("%s: %d voxels were NaN or Inf, now %g.", name, int((~finite).sum()), lowest)
        return np.where(finite, array, lowest)
    return array


def _label_type(labels: LabelMap) -> int:
    low, high = int(labels.array.min()), int(labels.array.max())
    if low < 0:
        return int(sitk.sitkInt32)
    return int(sitk.sitkUInt8 if high < 256 else sitk.sitkUInt16 if high < 65536 else sitk.sitkInt32)


def _points_csv(path: Path, prefix: str) -> list[list[float]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        columns = [prefix + axis for axis in "xyz"]
        return [[float(row[column]) for column in columns] for row in rows]


def _points_fcsv(path: Path, _prefix: str) -> list[list[float]]:
    text = path.read_text(encoding="utf-8").splitlines()
    system = next((line.split("=")[1].strip() for line in text if "CoordinateSystem" in line), "RAS")
    flip = -1.0 if system in ("RAS", "0") else 1.0
    rows = [line.split(",") for line in text if line and not line.startswith("#")]
    return [[flip * float(row[1]), flip * float(row[2]), float(row[3])] for row in rows]


def _points_json(path: Path, _prefix: str) -> list[list[float]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, list):
        return content
    markup = content["markups"][0]
    flip = 1.0 if markup.get("coordinateSystem", "LPS") in ("LPS", "1") else -1.0
    positions = [point["position"] for point in markup["controlPoints"]]
    return [[flip * x, flip * y, z] for x, y, z in positions]


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
