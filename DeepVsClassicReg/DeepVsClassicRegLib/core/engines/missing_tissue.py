"""Finds tissue that one volume of a pair shows and the other one lacks, because it was cut away or masked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..evaluation.region import seen_voxels
from ..images.grid import Grid
from ..images.intensity import foreground
from ..images.resample import sampled_on, to_sitk, warp_labels
from ..images.volume import LabelMap
from ..pair import Pair
from ..transforms.transform import Transform

Mask = npt.NDArray[np.bool_]
MOST_VOXELS = 200_000
# Smallest part of a body that counts, after parts thinner than twice THICK are removed. Measured on the visible pairs:
# 0 but for ultrasound (Testing/bench/INSTANCE_TRIES.md); halves of brains have about 0.5.
LEAST_SHARE = 0.2
THICK = 0.08  # of the edge of a cube with the body's volume; linear starts differ by less
MARGIN = 0.04  # likewise; the windows of a similarity at a cut
CONSTANT = 0.98  # part of the region that has one value; air has noise


def missing_tissue(pair: Pair, start: Transform) -> tuple[dict[str, LabelMap], list[str]]:
    """Return regions to exclude because a volume has lost a large part of the body there, and a note on each.

    Forces would stretch what is left over the whole body: with half of a brain set to zero, `instance` lowered the Dice
    of the other half from 0.61 to 0.37; with the lost half excluded it has 0.72. Only pairs without masks and excluded
    regions of the user are examined, and only linear starts.

    Parameters
    ----------
    pair : Pair
        As engines receive it.
    start : Transform
        Maps fixed to moving points.

    Returns
    -------
    dict of 'fixed_excluded', 'moving_excluded' to LabelMap; list of str
        Entries for `Pair.replace`; empty when nothing is missing.
    """
    linear = start.affine
    given = (pair.fixed_mask, pair.moving_mask, pair.fixed_excluded, pair.moving_excluded)
    if linear is None or any(mask is not None for mask in given):
        return {}, []
    grid = pair.fixed.grid.at_most(MOST_VOXELS)
    sampled = {"fixed": sampled_on(pair.fixed, grid), "moving": sampled_on(pair.moving, grid, linear)}
    seen = seen_voxels(grid, pair.moving, linear)
    bodies = {side: foreground(volume) & seen for side, volume in sampled.items()}
    regions: dict[str, LabelMap] = {}
    notes = []
    for side, other in (("fixed", "moving"), ("moving", "fixed")):
        body = int(bodies[other].sum())
        lacking = bodies[other] & ~bodies[side]
        if lacking.sum() < LEAST_SHARE * max(body, 1):
            continue
        edge_mm = float((body * grid.voxel_volume_mm3) ** (1 / 3))
        thick = _opened(lacking, grid, THICK * edge_mm)
        share = float(thick.sum() / body)
        if share < LEAST_SHARE:
            continue
        values = sampled[side].array[thick]
        value = np.median(values)
        if (values == value).mean() < CONSTANT:
            continue
        wide = LabelMap(_dilated(thick, grid, MARGIN * edge_mm).astype(np.int32), grid)
        own = pair.fixed if side == "fixed" else pair.moving
        region = warp_labels(wide, own.grid, None if side == "fixed" else Transform((linear.inverse(),)))
        lost = region.mask() & (own.array == value)
        regions[f"{side}_excluded"] = LabelMap(lost.astype(np.int32), own.grid, name="lost tissue")
        notes.append(
            f"About {100 * share:.0f} % of what the {other} volume shows is missing in the {side} volume, which is "
            "constant there (cut away or masked): this part was not compared. Check the result there."
        )
    return regions, notes


def _opened(mask: Mask, grid: Grid, radius_mm: float) -> Mask:
    """Return the parts of a mask into which a ball fits."""
    return _mask_of(sitk.BinaryMorphologicalOpening(_image_of(mask, grid), _ball(grid, radius_mm), sitk.sitkBall))


def _dilated(mask: Mask, grid: Grid, radius_mm: float) -> Mask:
    return _mask_of(sitk.BinaryDilate(_image_of(mask, grid), _ball(grid, radius_mm), sitk.sitkBall))


def _ball(grid: Grid, radius_mm: float) -> list[int]:
    return [max(1, round(radius_mm / spacing)) for spacing in grid.spacing_mm]


def _image_of(mask: Mask, grid: Grid) -> sitk.Image:
    return to_sitk(LabelMap(mask.astype(np.int32), grid))


def _mask_of(image: sitk.Image) -> Mask:
    return np.asarray(sitk.GetArrayFromImage(image) != 0)
