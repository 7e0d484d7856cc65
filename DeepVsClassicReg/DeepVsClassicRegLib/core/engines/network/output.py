"""Converts the prediction of a network to the result of the engine: field without folds, exact parts, extras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...images.volume import LabelMap, Volume
from ...networks.base import ExtraMap
from ...networks.parts import DisplacementPart
from ...networks.parts import Part as NetworkPart
from ...result import Extra
from ...transforms.transform import DisplacementField, Part, Transform
from ...transforms.unfold import nodes_below, unfolded
from ...transforms.units import channels_to_mm
from .exact import exact_parts
from .fading import faded
from .predict import NetworkOutput

Field = npt.NDArray[np.float32]
BACKWARD = "backward"


@dataclass(frozen=True, eq=False)
class FinishedField:
    """The field with notes for the user.

    Attributes
    ----------
    field : DisplacementField
        In mm, 0 at its border.
    folded_percent : float
        Percentage of the network's nodes that were folded.
    notes : tuple of str
        Notes on corrections and remaining folds.
    relaxed : bool
        Whether the field differs from the network's.
    """

    field: DisplacementField
    folded_percent: float
    notes: tuple[str, ...]
    relaxed: bool = False


def finished_field(u: Field, grid: Grid, *, lowest: float) -> FinishedField:
    """Return the network's displacements as a field in mm that decreases to 0 outside of its grid.

    Parameters
    ----------
    u : (3, Z, Y, X) array
        z, y, x in voxels of `grid`.
    grid : Grid
        The network's grid.
    lowest : float
        Lowest Jacobian determinant; the field is smoothed around nodes below it, 0 keeps them.
    """
    wide, around = faded(u, grid)
    determinants = nodes_below(wide, max(lowest, float(np.finfo(np.float32).tiny)))[1]
    folded, low = int((determinants <= 0).sum()), len(determinants) if lowest > 0 else 0
    percent = 100.0 * folded / u[0].size
    notes = [f"The network's field folded at {folded} nodes ({percent:.3g} %)."] if folded else []
    if low:
        wide, repair = unfolded(wide, lowest=lowest)
        notes.append(f"The field was smoothed around {repair.folded} nodes with folds or nearly folds.")
        if repair.left:
            notes.append(f"{repair.left} nodes remain below the lowest determinant after {repair.rounds} iterations.")
    field = DisplacementField(channels_to_mm(wide, around), around)
    return FinishedField(field, percent, tuple(notes), bool(low))


def transform_parts(parts: Sequence[NetworkPart], finished: FinishedField, grid: Grid) -> tuple[Part, ...]:
    """Return the prediction of a network as parts of a transform: exact ones if the field is unchanged, else the field.

    Parameters
    ----------
    parts : sequence of network parts
        As in `NetworkOutput`.
    finished : FinishedField
        The same prediction as a field.
    grid : Grid
        The network's grid.
    """
    only_fields = all(isinstance(part, DisplacementPart) for part in parts)
    if finished.relaxed or only_fields or grid.size[2] == 1:
        return (finished.field,)
    return exact_parts(parts, grid)


def in_space(u: Field) -> Field:
    """Return the displacement of a 2D network, (2, Y, X), as one of volumes, (3, 1, Y, X)."""
    if u.shape[0] == 3:
        return u
    return np.ascontiguousarray(np.concatenate([np.zeros_like(u[:1]), u])[:, None])


def result_extras(
    output: NetworkOutput, grid: Grid, start: Transform, *, lowest: float, unit_mm: float = 1.0
) -> tuple[Extra, ...]:
    """Return the further outputs of a network as extras of a result.

    Parameters
    ----------
    output : NetworkOutput
        Output of the network.
    grid : Grid
        Its grid.
    start : Transform
        Transform with which the moving image was resampled for the network.
    lowest : float
        Lowest Jacobian determinant of the moving-to-fixed map.
    unit_mm : float
        Factor of the lengths of the grid and of the start in the extras.
    """
    extras = [_extra(name, entry, grid, lowest, unit_mm) for name, entry in output.extras.items()]
    if output.backward is not None and start.affine is not None:
        field = finished_field(in_space(output.backward), grid, lowest=lowest).field
        inverse = Transform.of([start.affine.inverse(), field])
        extras.append(Extra(BACKWARD, "Map from moving to fixed", inverse, kind="transform"))
    return tuple(replace(extra, value=extra.value.scaled(unit_mm)) for extra in extras)


def _extra(name: str, entry: ExtraMap, grid: Grid, lowest: float, unit_mm: float) -> Extra:
    values = entry.values[0].numpy()
    title = entry.title or name.replace("_", " ")
    if entry.kind == "transform":
        field = finished_field(in_space(values), grid, lowest=lowest).field
        return Extra(name, title, Transform((field,)), kind="transform")
    if entry.kind == "labels":
        members = np.concatenate([1 - values.sum(0, keepdims=True), values])
        known = np.array([0, *(entry.labels or range(1, len(members)))], np.int32)
        labels = known[members.argmax(0)].reshape(grid.shape)
        return Extra(name, title, LabelMap(labels, grid, name=title), kind="labels")
    array, unit = values[0].reshape(grid.shape), entry.unit
    if unit == "voxels":
        array, unit = array * np.float32(min(grid.spacing_mm) * unit_mm), "mm"
    return Extra(name, title, Volume(array, grid, title), kind=entry.kind, unit=unit)
