"""Orientation of a NIfTI file: sform, qform or neither, by the rules of NIfTI as implemented by nibabel."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import GeometryError
from .grid import Grid
from .nifti_header import is_analyze
from .notes import Note
from .orientation import grid_from_ras

Size = tuple[int, int, int]
_FORMS = {0: "unknown", 1: "scanner", 2: "aligned to another image", 3: "Talairach", 4: "MNI 152", 5: "template"}
# An sform with these codes intentionally differs from the qform: it maps to a template space.
_TEMPLATES = (3, 4, 5)
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_UNITS = {0: "not stated", 1: "meters", 2: "millimeters", 3: "micrometers"}
_GUESSED = (
    ": left and right are unknown. It is taken as x toward left, y toward anterior, z toward superior, centered at "
    "the origin, as nibabel does; check it in a viewer."
)
# Two orientations of one header disagree when a corner differs by more than this number of voxels.
_DISAGREE_VOX = 0.1


def nifti_grid(header: Any, size: Size, name: str, notes: list[str]) -> Grid:
    """Return the grid of the voxels; the notes report irregular headers."""
    scale = _mm_per_unit(header, notes)
    forms = _forms(header, size, notes)
    names = list(forms)
    for number, used in enumerate(names):
        matrix = forms[used].copy()
        matrix[:3] *= scale
        try:
            grid = grid_from_ras(matrix, size, name, notes)
        except GeometryError:
            if number + 1 == len(names):
                raise
            text = f"The header's {used} is sheared or not usable; the {names[number + 1]} is used instead."
            notes.append(Note(text, unsound=True))
            continue
        for other in names[number + 1 :]:
            _compare(header, forms, used, other, size, notes)
        return grid
    raise GeometryError(f"{name} has no usable orientation.", hint="Repair the file's header.")


def about_orientation(header: Any) -> dict[str, Any]:
    """Return what `dvcreg info` shows of the header."""
    if is_analyze(header):
        return {"orientation_from": "nothing (Analyze 7.5 has none)"}
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    used = "sform" if sform > 0 else "qform" if qform > 0 else "nothing (both form codes are 0)"
    native, other = ("little", "big") if sys.byteorder == "little" else ("big", "little")
    return {
        "orientation_from": used,
        "sform_code": f"{sform} ({_FORMS.get(sform, 'not defined')})",
        "qform_code": f"{qform} ({_FORMS.get(qform, 'not defined')})",
        "units": _UNITS.get(int(header["xyzt_units"]) & 7, "not defined"),
        "byte_order": native if header.dtype.isnative else other,
        "slope_and_intercept": [float(header["scl_slope"]), float(header["scl_inter"])],
    }


def _mm_per_unit(header: Any, notes: list[str]) -> float:
    if is_analyze(header):
        return 1.0
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM_PER_UNIT:
        notes.append(f"The header's unit of length {unit} is not defined; millimeters are assumed.")
        return 1.0
    if _MM_PER_UNIT[unit] != 1:
        notes.append(f"The header gives lengths in {_UNITS[unit]}; they were converted to millimeters.")
    return _MM_PER_UNIT[unit]


def _forms(header: Any, size: Size, notes: list[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the (4, 4) matrices from indices to RAS, the one to be used first."""
    zooms = np.abs(header["pixdim"][1:4].astype(float))
    if (header["pixdim"][1:4] < 0).any():
        notes.append("The header has negative voxel sizes; their sign is ignored.")
    forms = {}
    nifti = not is_analyze(header)
    if nifti and header["sform_code"] > 0:
        forms["sform"] = np.vstack([header["srow"].astype(float), [0, 0, 0, 1]])
    if nifti and header["qform_code"] > 0:
        forms["qform"] = _qform(header, zooms)
    if not forms:
        why = "The file states no orientation (both codes are 0)" if nifti else "Analyze 7.5 has no orientation"
        notes.append(Note(why + _GUESSED, unsound=True))
        matrix = np.diag([-zooms[0], zooms[1], zooms[2], 1.0])
        matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(size) - 1) / 2)
        forms["voxel sizes"] = matrix
    return forms


def _qform(header: Any, zooms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    b, c, d = (float(value) for value in header["quatern"])
    rest = 1 - (b * b + c * c + d * d)
    a = np.sqrt(max(rest, 0.0))
    norm = np.sqrt(a * a + b * b + c * c + d * d)
    if rest < -1e-3:
        zooms = zooms * np.nan  # no rotation; the caller refuses it or takes another form
    a, b, c, d = (value / norm for value in (a, b, c, d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    hand = -1.0 if header["pixdim"][0] < 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * zooms * [1, 1, hand]
    matrix[:3, 3] = header["qoffset"].astype(float)
    return matrix


def _compare(
    header: Any, forms: dict[str, Any], used: str, other: str, size: tuple[int, ...], notes: list[str]
) -> None:
    corners = np.array([[i, j, k, 1] for i in (0, size[0] - 1) for j in (0, size[1] - 1) for k in (0, size[2] - 1)])
    apart = np.linalg.norm((corners @ forms[used].T - corners @ forms[other].T)[:, :3], axis=1).max()
    voxel = np.linalg.norm(forms[used][:3, :3], axis=0).min()
    if not apart <= _DISAGREE_VOX * voxel:
        text = (
            f"The header's two orientations disagree by up to {apart / voxel:.3g} voxels: the {used} is used, as "
            f"nibabel does; the {other} is ignored."
            if np.isfinite(apart)
            else f"The header's {other} holds numbers that are not finite; the {used} is used."
        )
        notes.append(Note(text, unsound=int(header["sform_code"]) not in _TEMPLATES))
