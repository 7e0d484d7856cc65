"""The region in which intensities and the Jacobian are evaluated: the fixed mask or else the fixed foreground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..images.intensity import foreground
from ..images.resample import warp_labels
from ..pair import Pair

FEWEST_VOXELS = 100


def fixed_region(pair: Pair) -> tuple[npt.NDArray[np.bool_], str]:
    """Return the region on the fixed grid, (Z, Y, X), and its description.

    The foreground contains voxels that exceed the background by 10 % of the robust range or have a fixed label; holes
    (ventricles, airways) are filled in each slice. Voxels that were not measured are excluded.
    """
    if pair.fixed_mask is not None:
        mask = pair.fixed_mask
        if not mask.grid.same_as(pair.fixed.grid):
            mask = warp_labels(mask, pair.fixed.grid)
        inside = _measured(mask.mask(), pair)
        if inside.sum() >= FEWEST_VOXELS:
            return inside, "the fixed mask"
    inside = foreground(pair.fixed)
    if pair.fixed_labels is not None and pair.fixed_labels.grid.same_as(pair.fixed.grid):
        inside = inside | (pair.fixed_labels.array != 0)
    filled = _measured(_filled(inside), pair)
    if filled.sum() < FEWEST_VOXELS:
        return np.ones_like(filled), "the whole fixed volume"
    return filled, "the fixed foreground"


def _measured(inside: npt.NDArray[np.bool_], pair: Pair) -> npt.NDArray[np.bool_]:
    return inside if pair.fixed.valid is None else inside & pair.fixed.valid


def _filled(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.stack([_filled_slice(plane) for plane in inside])


def _filled_slice(plane: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    if not plane.any():
        return plane
    # An array, not a view: a view of a temporary image would be read after the image is freed.
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(plane.astype(np.uint8)))) > 0
