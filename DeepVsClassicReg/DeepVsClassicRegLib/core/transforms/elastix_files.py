"""elastix' transform parameter files, with the chain of initial transforms they start from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import FileError
from ..images.grid import Grid
from .text import read_text
from .transform import Affine, BSpline, Part, Transform

Values = tuple[str, ...]
ParameterMap = dict[str, Values]
COUNTS = {"TranslationTransform": 3, "EulerTransform": 6, "SimilarityTransform": 7, "AffineTransform": 12}
SPLINES = ("BSplineTransform", "RecursiveBSplineTransform")
READABLE = (*COUNTS, *SPLINES)
LINE = re.compile(r"^\s*\(\s*(\S+)\s+(.*?)\s*\)\s*(?://.*)?$")
VALUE = re.compile(r'"([^"]*)"|(\S+)')
INITIAL = ("InitialTransformParameterFileName", "InitialTransformParametersFileName")
NONE = ("NoInitialTransform", "")
FIELD_HINT = "Make a field of it instead: transformix -def all -tp this.txt -out folder, then use deformationField.mhd."


def parameters_of(text: str) -> ParameterMap:
    """Return the entries of an elastix file, lines like (Name value value); empty when there is none."""
    found: ParameterMap = {}
    for line in text.splitlines():
        match = None if line.lstrip().startswith("//") else LINE.match(line)
        if match:
            found[match[1]] = tuple(quoted or bare for quoted, bare in VALUE.findall(match[2]))
    return found


def read_elastix(path: Path, text: str, seen: tuple[Path, ...] = ()) -> Transform:
    """Read a TransformParameters file and every initial transform it names.

    Raises
    ------
    FileError
        When a transform of the chain is of another kind, is combined by adding, or is missing.
    """
    entries = parameters_of(text)
    first, notes = _initial(path, entries, (*seen, path.resolve()))
    own = Transform((elastix_part(path.name, entries, folder=path.parent),))
    if first is None:
        return own
    combined = entries.get("HowToCombineTransforms", ("Compose",))[0]
    if combined == "Compose":
        return Transform.of([first, own]).noted(notes)
    a, b = first.affine, own.affine
    if combined != "Add" or a is None or b is None:
        raise FileError(
            f"{path.name} is an elastix transform whose displacement is added to that of its initial transform "
            f"(HowToCombineTransforms '{combined}'), which cannot be applied.",
            hint=FIELD_HINT,
        )
    total = Affine(a.matrix + b.matrix - np.eye(3), a.translation_mm + b.translation_mm)
    return Transform((total,)).noted((*first.notes, *notes))


def elastix_part(name: str, entries: ParameterMap, *, folder: Path | None = None) -> Part:
    """Return what the entries of one file say, exactly, without the transform it starts from.

    Parameters
    ----------
    name : str
        The file's name, for messages.
    entries : mapping
        From `parameters_of`.
    folder : path, optional
        Where a separate file with the parameters lies.

    Raises
    ------
    FileError
        When the transform is of another kind or damaged.
    """
    kind = _one(entries, "Transform", name)
    _check(name, kind, entries)
    numbers = _parameters(name, entries, folder)
    if kind in SPLINES:
        return _bspline(name, entries, numbers)
    if len(numbers) != COUNTS[kind]:
        raise FileError(
            f"{name}: an elastix {kind} has {COUNTS[kind]} parameters, the file gives {len(numbers)}.",
            hint="The file is damaged or cut off.",
        )
    if kind == "TranslationTransform":
        return Affine.shift(numbers)
    center = _center(name, entries)
    if kind == "AffineTransform":
        return Affine.about(numbers[:9].reshape(3, 3), center, numbers[9:])
    turned: sitk.Euler3DTransform | sitk.Similarity3DTransform
    if kind == "EulerTransform":
        turned = sitk.Euler3DTransform()
        turned.SetComputeZYX(entries.get("ComputeZYX", ("false",))[0] == "true")
    else:
        turned = sitk.Similarity3DTransform()
    turned.SetCenter(center.tolist())
    turned.SetParameters(numbers.tolist())
    return Affine.from_sitk(turned)


def _initial(path: Path, entries: ParameterMap, seen: tuple[Path, ...]) -> tuple[Transform | None, Sequence[str]]:
    named = next((entries[key][0] for key in INITIAL if entries.get(key)), "")
    if named in NONE:
        return None, ()
    written = Path(named.replace("\\", "/"))
    file, notes = path.parent / written, list[str]()
    if not file.is_file() and (path.parent / written.name).is_file():
        # Results that were moved still name the folder they were made in.
        file = path.parent / written.name
        notes.append(f"The initial transform {written} was not found; {written.name} beside {path.name} was used.")
    if file.resolve() in seen:
        raise FileError(
            f"{path.name} is an elastix transform that starts from itself ({named}).",
            hint="Set InitialTransformParameterFileName to the right file or to NoInitialTransform.",
        )
    if not file.is_file():
        raise FileError(
            f"{path.name} starts from the transform {named}, which is missing.",
            hint="Put it beside this file, or set InitialTransformParameterFileName to NoInitialTransform.",
        )
    text = read_text(file)
    if not parameters_of(text):
        raise FileError(f"{file.name}, the initial transform of {path.name}, is not an elastix file.", hint=FIELD_HINT)
    return read_elastix(file, text, seen), notes


def _check(name: str, kind: str, entries: ParameterMap) -> None:
    if kind not in READABLE:
        raise FileError(f"{name} is an elastix {kind}, which cannot be applied.", hint=FIELD_HINT)
    for side in ("FixedImageDimension", "MovingImageDimension"):
        if entries.get(side, ("3",))[0] != "3":
            raise FileError(f"{name} is an elastix transform of {entries[side][0]}D images.", hint="Only 3D is known.")
    direction = _floats(name, entries, "Direction")
    ignored = entries.get("UseDirectionCosines", ("true",))[0] == "false"
    if ignored and not (direction.size == 9 and np.allclose(direction, np.eye(3).ravel())):
        raise FileError(
            f"{name} is an elastix transform made without regard to the image's axes (UseDirectionCosines false).",
            hint='Register again with (UseDirectionCosines "true").',
        )


def _parameters(name: str, entries: ParameterMap, folder: Path | None) -> np.ndarray:
    values = entries.get("TransformParameters", ())
    if entries.get("UseBinaryFormatForTransformationParameters", ("false",))[0] == "true":
        file = (folder or Path()) / Path(values[0].replace("\\", "/")).name if values else None
        if file is None or not file.is_file():
            raise FileError(f"{name}: its parameters are in a file that is missing.", hint="Put it beside this file.")
        numbers = np.fromfile(file, dtype="<f8")
    else:
        numbers = _floats(name, entries, "TransformParameters")
    stated = _floats(name, entries, "NumberOfParameters")
    expected = int(stated[0]) if len(stated) else len(numbers)
    if len(numbers) != expected or not np.isfinite(numbers).all():
        raise FileError(
            f"{name}: an elastix transform of {expected} parameters gives {np.isfinite(numbers).sum()} finite numbers.",
            hint="The file is damaged or cut off.",
        )
    return numbers


def _floats(name: str, entries: ParameterMap, key: str) -> np.ndarray:
    """Return the numbers of an entry, none when it is missing."""
    try:
        return np.array([float(value) for value in entries.get(key, ())])
    except ValueError as error:
        raise FileError(f"{name}: the entry {key} is not made of numbers.", hint="The file is damaged.") from error


def _center(name: str, entries: ParameterMap) -> np.ndarray:
    if "CenterOfRotationPoint" in entries:
        center = _floats(name, entries, "CenterOfRotationPoint")
        if len(center) != 3 or not np.isfinite(center).all():
            raise FileError(f"{name}: its CenterOfRotationPoint is not 3 numbers.", hint="The file is damaged.")
        return center
    if "CenterOfRotation" in entries:
        raise FileError(
            f"{name} is a transform of an old elastix that gives its center as a voxel (CenterOfRotation).",
            hint=FIELD_HINT,
        )
    return np.zeros(3)


def _bspline(name: str, entries: ParameterMap, numbers: np.ndarray) -> BSpline:
    order = entries.get("BSplineTransformSplineOrder", ("3",))[0]
    if order != "3" or entries.get("UseCyclicTransform", ("false",))[0] == "true":
        what = f"B-spline of order {order}" if order != "3" else "cyclic B-spline"
        raise FileError(f"{name} is an elastix {what}, which cannot be applied; only cubic ones can.", hint=FIELD_HINT)
    try:
        size = [int(n) for n in entries["GridSize"]]
        spacing, origin = ([float(v) for v in entries[key]] for key in ("GridSpacing", "GridOrigin"))
        index = np.array(entries.get("GridIndex", ("0", "0", "0")), dtype=float)
        direction = np.array(entries.get("GridDirection", np.eye(3)), dtype=float).reshape(3, 3).T
        first = np.array(origin) + direction @ (index * spacing)
        grid = Grid(
            (size[0], size[1], size[2]),
            (spacing[0], spacing[1], spacing[2]),
            (float(first[0]), float(first[1]), float(first[2])),
            tuple(float(d) for d in direction.ravel()),
        )
        coefficients = numbers.reshape(3, *grid.shape)
    except (KeyError, ValueError, IndexError) as error:
        raise FileError(f"{name}: an elastix B-spline with an incomplete grid.", hint="The file is damaged.") from error
    return BSpline(np.moveaxis(coefficients, 0, -1).astype(np.float32), grid)


def _one(entries: ParameterMap, key: str, name: str) -> str:
    if not entries.get(key):
        raise FileError(
            f'{name} is not a transform of elastix: it has no line (Transform "...").',
            hint="Give TransformParameters.0.txt, not the parameter file that the registration was started with.",
        )
    return entries[key][0]
