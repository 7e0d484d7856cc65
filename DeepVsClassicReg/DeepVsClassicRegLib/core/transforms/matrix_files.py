"""Linear transforms kept as text: plain matrices (c3d, ITK-SNAP, greedy, NiftyReg, FSL), AFNI, MNI and FreeSurfer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import FileError, GeometryError
from ..images.grid import Grid
from .transform import Affine, Transform

Array = npt.NDArray[np.float64]
Pathlike = str | Path
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
NIFTI = (".nii", ".nii.gz")
AFNI_MARK = "DICOM-to-DICOM"
# How flirt writes a row: numbers and two blanks after each.
FLIRT_ROW = re.compile(r"\s*(?:\S+  ){4}\s*")
FORM_HINT = (
    "Convert it first, saying what it is: dvcreg transform -t this.txt --transform-form FORM --out start.h5; FORM is "
    "ras (c3d, ITK-SNAP, greedy, NiftyReg: RAS mm, fixed to moving), lps (LPS mm, fixed to moving) or fsl (flirt)."
)
INVERTED = "It maps moving to fixed points, as {program} writes it, and was inverted to map fixed to moving points."


@dataclass(frozen=True)
class Images:
    """The files that a transform was made for, where it cannot be understood without them.

    Attributes
    ----------
    fixed, moving : path or None
        The images; FSL's reference and input.
    """

    fixed: Pathlike | None = None
    moving: Pathlike | None = None


def read_matrix(path: Path, text: str, form: str, images: Images) -> Transform:
    """Read a 4x4 or 3x4 matrix written as plain numbers.

    Parameters
    ----------
    form : {'auto', 'ras', 'lps', 'fsl'}
        What the numbers mean; 'auto' recognizes flirt's way of writing and AFNI's comment, and asks otherwise.
    """
    matrix = _numbers(path, text, "Give a file with one matrix; of an AFNI time series, one row.")
    if form == "auto" and AFNI_MARK in text:
        form = "lps"  # AFNI's DICOM order is LPS, and its matrices map the base (fixed) to the source (moving)
    if form == "auto" and _is_flirt(text):
        form = "fsl"
    if form == "auto":
        raise FileError(f"{path.name} is a matrix that does not say in which coordinates it works.", hint=FORM_HINT)
    if form == "lps":
        return Transform((_affine(path, matrix),))
    if form == "ras":
        return Transform((_affine(path, FLIP @ matrix @ FLIP),))
    return _flirt(path, matrix, images)


def looks_like_matrix(text: str) -> bool:
    """Whether a text contains numbers only, 12 or 16 of them, or one row of AFNI."""
    words = [word for line in _rows(text) for word in line.split()]
    return len(words) in (12, 16) and all(_is_number(word) for word in words)


def read_lta(path: Path, text: str) -> Transform:
    """Read a linear transform of FreeSurfer (.lta), which maps the source (moving) to the destination (fixed).

    Raises
    ------
    FileError
        When it contains several transforms, is of a kind other than voxel or RAS, or misses the images it needs.
    """
    facts = _lta_facts(path, text)
    if facts.count != 1:
        raise FileError(f"{path.name} contains {facts.count} transforms of FreeSurfer.", hint="Give a file with one.")
    if facts.kind == 1:
        ras = facts.matrix
    elif facts.kind == 0:
        source, target = (_lta_volume(path, facts.volumes, side) for side in ("src", "dst"))
        ras = target @ facts.matrix @ np.linalg.inv(source)
    else:
        raise FileError(
            f"{path.name} is a FreeSurfer transform of type {facts.kind}, which cannot be applied.",
            hint="Convert it first: lta_convert --inlta this.lta --outlta ras.lta (type 1, RAS to RAS).",
        )
    inverse = _affine(path, FLIP @ ras @ FLIP).inverse()
    return Transform((inverse,), (INVERTED.format(program="FreeSurfer"),))


def read_mni(path: Path, text: str) -> Transform:
    """Read a linear MNI transform (.xfm of MINC and FreeSurfer), which maps the source (moving) to the target (fixed).

    Raises
    ------
    FileError
        When a part of it is not linear.
    """
    kinds = re.findall(r"Transform_Type\s*=\s*(\w+)\s*;", text)
    others = [kind for kind in kinds if kind != "Linear"]
    if others or not kinds:
        raise FileError(
            f"{path.name} is an MNI transform of the kind '{(others or ['unknown'])[0]}', which cannot be applied.",
            hint="Only linear MNI transforms can be; resample the image with mincresample instead.",
        )
    whole = np.eye(4)
    for block in re.split(r"Transform_Type\s*=", text)[1:]:
        match = re.search(r"Linear_Transform\s*=\s*([^;]*);", block)
        if match is None:
            raise FileError(f"{path.name} is an MNI transform without its matrix.", hint="The file is cut off.")
        matrix = _numbers(path, match[1])
        inverted = re.search(r"Invert_Flag\s*=\s*True", block, re.IGNORECASE)
        whole = (_affine(path, matrix).inverse().homogeneous if inverted else matrix) @ whole
    inverse = _affine(path, FLIP @ whole @ FLIP).inverse()
    return Transform((inverse,), (INVERTED.format(program="MINC"),))


def _is_flirt(text: str) -> bool:
    rows = text.rstrip("\n").split("\n")
    return len(rows) == 4 and all(FLIRT_ROW.fullmatch(row) and row.endswith("  ") for row in rows)


def _flirt(path: Path, matrix: Array, images: Images) -> Transform:
    """Turn flirt's map between scaled voxels, moving to fixed, into one of points, fixed to moving."""
    if images.fixed is None or images.moving is None:
        raise FileError(
            f"{path.name} is a matrix of FSL flirt, which means nothing without its two images.",
            hint="Give them: dvcreg transform -t this.mat --fixed ref.nii.gz --moving in.nii.gz --out start.h5.",
        )
    sides = [_fsl_to_lps(path, Path(side)) for side in (images.fixed, images.moving)]
    full = sides[1] @ np.linalg.inv(matrix) @ np.linalg.inv(sides[0])
    return Transform((_affine(path, full),), (INVERTED.format(program="FSL flirt"),))


def _fsl_to_lps(path: Path, image: Path) -> Array:
    if not image.name.lower().endswith(NIFTI):
        raise FileError(
            f"{path.name} is a matrix of FSL flirt, whose voxels are those of NIfTI files; {image.name} is none.",
            hint="Give the NIfTI files that flirt was given.",
        )
    grid = _grid(image)
    scaled = np.diag([*grid.spacing_mm, 1.0])
    if np.linalg.det(grid.axes) > 0:  # FSL counts x from the other side then
        scaled[0, 0], scaled[0, 3] = -grid.spacing_mm[0], (grid.size[0] - 1) * grid.spacing_mm[0]
    return np.asarray(grid.matrix @ np.linalg.inv(scaled))


def _grid(image: Path) -> Grid:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(image))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FileError(
            f"Could not read the header of {image}.", hint="Give the NIfTI file that flirt used."
        ) from error
    direction = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:3, :3]
    return Grid(reader.GetSize()[:3], reader.GetSpacing()[:3], reader.GetOrigin()[:3], tuple(direction.ravel()))


@dataclass(frozen=True)
class _Lta:
    kind: int
    count: int
    matrix: Array
    volumes: dict[str, dict[str, str]]


def _lta_facts(path: Path, text: str) -> _Lta:
    facts: dict[str, str] = {}
    volumes: dict[str, dict[str, str]] = {}
    section = facts
    rows = [line.partition("#")[0].strip() for line in text.splitlines()]
    numbers: list[str] = []
    for row in rows:
        name, equals, value = (part.strip() for part in row.partition("="))
        if row in ("src volume info", "dst volume info"):
            section = volumes.setdefault(row[:3], {})
        elif equals:
            section[name] = value
        elif row:
            numbers.append(row)
    whole = all(facts.get(name, "").isdigit() for name in ("type", "nxforms"))
    if not whole or not numbers[1:]:
        raise FileError(f"{path.name} is not a complete FreeSurfer transform.", hint="The file is damaged or cut off.")
    return _Lta(int(facts["type"]), int(facts["nxforms"]), _numbers(path, "\n".join(numbers[1:5])), volumes)


def _lta_volume(path: Path, volumes: dict[str, dict[str, str]], side: str) -> Array:
    volume = volumes.get(side, {})
    try:
        if volume["valid"].split()[0] != "1":
            raise KeyError("valid")
        axes = np.stack([_words(volume[name]) for name in ("xras", "yras", "zras")], axis=1)
        size, spacing, center = (_words(volume[name]) for name in ("volume", "voxelsize", "cras"))
    except (KeyError, ValueError, IndexError) as error:
        raise FileError(
            f"{path.name} maps voxels and does not describe its {'source' if side == 'src' else 'destination'} image.",
            hint="Convert it first: lta_convert --inlta this.lta --outlta ras.lta (type 1, RAS to RAS).",
        ) from error
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = center - matrix[:3, :3] @ (size / 2)
    return matrix


def _words(text: str) -> Array:
    return np.array([float(word) for word in text.split()])


def _numbers(path: Path, text: str, hint: str = "The file is damaged or cut off.") -> Array:
    words = [word for row in _rows(text) for word in row.split()]
    bad = [word for word in words if not _is_number(word)]
    if bad or len(words) not in (12, 16):
        found = f"'{bad[0]}'" if bad else f"{len(words)} of them"
        raise FileError(f"{path.name}: expected a matrix of 3 or 4 rows of 4 numbers, found {found}.", hint=hint)
    matrix = np.eye(4)
    matrix[: len(words) // 4] = np.array(words, dtype=float).reshape(-1, 4)
    if not np.isfinite(matrix).all():
        raise FileError(f"{path.name} contains values that are not finite.", hint="The registration failed; repeat it.")
    if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise FileError(
            f"{path.name}: the last row of the matrix is {matrix[3].tolist()}, not 0 0 0 1.",
            hint="Matrices act on columns here; transpose it if its last column is 0 0 0 1.",
        )
    return matrix


def _rows(text: str) -> Sequence[str]:
    return [row for line in text.splitlines() if (row := line.partition("#")[0].strip())]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _affine(path: Path, matrix: Array) -> Affine:
    try:
        return Affine.from_homogeneous(matrix)
    except GeometryError as error:
        raise FileError(f"{path.name}: {error.message}", hint="The registration failed; repeat it.") from error
