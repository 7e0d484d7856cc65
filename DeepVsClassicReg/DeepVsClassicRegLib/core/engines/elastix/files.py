"""Text files of elastix: reads and writes parameter files, and converts transform parameter files exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import EngineFailed, FileError, SettingsError
from ...images.grid import Grid
from ...transforms.elastix_files import ParameterMap, elastix_part, parameters_of
from ...transforms.transform import Affine, Part

TRANSFORMS = {
    "TranslationTransform": "Shift",
    "EulerTransform": "Rigid alignment",
    "SimilarityTransform": "Similarity alignment",
    "AffineTransform": "Affine alignment",
    "BSplineTransform": "B-spline deformation",
    "RecursiveBSplineTransform": "B-spline deformation",
}


def read_parameters(path: Path) -> ParameterMap:
    """Return the entries of an elastix parameter file.

    Raises
    ------
    FileError
        When it is missing, not a text file, or without entries.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"Could not read the elastix parameter file {path}: {error}.") from error
    found = parameters_of(text)
    if not found:
        raise FileError(f"{path} is not an elastix parameter file: it has no line like (Name value).")
    return found


def write_parameters(entries: Mapping[str, Sequence[str]], path: Path) -> Path:
    """Write entries in the format of elastix; words are quoted, numbers are not."""
    lines = [f"({name} {' '.join(_quoted(value) for value in values)})" for name, values in entries.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def prepared(entries: ParameterMap, *, seed: int, source: str) -> ParameterMap:
    """Return the entries of a stage with those set by this library: seed, outputs, start, composition.

    Raises
    ------
    SettingsError
        When the transform of the stage cannot be converted exactly.
    """
    kind = entries.get("Transform", ("",))[0]
    if kind not in TRANSFORMS:
        raise SettingsError(
            f"{source}: elastix transform '{kind}' is not supported.", hint=f"Use one of {', '.join(TRANSFORMS)}."
        )
    if kind.endswith("BSplineTransform") and entries.get("BSplineTransformSplineOrder", ("3",))[0] != "3":
        raise SettingsError(f"{source}: only cubic B-splines are supported.", hint="Set BSplineTransformSplineOrder 3.")
    forced = {
        "FixedImageDimension": "3",
        "MovingImageDimension": "3",
        "UseDirectionCosines": "true",
        "HowToCombineTransforms": "Compose",
        "AutomaticTransformInitialization": "false",
        "RandomSeed": str(seed),
        "WriteResultImage": "false",
        "WriteResultImageAfterEachResolution": "false",
        "WriteITKCompositeTransform": "false",
        "UseBinaryFormatForTransformationParameters": "false",
    }
    return {**entries, **{name: (value,) for name, value in forced.items()}}


def fitted(entries: ParameterMap, grid: Grid) -> ParameterMap:
    """Return a bundled stage adapted to the fixed volume: thick slices and small crops are smoothed less.

    Pyramid factors are in units of the finest voxel edge, so an axis with thicker voxels gets smaller factors, and no
    factor exceeds a sixth of the axis. Sample regions are at most half of the field of view (elastix rejects regions
    larger than the volume).
    """
    changed = dict(entries)
    if "ImagePyramidSchedule" in entries:
        factors = np.array(entries["ImagePyramidSchedule"], dtype=float).reshape(-1, 3)
        relative = np.array(grid.spacing_mm) / min(grid.spacing_mm)
        allowed = np.maximum(1, np.array(grid.size) // 6)
        factors = np.clip(np.rint(factors / relative), 1, allowed)
        changed["ImagePyramidSchedule"] = tuple(str(int(f)) for f in factors.ravel())
    if "SampleRegionSize" in entries:
        wanted = np.array(entries["SampleRegionSize"], dtype=float)
        region = np.minimum(wanted, (np.array(grid.size) - 1) * np.array(grid.spacing_mm) / 2)
        # elastix reads three values per level, and uses the first one when a later level has none.
        repeats = 1 if np.ptp(region) == 0 else len(iterations_of(entries))
        changed["SampleRegionSize"] = tuple(f"{size:.3f}" for size in region) * repeats
        if "SP_a" in entries:
            # In a smaller region more samples affect each control point, so its gradient is larger.
            gain = float(entries["SP_a"][0]) * float(np.prod(region / wanted))
            changed["SP_a"] = (f"{gain:.3f}",)
    return changed


def iterations_of(entries: ParameterMap) -> list[int]:
    """Return the planned iterations of each resolution level of a stage."""
    levels = int(entries.get("NumberOfResolutions", ("3",))[0])
    planned = [int(float(value)) for value in entries.get("MaximumNumberOfIterations", ("500",))]
    return [planned[min(level, len(planned) - 1)] for level in range(levels)]


def write_initial(affine: Affine, grid: Grid, path: Path) -> Path:
    """Write an affine start as a transform parameter file (option -t0 of elastix)."""
    numbers = [*affine.matrix.ravel(), *affine.translation_mm]
    direction = grid.axes.T.ravel()  # elastix lists direction cosines column by column
    entries = {
        "Transform": ("AffineTransform",),
        "NumberOfParameters": ("12",),
        "TransformParameters": tuple(repr(float(number)) for number in numbers),
        "InitialTransformParameterFileName": ("NoInitialTransform",),
        "HowToCombineTransforms": ("Compose",),
        "FixedImageDimension": ("3",),
        "MovingImageDimension": ("3",),
        "FixedInternalImagePixelType": ("float",),
        "MovingInternalImagePixelType": ("float",),
        "Size": tuple(str(n) for n in grid.size),
        "Index": ("0", "0", "0"),
        "Spacing": tuple(repr(float(s)) for s in grid.spacing_mm),
        "Origin": tuple(repr(float(o)) for o in grid.origin_mm),
        "Direction": tuple(repr(float(d)) for d in direction),
        "UseDirectionCosines": ("true",),
        "CenterOfRotationPoint": ("0", "0", "0"),
    }
    return write_parameters(entries, path)


def read_part(path: Path) -> Part:
    """Return the transform of a TransformParameters file, exactly, without its initial transform.

    Raises
    ------
    EngineFailed
        When the file is missing.
    FileError
        When its transform is not supported.
    """
    if not path.is_file():
        raise EngineFailed("elastix ended without writing its transform.", hint="See the end of the log.")
    return elastix_part(path.name, read_parameters(path))


def _quoted(value: str) -> str:
    try:
        float(value)
    except ValueError:
        return f'"{value}"'
    return value
