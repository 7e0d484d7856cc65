"""Input of a network: both volumes on its grid, intensities 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...images.intensity import normalized
from ...images.resample import sampled_on
from ...pair import Pair
from ...transforms.transform import Transform

Image = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NetworkInputs:
    """Both images on one grid, intensities 0 to 1.

    Attributes
    ----------
    grid : Grid
        Grid of the network; one voxel along the third axis for 2D images.
    fixed, moving : (Z, Y, X) or (Y, X) arrays
        The images; the moving image is resampled with the start.
    """

    grid: Grid
    fixed: Image
    moving: Image


def make_inputs(pair: Pair, start: Transform, grid: Grid, *, plane: bool = False) -> NetworkInputs:
    """Return both volumes on a grid with intensities 0 to 1, (Z, Y, X), the moving one resampled with the start.

    Parameters
    ----------
    pair : Pair
        The pair.
    start : Transform
        Fixed to moving.
    grid : Grid
        Grid of the network.
    plane : bool
        Whether to return the first slice, (Y, X), for 2D networks.
    """
    images = [normalized(sampled_on(pair.fixed, grid)), normalized(sampled_on(pair.moving, grid, start))]
    fixed, moving = (image[0] if plane else image for image in images)
    return NetworkInputs(grid, fixed, moving)
