"""Describes the content of a file (volume, segmentation, transform or landmarks) as plain values."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..core.errors import FileError, RegistrationError
from ..core.files import check_path, split_series
from ..core.images.grid import Grid
from ..core.images.io import (
    is_segmentation_object,
    is_slicer_segmentation,
    read_labels,
    read_raw,
    read_segmentation,
    stem,
    volume_of,
)
from ..core.images.nifti import components
from ..core.images.points import Landmarks, read_landmarks
from ..core.images.raw import is_nifti
from ..core.images.volume import Volume
from ..core.pair import FEWEST_VOXELS
from ..core.transforms.files import FIELD_ENDINGS, TRANSFORM_ENDINGS, read_transform
from ..core.transforms.jacobian import field_jacobian, regularity
from ..core.transforms.transform import Affine, BSpline, DisplacementField, Transform

POINT_ENDINGS = (".csv", ".fcsv", ".mrk.json")
MOST_LABELS = 300
DIRECTIONS = {"L": "left", "R": "right", "P": "posterior", "A": "anterior", "S": "superior", "I": "inferior"}


def describe(path: Path) -> dict[str, Any]:
    """Return the description of a file as plain JSON values, with a list of warnings.

    Raises
    ------
    RegistrationError
        When the file is missing or unreadable.
    """
    check_path(path)
    source, series = split_series(path)
    if not source.exists():
        raise FileError(f"No such file: {path}.", hint="Check the path.")
    if series is not None:
        return _image(path)
    name = path.name.lower()
    if name.endswith(POINT_ENDINGS):
        return _points(path)
    if name.endswith(TRANSFORM_ENDINGS):
        return _transform(read_transform(path))
    if path.is_file() and (is_slicer_segmentation(path) or is_segmentation_object(path)):
        return _segmentation(path)
    if path.is_file() and name.endswith(FIELD_ENDINGS) and _is_vectors(path):
        return _transform(read_transform(path))
    return _image(path)


def _is_vectors(path: Path) -> bool:
    """Return whether the file has three numbers per voxel that are not a color."""
    if is_nifti(path):
        return components(path) == 3
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return False  # the reader of volumes reports the error
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    three = reader.GetNumberOfComponents() == 3 and reader.GetDimension() == 3
    return three and not kind.endswith("8-bit unsigned integer")


def _image(path: Path) -> dict[str, Any]:
    try:
        raw = read_raw(path)
        volume = volume_of(raw, stem(path))
    except FileError:
        raise
    except RegistrationError as error:
        return {"kind": "image", "warnings": [f"Cannot be registered: {error}"]}
    about = {**_volume(volume, raw.stored_as), **raw.about}
    about["warnings"] = about.pop("warnings")  # last
    if raw.array.dtype.kind in "iu" and len(np.unique(raw.array)) <= MOST_LABELS:
        about |= {"kind": "segmentation or volume", "labels": _label_sizes(path)}
    return about


def _volume(volume: Volume, kind: str) -> dict[str, Any]:
    low, high = volume.value_range
    warnings = list(volume.notes)
    smallest = min(volume.grid.size)
    if smallest < FEWEST_VOXELS:
        warnings.append(f"Cannot be registered: only {smallest} voxel(s) along one axis, {FEWEST_VOXELS} are needed.")
    if low == high:
        warnings.append("Cannot be registered: every voxel has the same value.")
    thick = max(volume.grid.spacing_mm) / min(volume.grid.spacing_mm)
    if thick > 4:
        warnings.append(f"The slices are {thick:.1f} times thicker than the pixels.")
    center = np.linalg.norm(volume.grid.center_mm)
    if center > 2000:
        warnings.append(f"The center is {center / 1000:.1f} m from the origin; check the header.")
    percentiles = np.percentile(volume.array, [1, 50, 99])
    return {
        "kind": "volume",
        **_grid(volume.grid),
        "stored_as": kind,
        "range": [low, high],
        "percentiles_1_50_99": [float(value) for value in percentiles],
        "warnings": warnings,
    }


def _grid(grid: Grid) -> dict[str, Any]:
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(grid.direction)
    aligned = np.abs(grid.axes).max(axis=0).min() > 0.9999
    toward = ", ".join(f"{axis} toward {DIRECTIONS[letter]}" for axis, letter in zip("ijk", code, strict=True))
    hand = "right" if np.linalg.det(grid.axes) > 0 else "left"
    return {
        "size": list(grid.size),
        "spacing_mm": list(grid.spacing_mm),
        "field_of_view_mm": [float(edge) for edge in grid.extent_mm],
        "origin_mm_lps": list(grid.origin_mm),
        "orientation": code,
        "axes": f"{toward}; {'straight' if aligned else 'oblique'}, {hand}-handed",
    }


def _label_sizes(path: Path) -> dict[str, Any]:
    labels = read_labels(path)
    numbers, counts = np.unique(labels.array[labels.array != 0], return_counts=True)
    volumes = counts * labels.grid.voxel_volume_mm3 / 1000
    return {str(number): f"{volume:.3f} mL" for number, volume in zip(numbers.tolist(), volumes, strict=True)}


def _transform(transform: Transform) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": "transform (fixed to moving, LPS mm)", "parts": len(transform.parts)}
    warnings: list[str] = []
    for number, part in enumerate(transform.parts, start=1):
        about[f"part_{number}"] = _part(part, warnings)
    return {**about, "warnings": [*transform.notes, *warnings]}


def _part(part: Any, warnings: list[str]) -> dict[str, Any]:
    if isinstance(part, Affine):
        scales = np.linalg.svd(part.matrix, compute_uv=False)
        return {
            "type": "rigid" if part.is_rigid else "affine",
            "matrix": [[round(float(value), 6) for value in row] for row in part.matrix],
            "translation_mm": [round(float(value), 4) for value in part.translation_mm],
            "scales": [round(float(value), 4) for value in scales],
        }
    if isinstance(part, DisplacementField):
        lengths = np.linalg.norm(part.array_mm, axis=-1)
        shape = regularity(field_jacobian(part))
        if shape.folding_percent > 0:
            warnings.append(f"The field folds in {shape.folding_percent:.3f} % of its voxels.")
        return {
            "type": "displacement field",
            **_grid(part.grid),
            "longest_mm": float(lengths.max()),
            "mean_mm": float(lengths.mean()),
            "folding_percent": shape.folding_percent,
        }
    what = "cubic B-spline" if isinstance(part, BSpline) else type(part).__name__
    return {"type": what, "control_points": list(part.grid.size), "spacing_mm": list(part.grid.spacing_mm)}


def _points(path: Path) -> dict[str, Any]:
    columns, landmarks = _landmarks(path)
    points = landmarks.points_mm
    return {
        "kind": f"landmarks{f' (two-sided file, {columns}columns)' if columns else ''}",
        "count": len(points),
        "names": [name for name in landmarks.placed_names if name],
        "lowest_mm_lps": [float(value) for value in points.min(axis=0)],
        "highest_mm_lps": [float(value) for value in points.max(axis=0)],
        "warnings": list(landmarks.notes),
    }


def _landmarks(path: Path) -> tuple[str, Landmarks]:
    """Read landmarks and the prefix of their columns; errors are those of a one-sided file."""
    try:
        return "", read_landmarks(path)
    except RegistrationError as error:
        for prefix in ("fixed_", "moving_"):
            with contextlib.suppress(RegistrationError):
                return prefix, read_landmarks(path, prefix=prefix)
        raise error


def _segmentation(path: Path) -> dict[str, Any]:
    segmentation = read_segmentation(path)
    grid = segmentation.layers[0].grid
    sizes = {}
    for layer in segmentation.layers:
        for label in sorted({*layer.labels, *layer.segments}):
            voxels = int((layer.array == label).sum())
            sizes[f"{layer.names.get(label, '')} ({label})"] = f"{voxels * grid.voxel_volume_mm3 / 1000:.3f} mL"
    layers = {"layers": len(segmentation.layers)} if len(segmentation.layers) > 1 else {}
    return {
        "kind": "Slicer segmentation",
        **_grid(grid),
        **layers,
        "segments": sizes,
        "warnings": [*segmentation.flattened().notes],
    }
