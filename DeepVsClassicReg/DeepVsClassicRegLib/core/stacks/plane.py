"""Maps between sections: displacements in pixels, composition and inverse, and their transforms in the patient."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..images.grid import Grid
from ..transforms.invert import fixed_point_inverse
from ..transforms.transform import DisplacementField, Transform

Array = npt.NDArray[np.floating]
INVERSE_STEPS = 60
INVERSE_TOLERANCE_PX = 0.005
SHOWN = 0.05  # lowest intensity of what a section shows, relative to its range


def identity(shape: tuple[int, int]) -> Array:
    """Return the pixel positions (2, Y, X), y and x."""
    return np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in shape], indexing="ij"))


def shown(image: Array) -> npt.NDArray[np.bool_]:
    """Return the pixels of a section that show something, (Y, X)."""
    low, high = np.percentile(image, [0.5, 99.5])
    return np.asarray(image > low + SHOWN * (high - low))


def sampled(image: Array, u: Array, *, fill: float | None = None) -> Array:
    """Return image(x + u(x)), (Y, X), linear; outside the image `fill`, or the nearest pixel when not given.

    Parameters
    ----------
    image : (Y, X) array
        The image.
    u : (2, Y, X) array
        Displacement in pixels, y and x.
    """
    where = identity(u.shape[1:]) + u
    mode, value = ("nearest", 0.0) if fill is None else ("constant", fill)
    return np.asarray(ndimage.map_coordinates(image, where, order=1, mode=mode, cval=value))


def composed(first: Array, second: Array) -> Array:
    """Return the displacement of x -> second(first(x)), (2, Y, X) pixels."""
    return first + np.stack([sampled(component, first) for component in second])


def inverted(u: Array) -> Array:
    """Return the displacement of the inverse map, (2, Y, X) pixels."""
    return np.asarray(
        fixed_point_inverse(
            -u,
            lambda v: composed(v, u),
            step=0.8,
            iterations=INVERSE_STEPS,
            is_done=lambda error: float(np.abs(error).max()) < INVERSE_TOLERANCE_PX,
        )
    )


def displacement_of(matrix: Array, shape: tuple[int, int]) -> Array:
    """Return the displacement (2, Y, X) of a linear map (2, 3) of pixel positions y and x."""
    x = identity(shape)
    return np.einsum("ab,byx->ayx", matrix[:, :2], x) + matrix[:, 2, None, None] - x


def flat_grid(grid: Grid, *, slices: int = 1) -> Grid:
    """Return the grid of a section on its own: axes x, y, origin 0; as a slab when it has several slices."""
    x, y, _z = grid.spacing_mm
    return Grid((grid.size[0], grid.size[1], slices), (x, y, x))


def in_patient(u: Array, grid: Grid) -> npt.NDArray[np.float32]:
    """Return displacements (..., 2, Y, X) in pixels (y, x) of sections of a grid as vectors (..., Y, X, 3), LPS mm."""
    x, y, _z = grid.spacing_mm
    in_plane = np.stack([u[..., 1, :, :] * x, u[..., 0, :, :] * y], axis=-1)
    return np.asarray(in_plane @ grid.axes[:, :2].T, dtype=np.float32)


def patient_transform(u: Array, grid: Grid, number: int) -> Transform:
    """Return the map of section `number` of a volume's grid as a transform in the patient, LPS mm.

    It maps points of the aligned section to points of the given one, in the plane of the section.
    """
    plane = grid.cropped([0, 0, number], [grid.size[0], grid.size[1], 1])
    return Transform((DisplacementField(in_patient(u, grid)[None], plane),))


def stack_transform(maps: Array, grid: Grid) -> Transform:
    """Return the maps of all sections, (N, 2, Y, X) pixels, as one transform in the patient, LPS mm.

    It maps points of the aligned stack to points of the given one; between two sections their maps are interpolated.
    """
    return Transform((DisplacementField(in_patient(maps, grid), grid),))
