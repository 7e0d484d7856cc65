"""Volumes with several values per voxel (color, vectors): what is registered of them, and their gray values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from slicer.i18n import tr as _

from .geometry import array_of

LUMINANCE = ""  # the choice of no single channel
COLORS = (_("Red"), _("Green"), _("Blue"), _("Alpha"))


def channel_count(node: Any) -> int:
    """Return the number of values per voxel of a volume node, 1 for an empty one."""
    image = node.GetImageData() if node is not None and node.IsA("vtkMRMLVolumeNode") else None
    return int(image.GetNumberOfScalarComponents()) if image is not None else 1


def needs_channel(node: Any, channel: str) -> bool:
    """Whether a channel must still be chosen: the node holds several values per voxel that are no color."""
    from ..core.images.channels import is_color

    return channel_count(node) > 1 and channel == LUMINANCE and not is_color(array_of(node))


def channel_choices(node: Any) -> list[tuple[str, str]]:
    """Return (text, channel) of what can be registered of a volume; a single entry when there is no choice."""
    count = channel_count(node)
    if count == 1:
        return [("", LUMINANCE)]
    if needs_channel(node, LUMINANCE):
        return [(_("Channel?"), LUMINANCE), *((_channel(index), str(index)) for index in range(count))]
    names = COLORS[:count] if count > 2 else (_("Gray"), COLORS[3])
    return [(_("Luminance"), LUMINANCE), *((name, str(index)) for index, name in enumerate(names))]


def gray(array: npt.NDArray[Any], channel: str = LUMINANCE) -> npt.NDArray[Any]:
    """Return the values that are registered, (Z, Y, X), of an array (Z, Y, X) or (Z, Y, X, C)."""
    from ..core.images.channels import luminance

    if array.ndim == 3:
        return array
    if channel != LUMINANCE:
        return array[..., int(channel)]
    return np.asarray(luminance(array))


def _channel(index: int) -> str:
    return str(_("Channel {number}").format(number=index))
