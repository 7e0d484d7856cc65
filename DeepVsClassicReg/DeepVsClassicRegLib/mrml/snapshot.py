"""Copies of the inputs that no longer depend on the scene, and their files for the worker."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from slicer.i18n import tr as _

from ..core.errors import FileError, RegistrationError
from ..core.images.grid import Grid
from ..core.images.volume import marked_name
from .geometry import array_of, grid_of
from .inputs import Inputs
from .problems import points_mm, problems
from .segmentations import Entry, LabelStyle, Layer, Numbering, entries, has_estimated, layers, numbering

SLAB_BYTES = 4 << 20
ENDINGS = {"fixed_points": "csv", "moving_points": "csv", "initial": "h5"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A copy of the inputs at one moment without nodes, so any thread may write it.

    Attributes
    ----------
    fixed_grid : Grid
        World geometry of the fixed volume, including linear parent transforms.
    labels : mapping of int to LabelStyle
        Label number -> name and color, the same on both sides.
    names : mapping of str to str
        Role -> name of the node.
    volumes : mapping of str to (array, Grid)
        'fixed' and 'moving'; (Z, Y, X), of color and vector volumes (Z, Y, X, C).
    channels : mapping of str to str
        Role -> number of the channel that is registered, where one was chosen.
    drawings : mapping of str to list of Layer
        Segmentations, masks, excluded regions and rigid bodies.
    points : mapping of str to (N, 3) array
        Landmarks, LPS mm.
    estimated : bool
        Whether a network made one of the segmentations.
    matching : str
        A sentence on structures that were not matched by name.
    initial : list or None
        Pieces of the initial transform, see `transforms.flattened`.
    """

    fixed_grid: Grid
    labels: Mapping[int, LabelStyle] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, tuple[npt.NDArray[Any], Grid]] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    drawings: Mapping[str, list[Layer]] = field(default_factory=dict)
    points: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    estimated: bool = False
    matching: str = ""
    initial: list[Any] | None = None

    @property
    def label_names(self) -> dict[str, str]:
        """Number -> name, the format of `Job.label_names`."""
        marked = marked_name if self.estimated else str
        return {str(number): marked(style.name) for number, style in self.labels.items()}

    def write(self, folder: str | os.PathLike[str]) -> dict[str, str]:
        """Write all inputs to a folder and return role -> file name, the format of `Job.inputs`.

        Thread-safe. Segmentations are resampled on the grid of their volume.

        Raises
        ------
        FileError
            When a file cannot be written.
        RegistrationError
            When the initial transform is not usable.
        """
        from ..core.images.channels import MARK
        from ..core.images.points import write_points
        from ..core.transforms.files import write_transform
        from .transforms import resolved

        roles = [*self.volumes, *self.drawings, *self.points, *(["initial"] if self.initial is not None else [])]
        files = {role: f"{role}.{ENDINGS.get(role, 'nrrd')}" for role in roles}
        target = Path(folder)
        for role, (array, grid) in self.volumes.items():
            write_array(array, grid, target / files[role])
        for role, parts in self.drawings.items():
            grid = self.volumes[role.partition("_")[0]][1]
            write_array(merged(parts, grid, mask=role.endswith(("mask", "excluded"))), grid, target / files[role])
        for role, points in self.points.items():
            try:
                write_points(points, target / files[role])
            except OSError as error:
                raise _unwritten(target / files[role], error) from error
        if self.initial is not None:
            write_transform(resolved(self.initial, self.fixed_grid), target / files["initial"])
        return {
            role: f"{name}#{MARK}{self.channels[role]}" if role in self.channels else name
            for role, name in files.items()
        }


def snapshot_steps(inputs: Inputs) -> Generator[str, None, Snapshot]:
    """Copy the inputs in small steps; run in the main thread, one `next()` per timer tick.

    Yields
    ------
    str
        The current role; each step takes well under 50 ms.

    Returns
    -------
    Snapshot
        The value of `StopIteration` after the last step.

    Raises
    ------
    RegistrationError
        When a check of the inputs fails with an error.
    """
    for problem in problems(inputs):
        if problem.is_error:
            raise RegistrationError(problem.message, hint=problem.hint)
    numbers = _numbers(inputs)
    volumes: dict[str, tuple[npt.NDArray[Any], Grid]] = {}
    drawings: dict[str, list[Layer]] = {}
    for role in ("fixed", "moving"):
        node = getattr(inputs, role)
        grid = grid_of(node)
        volumes[role] = (yield from copied(array_of(node), role)), grid
    for role in inputs.drawings:
        drawings[role] = []
        for layer in layers(getattr(inputs, role), _wanted(inputs, role, numbers)):
            drawings[role].append(replace(layer, array=(yield from copied(layer.array, role))))
    return Snapshot(
        fixed_grid=volumes["fixed"][1],
        labels=numbers.labels,
        names={role: node.GetName() for role, node in inputs.given()},
        volumes=volumes,
        channels={side: getattr(inputs, f"{side}_channel") for side in volumes if getattr(inputs, f"{side}_channel")},
        drawings={role: parts for role, parts in drawings.items() if parts},
        points={
            role: points_mm(getattr(inputs, role))
            for role in ("fixed_points", "moving_points")
            if getattr(inputs, role) is not None
        },
        estimated=has_estimated(inputs.fixed_labels) or has_estimated(inputs.moving_labels),
        matching=numbers.matching,
        initial=_pieces(inputs),
    )


def snapshot(inputs: Inputs) -> Snapshot:
    """Copy the inputs in one call (console, tests)."""
    steps = snapshot_steps(inputs)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def copied(array: npt.NDArray[Any], role: str) -> Generator[str, None, npt.NDArray[Any]]:
    """Copy in slabs, so that a large volume does not block the application."""
    copy = np.empty_like(array)
    step = max(1, int(SLAB_BYTES // max(array[:1].nbytes, 1)))
    for start in range(0, len(array), step):
        copy[start : start + step] = array[start : start + step]
        yield role
    return copy


def _numbers(inputs: Inputs) -> Numbering:
    return numbering(
        entries(inputs.fixed_labels, inputs.fixed_segment), entries(inputs.moving_labels, inputs.moving_segment)
    )


def _wanted(inputs: Inputs, role: str, numbers: Numbering) -> Mapping[Entry, int]:
    side, _, kind = role.partition("_")
    if kind == "labels":
        return numbers.fixed if side == "fixed" else numbers.moving
    if kind == "rigid":
        return {entry: number for number, entry in enumerate(entries(getattr(inputs, role), ""), 1)}
    return dict.fromkeys(entries(getattr(inputs, role), inputs.segment_of(role)), 1)


def _pieces(inputs: Inputs) -> list[Any] | None:
    if inputs.initial is None:
        return None
    from .transforms import flattened

    return flattened(inputs.initial)


def merged(parts: list[Layer], grid: Grid, *, mask: bool) -> npt.NDArray[np.int32]:
    """Return the layers resampled on a grid with nearest neighbors; later layers overwrite earlier ones."""
    from ..core.images.resample import warp_labels
    from ..core.images.volume import LabelMap

    whole = np.zeros(grid.shape, dtype=np.int32)
    for layer in parts:
        array = layer.array if layer.numbers is None else _renumbered(layer.array, layer.numbers)
        if not layer.grid.same_as(grid):
            array = warp_labels(LabelMap(array, layer.grid), grid).array
        np.copyto(whole, array, where=array > 0, casting="unsafe")
    return np.minimum(whole, 1) if mask else whole


def _renumbered(array: npt.NDArray[Any], numbers: Mapping[int, int]) -> npt.NDArray[np.int32]:
    table = np.zeros(max(int(array.max(initial=0)), *numbers) + 1, dtype=np.int32)
    for value, number in numbers.items():
        table[value] = number
    return table[np.maximum(array, 0)]


def write_array(array: npt.NDArray[Any], grid: Grid, path: Path) -> None:
    """Write without compression: the file is temporary, and compressing would delay the start of the run."""
    import SimpleITK as sitk

    from ..core.images.resample import image_from_array

    small = array.astype(np.uint16) if array.dtype == np.int32 and array.min() >= 0 and array.max() < 65536 else array
    try:
        sitk.WriteImage(image_from_array(small, grid, vector=small.ndim == 4), str(path))
    except RuntimeError as error:
        raise _unwritten(path, error) from error
    if not path.is_file() or path.stat().st_size < small.nbytes:
        raise _unwritten(path, _("the disk is full"))


def _unwritten(path: Path, reason: object) -> FileError:
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    text = lines[-1].rstrip(".") if lines else _("unknown reason")
    return FileError(
        _("Could not write {path}: {reason}.").format(path=path, reason=text),
        hint=_("Check the folder, its permissions and the free space."),
    )
