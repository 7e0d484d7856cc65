"""Effect of a deformation where both volumes overlap: local agreement before and after, folds and strain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..images.intensity import foreground
from ..images.resample import sampled_on, warp_labels
from ..images.volume import LabelMap
from ..pair import Pair
from ..transforms.jacobian import field_jacobian
from ..transforms.transform import Transform
from .mapping import seen_voxels
from .similarity import local_agreement

MOST_VOXELS = 1 << 21
# Smaller determinants, including those of folds, are replaced by this one in the strain.
SMALLEST_DETERMINANT = 1e-3


@dataclass(frozen=True)
class Gain:
    """The effect of a deformation.

    Attributes
    ----------
    before, after : float
        Local agreement (`local_agreement.Agreement.mean`) at the start and after; NaN when it cannot be measured.
    folding_percent : float
        Percentage of the evaluated voxels that are folded.
    strain : float
        Standard deviation of the logarithm of the Jacobian determinant where the deformation maps into the moving
        volume: 0 for an affine map, large when a large region is compressed into a small field of view.
    seen_share : float
        Fraction of the fixed foreground that the start maps into the moving volume.
    """

    before: float
    after: float
    folding_percent: float
    strain: float
    seen_share: float


def gain_of(pair: Pair, start: Transform, transform: Transform) -> Gain:
    """Return the effect of a deformation where both transforms map into the moving volume.

    Parameters
    ----------
    pair : Pair
        The pair as engines receive it; its masks are used.
    start, transform : Transform
        Fixed-to-moving transforms.
    """
    grid = pair.fixed.grid
    factor = max(1.0, (grid.voxel_count / MOST_VOXELS) ** (1 / 3))
    grid = grid if factor == 1 else grid.with_spacing([factor * spacing for spacing in grid.spacing_mm])
    fixed = sampled_on(pair.fixed, grid)
    inside = foreground(fixed) & _inside(pair.fixed_mask, grid, None)
    maps = [each.affine or each.displacement_on(grid) for each in (start, transform)]
    sampled, (shown, reached) = (
        int(inside.sum()),
        (
            inside & seen_voxels(grid, pair.moving, mapping) & _inside(pair.moving_mask, grid, each)
            for each, mapping in zip((start, transform), maps, strict=True)
        ),
    )
    inside = shown & reached
    warped = [sampled_on(pair.moving, grid, mapping).array for mapping in maps]
    before, after = (local_agreement(fixed.array, array, inside).mean for array in warped)
    share = float(shown.sum() / max(sampled, 1))
    if not inside.any():
        return Gain(before, after, 0.0, 0.0, share)
    determinant = field_jacobian(transform.displacement_on(grid)).array
    strain = float(np.log(np.maximum(determinant[reached], SMALLEST_DETERMINANT)).std())
    return Gain(before, after, float(100 * (determinant[inside] <= 0).mean()), strain, share)


def _inside(mask: LabelMap | None, grid: Grid, transform: Transform | None) -> npt.NDArray[np.bool_]:
    if mask is None:
        return np.ones(grid.shape, dtype=bool)
    return warp_labels(mask, grid, transform).mask()
