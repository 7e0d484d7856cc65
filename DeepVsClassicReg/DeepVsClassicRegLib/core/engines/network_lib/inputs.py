"""What a network is shown: both volumes on its lattice, intensities 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...images.intensity import normalized
from ...images.resample import sampled_on
from ...images.volume import Pair
from ...transforms.transform import Transform

Image = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Both volumes on one lattice, (Z, Y, X), 0 to 1; `moving` already went through the start."""

    grid: Grid
    fixed: Image
    moving: Image


def make_inputs(pair: Pair, start: Transform, grid: Grid) -> Inputs:
    """Return what the network is shown of a pair on this lattice."""
    return Inputs(grid, normalized(sampled_on(pair.fixed, grid)), normalized(sampled_on(pair.moving, grid, start)))
