"""The pair as engines receive it: dark background, and masks of the measured voxels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..images.intensity import with_dark_background
from ..images.resample import warp_labels
from ..images.volume import LabelMap, Volume
from ..pair import Pair, marked_pair


def engine_view(pair: Pair) -> tuple[Pair, list[str]]:
    """Return the pair for engines, and notes on its differences from the given volumes.

    Padding and other voxels that were not measured get the background value and are excluded by a mask, combined with
    the user's mask. A background inside or above the intensity range of the body is made dark. The geometry does not
    change, so the transform of this pair is valid for the original.
    """
    pair = marked_pair(pair)
    changes: dict[str, Any] = {}
    remarks = []
    for side in ("fixed", "moving"):
        volume: Volume = getattr(pair, side)
        seen = with_dark_background(volume)
        if seen is volume:
            continue
        changes[side] = seen
        if volume.valid is not None:
            changes[f"{side}_mask"] = _merged(volume, getattr(pair, f"{side}_mask"))
        elif seen.array is not volume.array:
            remarks.append(f"The background of the {side} volume is not dark; engines receive it as dark.")
    return (pair.replace(**changes), remarks) if changes else (pair, remarks)


def _merged(volume: Volume, mask: LabelMap | None) -> LabelMap:
    """Return the mask of the measured voxels, inside the user's mask if there is one."""
    inside = np.ones(volume.grid.shape, dtype=bool) if volume.valid is None else volume.valid
    if mask is not None:
        inside = inside & warp_labels(mask, volume.grid).mask()
    return LabelMap(inside.astype(np.int32), volume.grid, name="measured")
