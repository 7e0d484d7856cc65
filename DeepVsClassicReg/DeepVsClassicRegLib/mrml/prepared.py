"""Data that the slice views show of a run, computed once, possibly in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import vtk

from ..core.images.grid import Grid
from . import geometry
from .channels import gray
from .geometry import grid_of
from .runs import Run

MOST_RUNS = 3
# Windowed arrays on the fixed grid, and the deformable part of the transform (a VTK transform).
SOURCES = ("fixed", "moving", "warped", "warp")
Compute = Callable[[Mapping[str, Any]], Any]


class Cache:
    """The source data of each run, and the values that the views computed from them."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}

    def source(self, run: Run, key: str) -> Any:
        """Return one of `SOURCES`, computed now if necessary; `RegistrationError` when its node was deleted."""
        work = self.work(run, (key,))
        if work is not None:
            work()
        return self._of(run)[key]

    def value(self, run: Run, view: str, upper: str) -> Any:
        """Return the value that a view computed; `KeyError` before `work` has run."""
        return self._of(run)[_value_key(view, upper)]

    def work(
        self, run: Run, sources: Sequence[str], *, view: str = "", upper: str = "", compute: Compute | None = None
    ) -> Callable[[], None] | None:
        """Return a thread-safe function that computes the missing values; None when nothing is missing.

        Parameters
        ----------
        run : Run
            Its nodes are read immediately, in the main thread.
        sources : sequence of str
            The required `SOURCES`.
        view, upper : str
            The view, and the role of the volume that is compared with the fixed one.
        compute : callable, optional
            Computes the view's value from the sources.
        """
        known = self._of(run)
        missing = [(key, _task(run, key)) for key in sources if key not in known]
        wanted = compute if _value_key(view, upper) not in known else None
        if not missing and wanted is None:
            return None

        def work() -> None:
            for key, task in missing:
                known[key] = task()
            if wanted is not None:
                known[_value_key(view, upper)] = wanted(known)

        return work

    def clear(self) -> None:
        """Remove all values."""
        self._known.clear()

    def _of(self, run: Run) -> dict[str, Any]:
        name = run.record.GetID()
        self._known[name] = self._known.pop(name, {})
        while len(self._known) > MOST_RUNS:
            self._known.pop(next(iter(self._known)))
        return self._known[name]


def _value_key(view: str, upper: str) -> str:
    return f"{view} of {upper}"


def _task(run: Run, key: str) -> Callable[[], Any]:
    """Return the computation of a source; it copies what it needs from the nodes and does not access them later."""
    if key == "warp":
        from .transforms import flattened

        pieces, fixed_grid = flattened(run.need("transform")), grid_of(run.need("fixed"))
        return lambda: _deformation(pieces, fixed_grid)
    node = run.need(key)
    array, channel, window, level = geometry.array_of(node), run.channel(key), *_window(node)
    if key != "moving":
        return lambda: geometry.windowed(gray(array, channel), window, level)
    grids = grid_of(node), grid_of(run.need("fixed"))
    return lambda: geometry.windowed(_moved(gray(array, channel), *grids), window, level)


def _deformation(pieces: list[Any], grid: Grid) -> vtk.vtkAbstractTransform:
    from ..core.evaluation.views.grid import deformable_part
    from .transforms import resolved, vtk_of

    return vtk_of(deformable_part(resolved(pieces, grid), grid))


def _moved(array: np.ndarray, grid: Any, onto: Any) -> np.ndarray:
    """Return the moving voxels resampled on the fixed grid by the image headers alone."""
    from ..core.images.resample import warp_volume
    from ..core.images.volume import Volume

    return warp_volume(Volume(np.nan_to_num(array), grid), onto).array


def _window(node: Any) -> tuple[float, float]:
    display = node.GetDisplayNode()
    return (display.GetWindow(), display.GetLevel()) if display is not None else (1.0, 0.5)
