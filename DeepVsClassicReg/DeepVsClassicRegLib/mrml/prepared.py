"""What the comparison modes show, computed once per run; the computing may happen in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import vtk

from ..core.images.grid import Grid
from . import comparison
from .arrays import array_of, image_of
from .frames import grid_of
from .runs import Run

MOST_RUNS = 3
WARP_SPACING = 3.0  # in units of the grid, mm for a head
NEEDED = {
    "levels": ("fixed", "levels"),
    "difference warped": ("fixed", "warped", "difference warped"),
    "difference moving": ("fixed", "moving", "difference moving"),
}


class Cache:
    """What was computed, by run and key.

    Keys are 'fixed', 'warped' and 'moving' (windowed arrays on the fixed grid), the VTK images 'levels',
    'log_jacobian', 'difference warped' and 'difference moving', and 'warp' (a VTK transform).
    """

    def __init__(self) -> None:
        self._arrays: dict[str, dict[str, Any]] = {}

    def get(self, run: Run, key: str) -> Any:
        """Return an array, computing it now when it was not prepared; `RegistrationError` when its node is gone."""
        work = self.work(run, NEEDED.get(key, (key,)))
        if work is not None:
            work()
        return self._arrays[run.record.GetID()][key]

    def work(self, run: Run, keys: Sequence[str]) -> Callable[[], None] | None:
        """Return a function, safe in any thread, that computes what is missing; None when nothing is."""
        known = self._of(run)
        missing = [key for key in keys if key not in known]
        if not missing:
            return None
        tasks = [(key, _task(run, key, known)) for key in missing]

        def compute() -> None:
            for key, task in tasks:
                known[key] = task()

        return compute

    def clear(self) -> None:
        """Forget everything."""
        self._arrays.clear()

    def _of(self, run: Run) -> dict[str, Any]:
        name = run.record.GetID()
        self._arrays[name] = self._arrays.pop(name, {})
        while len(self._arrays) > MOST_RUNS:
            self._arrays.pop(next(iter(self._arrays)))
        return self._arrays[name]


def _task(run: Run, key: str, known: dict[str, Any]) -> Callable[[], Any]:
    """Take from the nodes what a task needs; the task itself touches none."""
    if key == "levels":
        return lambda: image_of(comparison.levels(known["fixed"]))
    if key.startswith("difference"):
        upper = key.split()[1]
        return lambda: image_of(comparison.difference(known["fixed"], known[upper]))
    if key == "log_jacobian":
        determinant = array_of(run.need("jacobian"))
        return lambda: image_of(comparison.coded_log_jacobian(determinant))
    if key == "warp":
        from .flatten import flattened

        pieces, grid = flattened(run.need("transform")), grid_of(run.need("fixed"))
        return lambda: _deformation(pieces, grid)
    node = run.need(key)
    array, window, level = array_of(node), *_window(node)
    if key != "moving":
        return lambda: comparison.windowed(array, window, level)
    grids = grid_of(node), grid_of(run.need("fixed"))
    return lambda: comparison.windowed(_moved(array, *grids), window, level)


def _deformation(pieces: list[Any], grid: Grid) -> vtk.vtkAbstractTransform:
    """Return the deformable part of a map on a coarse grid: what is left when the best affine map is undone."""
    from ..core.transforms.affine import fit_affine
    from ..core.transforms.field import DisplacementField
    from ..core.transforms.transform import Transform
    from .flatten import resolved
    from .transforms import vtk_of

    coarse = grid.with_spacing([max(s, WARP_SPACING * grid.unit_mm) for s in grid.spacing_mm])
    points = coarse.points()
    moved = points + resolved(pieces, grid).displacement_on(coarse).array_mm
    linear = fit_affine(points[::3, ::3, ::3], moved[::3, ::3, ::3], kind="affine")
    return vtk_of(Transform((DisplacementField(linear.inverse().apply(moved) - points, coarse),)))


def _moved(array: np.ndarray, grid: Any, onto: Any) -> np.ndarray:
    """Return the moving voxels where the headers put them, on the fixed grid."""
    from ..core.images.resample import warp_volume
    from ..core.images.volume import Volume

    return warp_volume(Volume(np.nan_to_num(array), grid), onto).array


def _window(node: Any) -> tuple[float, float]:
    display = node.GetDisplayNode()
    return (display.GetWindow(), display.GetLevel()) if display is not None else (1.0, 0.5)
