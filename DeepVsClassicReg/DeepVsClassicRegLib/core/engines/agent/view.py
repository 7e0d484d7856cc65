"""What an agent sees of a pair: the fixed image on a grid of the size of training, the moving image under a pose."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional

from ...images.grid import Grid
from ...images.intensity import foreground, normalized
from ...images.resample import sampled_on
from ...images.volume import Volume
from ...pair import Pair
from ...transforms.transform import Affine

Tensor = torch.Tensor
Array = npt.NDArray[np.floating]
MARGIN = 1.15  # the grid is larger than the object by this factor
TRIM = 0.005  # part of the object beyond each side of its box
FINEST = 0.5  # of the finest voxel edge


def agent_grid(fixed: Volume, size: tuple[int, int, int], *, spacing_mm: float = 0.0) -> Grid:
    """Return the grid of an agent: isotropic, along the patient axes, its middle in that of the object.

    Parameters
    ----------
    fixed : Volume
        The fixed volume.
    size : tuple of 3 int
        (X, Y, Z) of the training grid.
    spacing_mm : float
        Voxel size; 0 selects the one with which the object fits into the grid.
    """
    low, high = _bounds(fixed)
    if not spacing_mm:
        spacing_mm = max(MARGIN * float(np.max((high - low) / size)), FINEST * min(fixed.grid.spacing_mm))
    origin = (low + high) / 2 - (np.array(size) - 1) / 2 * spacing_mm
    return Grid(size, (spacing_mm,) * 3, (float(origin[0]), float(origin[1]), float(origin[2])))


def _bounds(fixed: Volume) -> tuple[Array, Array]:
    """Return the corners of the box of the object along the patient axes, without its outermost voxels, LPS mm."""
    points = fixed.grid.points()[foreground(fixed)]
    low, high = np.quantile(points, [TRIM, 1 - TRIM], axis=0)
    return np.asarray(low), np.asarray(high)


class PoseView:
    """The fixed image, and the moving image under any rigid pose, on the grid of an agent.

    Parameters
    ----------
    pair : Pair
        The volumes.
    grid : Grid
        Grid of the agent, along the patient axes.
    device : str
        A torch device.
    """

    def __init__(self, pair: Pair, grid: Grid, *, device: str) -> None:
        self.grid, self.device = grid, device
        # Scaled before they are sampled, so that intensities do not depend on the pose.
        first, second = (dataclasses.replace(each, array=normalized(each)) for each in (pair.fixed, pair.moving))
        own = second.grid.with_spacing([max(grid.spacing_mm[0], edge) for edge in second.grid.spacing_mm])
        self.fixed = self._tensor(sampled_on(first, grid).array)
        self.moving = self._tensor(sampled_on(second, own).array)
        self.to_index = np.linalg.inv(own.matrix)
        self.points = torch.from_numpy(grid.points() - grid.center_mm).float().to(device)

    def warped(self, pose: Affine) -> Tensor:
        """Return the moving image under a fixed-to-moving map, (1, 1, Z, Y, X)."""
        matrix = self.to_index[:3, :3] @ pose.matrix
        middle = (self.to_index @ np.append(pose.apply(self.grid.center_mm), 1.0))[:3]
        index = self.points @ torch.from_numpy(matrix.T).float().to(self.device)
        index += torch.from_numpy(middle).float().to(self.device)
        last = torch.tensor(self.moving.shape[:1:-1], device=self.device) - 1
        where = 2 * index / last.clamp(min=1) - 1
        return functional.grid_sample(self.moving, where[None], padding_mode="border", align_corners=True)

    def action(self, matrix: Tensor, shift: Tensor, center: Tensor) -> Affine:
        """Return an action about a voxel of the grid as a map of points.

        Parameters
        ----------
        matrix : (3, 3) tensor
            Turn, axes z, y, x.
        shift : (3,) tensor
            Shift in voxels of the grid, z, y, x.
        center : (3,) tensor
            Voxel about which it turns, z, y, x.
        """
        linear, moved, about = (np.asarray(part.cpu(), float) for part in (matrix, shift, center))
        # The axes of the grid are those of the patient: reversing both axes of the matrix gives x, y, z.
        return Affine.about(
            linear[::-1, ::-1], self.grid.index_to_point(about[::-1]), moved[::-1] * self.grid.spacing_mm
        )

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32))[None, None].to(self.device)
