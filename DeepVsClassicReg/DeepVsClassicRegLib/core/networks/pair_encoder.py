"""Features of a fixed and a warped image for agents: the agreement of their edges under small shifts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import nn

from ..settings import option
from .blocks import SLOPE, ConvBlock
from .heads import AVERAGE
from .patch import EDGE, slopes

Tensor = torch.Tensor
SMALL = 1e-3
CONTRAST = 4.0  # differences of agreement are small numbers
STREAM = (8, 16, 32)  # channels of the convolutions that halve the resolution, for the inputs 'images'


@dataclass(frozen=True)
class EncoderSettings:
    """Architecture that all agents share; all values are our choice."""

    inputs: str = option(
        "edges",
        "Inputs",
        tooltip="edges: how well the edges of both images agree under shifts, the same in any contrast, "
        "learns from far fewer steps; images: convolutions of both images, as in the papers.",
        choices=("edges", "images"),
    )
    shifts: tuple[int, ...] = option(
        (1, 2, 3, 5, 8), "Compared shifts", unit="voxels", tooltip="For the inputs 'edges'.", minimum=1, advanced=True
    )
    cells: int = option(8, "Cells per axis", tooltip="Features are means over cells.", minimum=2, maximum=32)
    channels: int = option(32, "Channels", minimum=1, maximum=512, advanced=True)
    hidden: int = option(64, "Width of the last layer", minimum=1, maximum=1024, advanced=True)


class PairEncoder(nn.Module):
    """Two images -> features of cells -> expected reward of each action, and the expected distance.

    Parameters
    ----------
    settings : EncoderSettings
        Architecture.
    dimensions : int
        2 or 3.
    actions : int
        Number of actions.

    References
    ----------
    Normalized gradients: Haber and Modersitzki, MICCAI 2006, doi 10.1007/11866763_89.
    """

    def __init__(self, settings: EncoderSettings, *, dimensions: int, actions: int) -> None:
        super().__init__()
        self.shifts, self.cells, self.edges = settings.shifts, settings.cells, settings.inputs == "edges"
        inputs = 5 + 2 * dimensions * len(settings.shifts)
        self.stream = nn.Sequential()
        if not self.edges:
            self.stream = nn.Sequential(
                *(ConvBlock(dimensions, a, b, stride=2) for a, b in itertools.pairwise((2, *STREAM)))
            )
            inputs = STREAM[-1]
        channels, half = settings.channels, (settings.cells + 1) // 2
        self.body = nn.Sequential(
            ConvBlock(dimensions, inputs, channels, kernel=1),
            ConvBlock(dimensions, channels, channels),
            ConvBlock(dimensions, channels, channels, stride=2),
        )
        self.hidden = nn.Linear(channels * half**dimensions, settings.hidden)
        self.exit = nn.Linear(settings.hidden, actions + 1)

    def forward(self, fixed: Tensor, warped: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of the actions (N, A) and the distance (N,), in steps."""
        if self.edges:
            features = edge_agreement(fixed, warped, self.shifts, self.cells)
        else:
            features = AVERAGE[fixed.ndim - 2](self.stream(torch.cat([fixed, warped], 1)), self.cells)
        flat = functional.leaky_relu(self.hidden(self.body(features).flatten(1)), SLOPE)
        found = self.exit(flat).float()
        return found[:, :-1], functional.softplus(found[:, -1])


@torch.no_grad()
def edge_agreement(fixed: Tensor, warped: Tensor, shifts: Sequence[int], cells: int) -> Tensor:
    """Return means over cells: both images, their edges, and the agreement of the edges under shifts.

    Parameters
    ----------
    fixed, warped : (N, 1, *spatial) tensors
        Intensities, 0 to 1.
    shifts : sequence of int
        The warped image is shifted by so many voxels in both directions along each axis.
    cells : int
        Cells per axis.

    Returns
    -------
    (N, 5 + 2 D S, *cells) tensor
        Per axis and shift: the agreement ahead less that behind, and that of both less twice that without a shift. The
        agreement is the part of the fixed edges of a cell with parallel warped edges, times `CONTRAST`: 0 to
        `CONTRAST`, the same in any contrast.
    """
    dimensions = fixed.ndim - 2
    mean = AVERAGE[dimensions]
    first, second = _directions(fixed), _directions(warped)
    edges = (each.square().sum(1, keepdim=True) for each in (first, second))
    found = [mean(image, cells) for image in (fixed, warped, *edges)]
    scale = CONTRAST / (found[2] + SMALL)  # of the fixed edges alone: bounded, wherever the warped edges are
    here = scale * mean(_parallel(first, second), cells)
    found.append(here)
    for axis, shift in itertools.product(range(2, dimensions + 2), shifts):
        ahead, behind = (scale * mean(_parallel(first, _shifted(second, way * shift, axis)), cells) for way in (1, -1))
        found += [ahead - behind, ahead + behind - 2 * here]
    return torch.cat(found, 1)


def _directions(image: Tensor) -> Tensor:
    """Return the gradient, of length nearly 1 at edges and nearly 0 elsewhere, (N, D, *spatial)."""
    slope = slopes(image)
    return slope / (slope.square().sum(1, keepdim=True) + EDGE**2).sqrt()


def _parallel(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(1, keepdim=True).square()


def _shifted(field: Tensor, count: int, axis: int) -> Tensor:
    """Return the field whose value at voxel k is that of voxel k + count; 0 beyond its end."""
    size = field.shape[axis]
    if abs(count) >= size:
        return torch.zeros_like(field)
    kept = field.narrow(axis, max(count, 0), size - abs(count))
    margin = [0, 0] * (field.ndim - 1 - axis) + [max(-count, 0), max(count, 0)]
    return functional.pad(kept, margin)
