"""The optimization problem: the pair on one working grid, with a pyramid of coarser grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...images.intensity import background_value
from ...images.resample import warp_labels, warp_volume
from ...images.volume import LabelMap, Volume
from ...pair import Pair
from ...transforms.transform import Transform
from ..partial_views import continue_beyond
from .level import Mask, Region, nothing, region_of
from .locality import Neighborhood

Image = npt.NDArray[np.float32]
# Measured memory of the local correlation; self-similarity adds 24 channels, features those of their first level.
BYTES_PER_VOXEL = {"mind": 215, "features": 330}
BYTES_USUAL = 110
PROBE = 64
FOREGROUND = 0.05
FEWEST_NODES = 8
REGION_MARGIN = 3
LARGEST_SHRINK = 16
SLAB_VOXELS = 12_000_000


@dataclass(frozen=True, eq=False)
class OptimizationProblem:
    """Both images on one working grid; displacements are in its voxels.

    Attributes
    ----------
    grid : Grid
        The working grid; its sizes are multiples of the largest shrink factor of each axis.
    fixed, moving : (Z, Y, X) float32 arrays
        Intensities, with the foreground scaled to about 0..1; `moving` is resampled with the start.
    foreground : (Z, Y, X) bool array
        Foreground of at least one image.
    fixed_mask, moving_mask : (Z, Y, X) bool array or None
        Region where the similarity is measured: inside the masks of the pair and where the volume is known.
    start : Transform
        Start of the registration; applied after the field.
    partial : bool
        Whether the body extends beyond the field of view of a volume inside the grid.
    """

    grid: Grid
    fixed: Image
    moving: Image
    foreground: Mask
    fixed_mask: Mask | None
    moving_mask: Mask | None
    start: Transform
    partial: bool = False

    @property
    def compared(self) -> Mask | None:
        """Region where both volumes are compared before deformation; None means everywhere."""
        masks = [mask for mask in (self.fixed_mask, self.moving_mask) if mask is not None]
        return np.logical_and.reduce(masks) if masks else None


def make_problem(
    pair: Pair,
    *,
    coarsen: float,
    resolution_mm: float,
    memory_gib: float,
    similarity: str = "lncc",
    continues: bool = True,
    within: Neighborhood | None = None,
    check_cancelled: Callable[[], None] = nothing,
) -> tuple[OptimizationProblem, list[str]]:
    """Return the pair on its working grid, and notes for the user.

    Parameters
    ----------
    pair : Pair
        The pair to register.
    coarsen : float
        Working spacing in units of the fixed volume's finest spacing (1: full resolution, 2: half).
    resolution_mm : float
        Finest working spacing; 0 uses `coarsen` alone.
    memory_gib : float
        Memory limit of the optimization; the working spacing is increased until it fits.
    similarity : str
        The similarity; descriptors need more memory than intensities.
    continues : bool
        Whether the border voxels of a partial view are continued beyond it; else there is background. The mask
        excludes that region either way, but background makes an edge of the border, which the forces can move.
    within : Neighborhood, optional
        The part of the fixed volume that is registered; None means everything.
    check_cancelled : callable
        Called between the parts of the work; raises when the user cancels.
    """
    start = pair.initial or Transform()
    box = _foreground_box(pair, start) if within is None else within.box(pair.fixed.grid)
    check_cancelled()
    native = np.array(pair.fixed.grid.spacing_mm)
    target = max(resolution_mm, coarsen * float(native.min()))
    spacing = np.maximum(native, target)
    notes = []
    bound = memory_gib * 2**30 / BYTES_PER_VOXEL.get(similarity.partition(":")[0], BYTES_USUAL)
    voxels = float(np.prod(box.extent_mm / spacing))
    if voxels > bound:
        while np.prod(box.extent_mm / spacing) > bound:
            target *= 1.05
            spacing = np.maximum(native, target)
        notes.append(
            f"Working spacing: {target:.3g} mm instead of full resolution to stay within {memory_gib:g} GiB of memory."
        )
    grid = _working_grid(pair.fixed.grid, box, spacing)
    check_cancelled()
    fixed, fixed_known = _seen(pair.fixed, grid, None, check_cancelled, continues)
    check_cancelled()
    moving, moving_known = _seen(pair.moving, grid, start, check_cancelled, continues)
    check_cancelled()
    foreground = _foreground(fixed) | _foreground(moving)
    if within is not None:
        near = within.mask(grid)
        foreground = foreground & near if (foreground & near).any() else near
    check_cancelled()
    fixed = _scaled(fixed)
    check_cancelled()
    moving = _scaled(moving)
    check_cancelled()
    problem = OptimizationProblem(
        grid,
        fixed,
        moving,
        foreground,
        _both(_mask(pair.fixed_mask, grid, None), fixed_known),
        _both(_mask(pair.moving_mask, grid, start), moving_known),
        start,
        partial=fixed_known is not None or moving_known is not None,
    )
    return problem, notes


def shrinks(grid: Grid, levels: int) -> list[tuple[int, int, int]]:
    """Return the shrink factors (z, y, x) of each level, coarsest first, the last one (1, 1, 1).

    Coarse axes are not reduced before fine axes have the same spacing, and no axis gets fewer than 8 nodes or a factor
    above 16.
    """
    spacing = np.array(grid.spacing_mm[::-1])
    size = np.array(grid.shape)
    found = [np.ones(3, int)]
    for level in range(1, levels):
        wanted = spacing.min() * 2**level
        factor = found[-1].copy()
        grow = (spacing * factor * 1.5 <= wanted) & (factor * 2 <= _largest_shrink(size))
        factor[grow] *= 2
        if not grow.any():
            break
        found.append(factor)
    return [(int(f[0]), int(f[1]), int(f[2])) for f in reversed(found)]


def pooled(array: Image, shrink: tuple[int, int, int]) -> Image:
    """Return the means over blocks of `shrink` voxels (powers of two)."""
    small = array
    for axis, factor in enumerate(shrink):
        while factor > 1:
            if small.shape[axis] % 2:
                small = np.concatenate([small, small.take([-1], axis)], axis)
            even = [slice(None)] * 3
            odd = [slice(None)] * 3
            even[axis], odd[axis] = slice(0, None, 2), slice(1, None, 2)
            small = np.float32(0.5) * (small[tuple(even)] + small[tuple(odd)])
            factor //= 2
    return np.ascontiguousarray(small, dtype=np.float32)


def _foreground_box(pair: Pair, start: Transform) -> Grid:
    """Return the part of the fixed grid with foreground of at least one image, with a margin."""
    grid = pair.fixed.grid
    probe = grid.with_spacing([max(s, e / PROBE) for s, e in zip(grid.spacing_mm, grid.extent_mm, strict=True)])
    fixed = warp_volume(_thinned(pair.fixed, probe), probe).array
    moving = warp_volume(_thinned(pair.moving, probe), probe, start).array
    shows = _foreground(fixed) | _foreground(moving)
    if not shows.any():
        return grid
    first, end = [], []
    for axis in (2, 1, 0):
        used = np.flatnonzero(shows.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = 2
        ratio = grid.shape[axis] / probe.shape[axis]
        first.append(max(int((used[0] - margin) * ratio), 0))
        end.append(min(int(np.ceil((used[-1] + 1 + margin) * ratio)), grid.shape[axis]))
    return grid.cropped(first, [e - f for f, e in zip(first, end, strict=True)])


def _thinned(volume: Volume, probe: Grid) -> Volume:
    """Return a subsampled volume, so that a coarse probe does not need a copy of the whole volume."""
    step = np.maximum(np.array(probe.spacing_mm) / volume.grid.spacing_mm, 1).astype(int)
    array = np.ascontiguousarray(volume.array[:: step[2], :: step[1], :: step[0]])
    z, y, x = array.shape
    spacing = tuple((np.array(volume.grid.spacing_mm) * step).tolist())
    return Volume(array, Grid((x, y, z), spacing, volume.grid.origin_mm, volume.grid.direction), volume.name)


def _working_grid(fixed: Grid, box: Grid, spacing: npt.NDArray[np.floating]) -> Grid:
    """Return the grid over the box; at native spacing its nodes are the voxels of the fixed volume."""
    native = np.allclose(spacing, fixed.spacing_mm, rtol=1e-3)
    grid = box if native else box.with_spacing([float(s) for s in spacing])
    size = np.array(grid.size)
    multiple = _largest_shrink(size)
    padded = -(-size // multiple) * multiple
    return grid.cropped([0, 0, 0], [int(n) for n in padded])


def _largest_shrink(size: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return the largest power of two that keeps the minimum number of nodes on every (padded) axis."""
    factor = np.ones_like(size)
    while True:
        grow = (factor < LARGEST_SHRINK) & (size // (factor * 2) >= FEWEST_NODES)
        if not grow.any():
            return factor
        factor[grow] *= 2


def _seen(
    volume: Volume, grid: Grid, start: Transform | None, check_cancelled: Callable[[], None], continues: bool
) -> tuple[Image, Mask | None]:
    """Return the volume on the grid and the region where it is known (None: everywhere).

    The mask excludes the region beyond a partial view from the objective.
    """
    sampled = _sampled(volume, grid, start, check_cancelled)
    return sampled, continue_beyond(sampled, volume, grid, start or Transform(), continues=continues)


def _both(first: Mask | None, second: Mask | None) -> Mask | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second


def _sampled(volume: Volume, grid: Grid, start: Transform | None, check_cancelled: Callable[[], None]) -> Image:
    """Return the volume on the grid, averaged first where the grid is clearly coarser; computed in slabs."""
    ratio = np.array(grid.spacing_mm) / volume.grid.spacing_mm
    factors = tuple(int(2 ** np.floor(np.log2(max(r, 1.0)) + 0.3)) for r in ratio[::-1])
    source = volume
    if start is None and max(factors) == 1 and grid.spacing_mm == volume.grid.spacing_mm:
        return _cropped(volume, grid)
    if max(factors) > 1:
        source = _averaged(volume, (factors[0], factors[1], factors[2]))
    fill, out = background_value(volume), np.empty(grid.shape, np.float32)
    check_cancelled()
    x, y, z = grid.size
    thick = max(SLAB_VOXELS // (x * y), 1)
    for first in range(0, z, thick):
        slab = grid.cropped([0, 0, first], [x, y, min(thick, z - first)])
        out[first : first + thick] = warp_volume(source, slab, start, fill=fill).array
        check_cancelled()
    return out


def _cropped(volume: Volume, grid: Grid) -> Image:
    """Return the voxels of the volume at the grid's nodes; outside the volume the border values are continued."""
    first = np.rint(volume.grid.point_to_index(grid.origin_mm)).astype(int)[::-1]
    stop = [min(f + n, size) for f, n, size in zip(first, grid.shape, volume.array.shape, strict=True)]
    part = volume.array[tuple(slice(f, s) for f, s in zip(first, stop, strict=True))]
    missing = [(0, n - have) for n, have in zip(grid.shape, part.shape, strict=True)]
    return np.pad(part, missing, mode="edge") if np.any(missing) else np.array(part)


def _averaged(volume: Volume, factors: tuple[int, int, int]) -> Volume:
    array = pooled(volume.array, factors)
    step = np.array(factors[::-1])
    spacing = np.array(volume.grid.spacing_mm) * step
    origin = volume.grid.index_to_point((step - 1) / 2)
    z, y, x = array.shape
    grid = Grid((x, y, z), tuple(spacing.tolist()), tuple(origin.tolist()), volume.grid.direction)
    return Volume(array, grid, volume.name)


def _quantiles(array: Image) -> tuple[float, float]:
    step = max(1, round((array.size / 200_000) ** (1 / 3)))
    low, high = np.percentile(array[::step, ::step, ::step], [0.5, 99.8])
    if high <= low:
        low, high = float(array.min()), float(array.max())
    return float(low), float(high)


def _foreground(array: Image) -> Mask:
    low, high = _quantiles(array)
    return np.asarray(array > low + FOREGROUND * (high - low))


def _scaled(array: Image) -> Image:
    low, high = _quantiles(array)
    if high <= low:
        return np.zeros_like(array)
    return np.clip((array - np.float32(low)) * np.float32(1 / (high - low)), 0, 1.2).astype(np.float32)


def _mask(mask: LabelMap | None, grid: Grid, start: Transform | None) -> Mask | None:
    if mask is None:
        return None
    return warp_labels(mask, grid, start).mask()


@dataclass(frozen=True, eq=False)
class LevelImages:
    """The images of a level.

    Attributes
    ----------
    fixed, moving : (Z, Y, X) float32 arrays
        Block means of the working images.
    region : Region
        Region of computation.
    fixed_mask, moving_mask : (Z, Y, X) float32 arrays or None
        Masks as fractions of each block.
    spacing : (z, y, x)
        mm.
    shrink : (z, y, x)
        Block sizes.
    """

    fixed: Image
    moving: Image
    region: Region
    fixed_mask: Image | None
    moving_mask: Image | None
    spacing: tuple[float, float, float]
    shrink: tuple[int, int, int]


# Several runs use the same levels; the images are freed with their problem.
LEVELS: WeakKeyDictionary[OptimizationProblem, dict[tuple[int, int, int], LevelImages]] = WeakKeyDictionary()


def level_images(problem: OptimizationProblem, shrink: tuple[int, int, int]) -> LevelImages:
    """Return the images of the level with these block sizes, computed once per problem."""
    made = LEVELS.setdefault(problem, {})
    if shrink not in made:
        made[shrink] = _level_images(problem, shrink)
    return made[shrink]


def _level_images(problem: OptimizationProblem, shrink: tuple[int, int, int]) -> LevelImages:
    spacing = [s * f for s, f in zip(problem.grid.spacing_mm[::-1], shrink, strict=True)]
    foreground = pooled(problem.foreground.astype(np.float32), shrink) > 0
    return LevelImages(
        pooled(problem.fixed, shrink),
        pooled(problem.moving, shrink),
        region_of(foreground, margin=REGION_MARGIN),
        _pooled_mask(problem.fixed_mask, shrink),
        _pooled_mask(problem.moving_mask, shrink),
        (spacing[0], spacing[1], spacing[2]),
        shrink,
    )


def _pooled_mask(mask: Mask | None, shrink: tuple[int, int, int]) -> Image | None:
    return None if mask is None else pooled(mask.astype(np.float32), shrink)
