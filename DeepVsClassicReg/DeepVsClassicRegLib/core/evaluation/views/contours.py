"""Contours: outlines of the fixed and the warped structures over the warped volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from ..colors import FIXED_OUTLINE, WARPED_OUTLINE, Color
from ..plotting import EXTENT, Draw
from .base import View

if TYPE_CHECKING:
    from ..figures import Pictures, Side

LOWEST = 25.0  # of 255; lower values are air


def tissue_levels(fixed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return 1 for bright and 2 for the brightest tissue of a smoothed volume; their outlines are isocontours.

    They replace the outlines of structures when there is no segmentation.
    """
    import SimpleITK as sitk

    image = sitk.SmoothingRecursiveGaussian(sitk.Cast(sitk.GetImageFromArray(fixed), sitk.sitkFloat32), 1.2)
    smooth = sitk.GetArrayFromImage(image)
    body = smooth > LOWEST
    bounds = (LOWEST, float(np.median(smooth[body])) if body.any() else 127.0)
    return np.digitize(smooth, bounds).astype(np.uint8)


def _row(pictures: Pictures, side: Side) -> Draw:
    pair = pictures.pair
    sides = [
        (pictures.slices.labels(labels, mapping), color, width)
        for labels, mapping, color, width in (
            (pair.moving_labels, side.mapping, WARPED_OUTLINE, 0.7),
            (pair.fixed_labels, None, FIXED_OUTLINE, 1.1),
        )
        if labels is not None
    ]

    def draw(axes: Any, n: int) -> None:
        axes.imshow(side.volumes[n], cmap="gray", vmin=0, vmax=1, **EXTENT)
        for labels, color, width in sides:
            _outline(axes, labels[n], color, width)

    return draw


def _outline(axes: Any, labels: npt.NDArray[np.int32], color: Color, width: float) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(outlines(labels), colors=[color], linewidths=width))


def outlines(labels: npt.NDArray[np.int32]) -> list[npt.NDArray[np.float64]]:
    """Return the outlines of all labels of a picture as lines of points (x, y), (N, 2), in pixels."""
    from contourpy import contour_generator

    lines: list[npt.NDArray[np.float64]] = []
    for label in np.unique(labels):
        if label:
            member = labels == label
            rows, columns = (np.flatnonzero(member.any(axis=axis)) for axis in (1, 0))
            y, x = (np.arange(places[0] - 1, places[-1] + 2) for places in (rows, columns))
            part = np.pad(member[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1).astype(np.float32)
            lines += cast("list[npt.NDArray[np.float64]]", contour_generator(x, y, part).lines(0.5))
    return lines


VIEW = View(
    name="contours",
    title="Contours",
    caption="Outlines of the fixed (amber) and the warped structures (cyan) over the warped volume: they should "
    "coincide. Without segmentations, contours of the fixed intensities are shown.",
    row=_row,
    picture_needs=("fixed_labels",),
)
