"""Orientation in NIfTI, Analyze and FreeSurfer files: as nibabel's users get it, or refused by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import nibabel as nib
import numpy as np
from DeepVsClassicRegLib.core.errors import FileError, GeometryError
from DeepVsClassicRegLib.core.images.io import read_volume
from nifti_samples import AFFINE, SIZE, image, put, reads, stored, true, two_forms

from . import Case, Gives, Refused, Run

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _permuted(order: Sequence[int], signs: Sequence[int]) -> Callable[[], Any]:
    """Return a maker of the same image whose array axes are permuted and flipped."""

    def make() -> Any:
        moves = np.eye(4)
        moves[:3, :3] = np.eye(3)[:, list(order)] * signs
        flipped = {axis for axis, sign in zip(order, signs, strict=True) if sign < 0}
        moves[:3, 3] = [(SIZE[axis] - 1) * (axis in flipped) for axis in range(3)]
        array = np.transpose(stored().astype(np.float32), order)
        array = array[tuple(slice(None, None, sign) for sign in signs)]
        return nib.Nifti1Image(np.ascontiguousarray(array), AFFINE @ moves)

    return make


def _qform_only() -> Any:
    found = image()
    found.set_qform(AFFINE, 1)
    found.set_sform(None, 0)
    return found


def _both_forms() -> Any:
    found = image()
    found.set_qform(AFFINE, 1)
    found.set_sform(AFFINE, 1)
    return found


def _sheared_sform() -> Any:
    sheared = AFFINE @ np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = image()
    found.set_qform(AFFINE, 1)
    found.set_sform(sheared, 4)
    return found


def _no_forms() -> Any:
    found = nib.Nifti1Image(stored().astype(np.float32), None)
    found.header.set_zooms((1.5, 2.0, 3.0))
    found.header["qform_code"] = found.header["sform_code"] = 0
    return found


NO_FORMS = np.diag([-1.5, 2.0, 3.0, 1.0])
NO_FORMS[:3, 3] = -NO_FORMS[:3, :3] @ ((np.array(SIZE) - 1) / 2)


def _grid(run: Run) -> np.ndarray:
    return run.value.grid.matrix


def _in_unit(code: int, unit_mm: float) -> Callable[[], Any]:
    def make() -> Any:
        affine = AFFINE.copy()
        affine[:3] /= unit_mm
        found = nib.Nifti1Image(stored(affine, unit_mm).astype(np.float32), affine)
        found.header["xyzt_units"] = code
        return found

    return make


def _rounded() -> Any:
    axes = np.round(AFFINE[:3, :3] / [1.5, 2.0, 3.0], 3) * [1.5, 2.0, 3.0]
    affine = AFFINE.copy()
    affine[:3, :3] = axes
    return nib.Nifti1Image(stored(affine).astype(np.float32), affine)


CASES = [
    *(
        Case(
            "B",
            f"true places, axes {order}, {sum(s < 0 for s in signs)} flipped",
            reads(_permuted(order, signs)),
            true(),
        )
        for order, signs in itertools.product(
            [(0, 1, 2), (1, 2, 0), (2, 1, 0), (0, 2, 1)], [(1, 1, 1), (-1, 1, 1), (1, -1, -1)]
        )
    ),
    Case("B", "qform only, true places", reads(_qform_only), true()),
    Case("B", "NIfTI-2, true places", reads(lambda: image(kind=nib.Nifti2Image)), true()),
    Case("B", "NIfTI-2, not compressed", reads(lambda: image(kind=nib.Nifti2Image), "a.nii"), true()),
    Case("B", "pair of .hdr and .img", reads(lambda: image(kind=nib.Nifti1Pair), "a.hdr"), true()),
    Case("B", "pair, given by .img", reads(lambda: image(kind=nib.Nifti1Pair), "a.img"), true()),
    Case(
        "B",
        "half of a pair",
        lambda folder: (
            nib.save(image(kind=nib.Nifti1Pair), folder / "a.hdr"),
            (folder / "a.img").unlink(),
            lambda: read_volume(folder / "a.hdr"),
        )[2],
        Refused(FileError, "one half", "a.img"),
    ),
    Case(
        "B",
        "Analyze 7.5",
        reads(lambda: nib.AnalyzeImage(stored().astype(np.float32), np.diag([1.5, 2, 3, 1])), "a.img"),
        Gives(LPS @ NO_FORMS, 1e-4, read=_grid, notes=["Analyze 7.5", "left and right are unknown"]),
    ),
    Case(
        "B",
        "both form codes 0, by hand",
        reads(_no_forms),
        Gives(LPS @ NO_FORMS, 1e-4, read=_grid, notes=["no orientation", "left and right", "nibabel"]),
    ),
    Case("B", "sform and qform disagree", reads(two_forms), true("disagree", "sform is used", "qform is ignored")),
    Case("B", "sform of a template, other qform", reads(lambda: two_forms(4)), true("sform is used")),
    Case("B", "sheared sform beside a qform", reads(_sheared_sform), true("sform is sheared", "qform is used")),
    Case(
        "B",
        "sheared sform alone",
        reads(_sheared_sform, patch=put(252, "<i2", 0)),
        Refused(GeometryError, "sheared"),
    ),
    Case("B", "cosines rounded to three digits", reads(_rounded), true(tolerance=0.02)),
    Case(
        "B", "NaN in the sform", reads(_both_forms, patch=put(280, "<f4", np.nan)), true("sform", "not usable", "qform")
    ),
    Case(
        "B",
        "no usable orientation",
        reads(image, patch=put(280, "<f4", np.nan)),
        Refused(GeometryError, "not usable"),
    ),
    Case(
        "B", "sform of zeros", reads(_both_forms, patch=put(280, "<f4", *[0] * 12)), true("not usable", "qform is used")
    ),
    Case(
        "B",
        "quaternion longer than 1",
        reads(_qform_only, patch=put(256, "<f4", 0.9, 0.9, 0.9)),
        Refused(GeometryError, "not usable"),
    ),
    Case("B", "negative voxel sizes", reads(_qform_only, patch=put(80, "<f4", -1.5)), true("negative voxel sizes")),
    Case("B", "lengths in meters, true places", reads(_in_unit(1, 1000)), true("meters", "converted")),
    Case("B", "lengths in micrometers, true places", reads(_in_unit(3, 0.001)), true("micrometers", "converted")),
    Case("B", "unit of length not stated, true places", reads(_in_unit(0, 1)), true()),
    Case("B", "unit of length not defined, true places", reads(_in_unit(5, 1)), true("not defined", "millimeters")),
    Case("B", "FreeSurfer .mgz, true places", reads(lambda: image(kind=nib.MGHImage), "a.mgz"), true()),
    Case("B", "FreeSurfer .mgh", reads(lambda: image(kind=nib.MGHImage), "a.mgh"), true()),
    Case(
        "B",
        "FreeSurfer without orientation",
        reads(lambda: image(kind=nib.MGHImage), "a.mgh", patch=put(28, ">i2", 0)),
        Gives(
            [[1, 0, 0, -6], [0, 0, -1, 4], [0, -1, 0, 5], [0, 0, 0, 1]],
            1e-6,
            read=_grid,
            notes=["no orientation", "coronal"],
        ),
    ),
    Case(
        "B",
        "FreeSurfer of two frames",
        reads(lambda: nib.MGHImage(np.zeros((5, 5, 5, 2), np.float32), AFFINE), "a.mgz"),
        Refused(GeometryError, "2 frames"),
    ),
]
