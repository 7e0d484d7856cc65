"""A pair as engines see it: dark backgrounds, and masks of what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..images.intensity import with_dark_background
from ..images.resample import warp_labels
from ..images.volume import LabelMap, Volume
from ..pair import Pair, marked_pair


def engine_view(pair: Pair) -> tuple[Pair, list[str]]:
    """Return the pair as engines see it, and remarks about what differs from the volumes themselves.

    Padding and other voxels that were not measured get the background and are left out by a mask, merged with the
    user's own. A background inside or above the range of the body is made dark. The geometry stays, so a transform
    found for this pair is one for the original.
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
            remarks.append(f"The background of the {side} volume is not dark; engines see it as dark.")
    return (pair.replace(**changes), remarks) if changes else (pair, remarks)


def _merged(volume: Volume, mask: LabelMap | None) -> LabelMap:
    """Return the mask of the measured voxels, within the user's mask where there is one."""
    inside = np.ones(volume.grid.shape, dtype=bool) if volume.valid is None else volume.valid
    if mask is not None:
        inside = inside & warp_labels(mask, volume.grid).mask()
    return LabelMap(inside.astype(np.int32), volume.grid, name="measured")
