"""ITK transform files: text (.tfm, .txt), MATLAB (.mat), HDF5 (.h5) and what ITK writes as .xfm."""

from __future__ import annotations

import math
import mmap
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ..errors import FileError
from ..images.completeness import check_hdf5
from .transform import Transform

TEXT_MARK = "#Insight Transform File"
XFM_MARK = "%ITK-XFM writer"
COMPOSITE = "CompositeTransform"
FIELD = "DisplacementFieldTransform"
# Matrix, translation and center, which SimpleITK cannot open under these names.
PLAIN_AFFINE = frozenset({"FixedCenterOfRotationAffineTransform", "ScalableAffineTransform", "Rigid3DTransform"})
# Linear kinds and their number of parameters; ITK itself accepts too many.
LINEAR = {
    **dict.fromkeys(PLAIN_AFFINE, 12),
    "AffineTransform": 12,
    "CenteredAffineTransform": 15,
    "CenteredEuler3DTransform": 9,
    "ComposeScaleSkewVersor3DTransform": 12,
    "Euler3DTransform": 6,
    "IdentityTransform": 0,
    "MatrixOffsetTransformBase": 12,
    "QuaternionRigidTransform": 7,
    "ScaleLogarithmicTransform": 3,
    "ScaleSkewVersor3DTransform": 15,
    "ScaleTransform": 3,
    "ScaleVersor3DTransform": 9,
    "Similarity3DTransform": 7,
    "TranslationTransform": 3,
    "VersorRigid3DTransform": 6,
    "VersorTransform": 3,
}
READABLE = frozenset({*LINEAR, COMPOSITE, FIELD, "BSplineTransform"})
INVERSE_HINT = (
    "In Slicer's Transforms module press 'Invert', save it again and use it here as the inverse (--inverse), "
    "or convert it to a grid transform."
)
SPLINE_HINT = "In Slicer's Transforms module convert it to a grid transform on the fixed volume and save that."
REASONS = {
    "InverseDisplacementFieldTransform": (
        "an inverse displacement field (Slicer's 'to parent': moving to fixed points)",
        INVERSE_HINT,
    ),
    "InverseBSplineTransform": ("an inverse B-spline (Slicer's 'to parent': moving to fixed points)", INVERSE_HINT),
    "ThinPlateSplineKernelTransform": ("a thin-plate spline", SPLINE_HINT),
    "InverseThinPlateSplineKernelTransform": ("an inverse thin-plate spline", SPLINE_HINT),
}
CONVERT_HINT = "Convert it to an affine, B-spline or displacement field transform with the program that wrote it."
KIND = re.compile(rb"([A-Za-z][A-Za-z0-9]*)_(?:double|float)_(\d+)_(\d+)")
# A pattern that begins with a word is searched many times faster in a large file.
KIND_END = re.compile(rb"Transform(?:Base)?_(?:double|float)_\d+_\d+")
LONGEST_KIND = 80


@dataclass(frozen=True)
class Section:
    """One transform of a text file.

    Attributes
    ----------
    kind : str
        ITK's class name, such as 'AffineTransform'.
    dimension : int
        Of its points.
    parameters, fixed : tuple of float
        Its numbers; `fixed` is None when the file does not give any.
    """

    kind: str
    dimension: int
    parameters: tuple[float, ...] = ()
    fixed: tuple[float, ...] | None = None


def read_itk_text(path: Path, text: str) -> Transform:
    """Read an ITK transform text file, every transform of it.

    Raises
    ------
    FileError
        When a transform is of another kind or dimension, or the text is damaged.
    """
    sections = _sections(path, text)
    _check_kinds(path, [(section.kind, section.dimension) for section in sections])
    _check_together(path, [section.kind for section in sections])
    for section in sections:
        _check_numbers(path, section)
    return _transform(path, _read(_renamed(text), path), sections)


def read_itk_binary(path: Path) -> Transform:
    """Read an ITK transform from HDF5 or MATLAB 4; the kinds are looked up in the file before ITK opens it.

    Raises
    ------
    FileError
        When a transform is of another kind or dimension, or the file is damaged.
    """
    check_hdf5(path)
    kinds = _stored_kinds(path)
    if not kinds:
        raise FileError(
            f"{path.name} contains no ITK transform.", hint="Give the .h5, .tfm or .mat file of a registration."
        )
    _check_kinds(path, kinds)
    # SimpleITK cannot open these, and there is no text to rename.
    for kind in PLAIN_AFFINE & {kind for kind, _ in kinds}:
        raise refuse_kind(path.name, kind)
    _check_together(path, [kind for kind, _ in kinds])
    return _transform(path, _read_file(path), [Section(*kind) for kind in kinds])


def read_itk_xfm(path: Path) -> Transform:
    """Read a linear transform that ITK wrote in the form of MNI's: ITK's direction (fixed to moving) and axes (LPS)."""
    return Transform.from_sitk(_read_file(path))


def refuse_kind(name: str, kind: str, dimension: int = 3) -> FileError:
    """Return the error that names a kind of transform which cannot be applied."""
    what, hint = REASONS.get(kind, (f"a {kind}", CONVERT_HINT))
    if dimension != 3:
        what, hint = f"a {dimension}D {kind}", "Only transforms of 3D points can be used."
    return FileError(f"{name} contains {what}, which cannot be applied.", hint=hint)


def _check_kinds(path: Path, kinds: Sequence[tuple[str, int]]) -> None:
    for kind, dimension in kinds:
        if kind not in READABLE or dimension != 3:
            raise refuse_kind(path.name, kind, dimension)


def _check_together(path: Path, kinds: Sequence[str]) -> None:
    if COMPOSITE in kinds[1:]:
        raise FileError(
            f"{path.name} contains a composite transform inside another one, which ITK cannot read back.",
            hint="Flatten the composite before it is written.",
        )
    if len(kinds) > 1 and kinds[0] != COMPOSITE:
        raise FileError(
            f"{path.name} contains {len(kinds)} transforms ({', '.join(kinds)}) and not how they are combined.",
            hint="Write them as one composite transform, or each to a separate file.",
        )
    if list(kinds) == [COMPOSITE]:
        raise FileError(f"{path.name} contains a composite transform without any part.", hint="Write it again as .h5.")


def _transform(path: Path, read: sitk.Transform, sections: Sequence[Section]) -> Transform:
    composite = sitk.CompositeTransform(read) if sections[0].kind == COMPOSITE else None
    wanted, count = (sections[1:], composite.GetNumberOfTransforms()) if composite else (sections, 1)
    if count != len(wanted):
        raise FileError(f"{path.name} names {len(wanted)} transforms, ITK found {count}.", hint="Write it again.")
    for number, section in enumerate(wanted):
        if section.parameters and section.kind not in LINEAR:  # SimpleITK copies a transform that is asked for
            part = composite.GetNthTransform(number) if composite else read
            _check_count(path, section, part.GetNumberOfParameters())
    return Transform.from_sitk(read)


def _check_numbers(path: Path, section: Section) -> None:
    if section.kind in LINEAR:
        _check_count(path, section, LINEAR[section.kind])
    if section.fixed is None and section.kind != COMPOSITE:  # ITK would leave the transform at the identity
        raise FileError(
            f"{path.name}: {section.kind} has no line of fixed parameters.",
            hint="The file is damaged or was cut off; write it again.",
        )
    if not all(math.isfinite(number) for number in (*section.parameters, *(section.fixed or ()))):
        raise FileError(
            f"{path.name} contains numbers that are not finite ({section.kind}).",
            hint="The registration failed; repeat it.",
        )


def _check_count(path: Path, section: Section, expected: int) -> None:
    if len(section.parameters) != expected:
        raise FileError(
            f"{path.name}: {section.kind} takes {expected} parameters, the file gives {len(section.parameters)}.",
            hint="The file is damaged or was cut off; write it again.",
        )


def _sections(path: Path, text: str) -> list[Section]:
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), start=1):
        tag, colon, value = line.partition(":")
        if line.lstrip().startswith("#") or not colon:
            continue
        if tag.strip() == "Transform":
            sections.append(_section(path, value.strip(), number))
        elif tag.strip() in ("Parameters", "FixedParameters") and sections:
            numbers = _numbers(path, value, number)
            last = sections.pop()
            first = tag.strip() == "Parameters"
            sections.append(
                Section(
                    last.kind, last.dimension, numbers if first else last.parameters, last.fixed if first else numbers
                )
            )
    if not sections:
        raise FileError(f"{path.name} is an ITK transform file without any transform.", hint="Write it again.")
    lines = text.splitlines()
    announced = sum(re.match(r"#Transform \d", line) is not None for line in lines)
    if announced > len(sections) or not (text.endswith(("\n", "\r")) or "Parameters:" in lines[-1]):
        raise FileError(
            f"{path.name} is cut off: it announces more than the {len(sections)} transform(s) it holds.",
            hint="Write or copy it again.",
        )
    return sections


def _section(path: Path, name: str, line: int) -> Section:
    match = KIND.fullmatch(re.sub(r"^(BSplineTransform_\w+_3_3)_\d+$", r"\1", name).encode())
    if match is None:
        raise FileError(
            f"{path.name}, line {line}: '{name}' names no ITK transform.",
            hint="Expected such as AffineTransform_double_3_3.",
        )
    return Section(match[1].decode(), int(match[2]))


def _numbers(path: Path, text: str, line: int) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split())
    except ValueError as error:
        raise FileError(
            f"{path.name}, line {line}: '{_first_bad(text)}' is not a number.",
            hint="Numbers need a decimal point and blanks.",
        ) from error


def _first_bad(text: str) -> str:
    for word in text.split():
        try:
            float(word)
        except ValueError:
            return word
    return ""


def _stored_kinds(path: Path) -> list[tuple[str, int]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = []
        for match in KIND_END.finditer(content):
            first = max(0, match.start() - LONGEST_KIND)
            *_, kind = KIND.finditer(content[first : match.end()])  # others may lie before it
            found.append((kind[1].decode(), int(kind[2])))
    return found


def _renamed(text: str) -> str:
    for kind in PLAIN_AFFINE:
        text = text.replace(f"Transform: {kind}_", "Transform: AffineTransform_")
    return text


def _read(text: str, path: Path) -> sitk.Transform:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "transform.tfm"
        copy.write_text(text, encoding="utf-8")
        return _read_file(copy, path.name)


def _read_file(path: Path, name: str = "") -> sitk.Transform:
    try:
        return sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise FileError(
            f"{name or path.name} is not a transform that ITK can read.",
            hint="The file is damaged or was cut off; write it again.",
        ) from error
