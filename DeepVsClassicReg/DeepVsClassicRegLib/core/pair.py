"""A pair to register, and the checks before its registration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import GeometryError, RegistrationError
from .images.grid import Grid, is_single_slice, length_text
from .images.intensity import marked
from .images.resample import warp_labels
from .images.volume import LabelMap, Note, Volume, is_unsound
from .transforms.transform import Affine, Transform

FEWEST_VOXELS = 8
MOST_SAMPLES = 20  # along an axis
# From this ratio of the sizes of both volumes on, a header may give lengths in another unit (cm, um); a part of a body
# beside the whole of it stays below.
OTHER_UNIT = 9.0


@dataclass(frozen=True, eq=False)
class Pair:
    """The fixed and the moving volume with everything an engine or the evaluation may need.

    Parameters
    ----------
    fixed, moving : Volume
        The moving volume is registered to the fixed volume; their grids may differ.
    fixed_labels, moving_labels : LabelMap, optional
        Segmentations for the evaluation and for engines that use labels.
    fixed_mask, moving_mask : LabelMap, optional
        Region where the similarity is measured (non-zero voxels).
    fixed_excluded, moving_excluded : LabelMap, optional
        Lesions, resections, implants, electrodes (non-zero voxels): they have no counterpart in the other volume, so
        they are compared with nothing and follow their neighborhood.
    fixed_rigid, moving_rigid : LabelMap, optional
        Bodies that move as rigid ones (bones, implants), one per label; for engines with `EngineInfo.keeps_bodies`.
    fixed_points, moving_points : (N, 3) array, optional
        Corresponding landmarks, LPS mm.
    initial : Transform, optional
        A fixed-to-moving transform to start from.
    notes : tuple of str
        Sentences about the pair for the user, such as how landmarks were matched.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: LabelMap | None = None
    moving_labels: LabelMap | None = None
    fixed_mask: LabelMap | None = None
    moving_mask: LabelMap | None = None
    fixed_excluded: LabelMap | None = None
    moving_excluded: LabelMap | None = None
    fixed_rigid: LabelMap | None = None
    moving_rigid: LabelMap | None = None
    fixed_points: npt.NDArray[np.float64] | None = None
    moving_points: npt.NDArray[np.float64] | None = None
    initial: Transform | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.fixed_points is None) != (self.moving_points is None):
            raise RegistrationError("Landmarks are given on one side only.", hint="Give both lists or none.")
        if self.fixed_points is not None and self.moving_points is not None:
            for side in ("fixed_points", "moving_points"):
                points = np.asarray(getattr(self, side), dtype=np.float64).reshape(-1, 3)
                object.__setattr__(self, side, points)
            if len(self.fixed_points) != len(self.moving_points):
                raise RegistrationError(
                    f"The landmark lists have different lengths: {len(self.fixed_points)} fixed, "
                    f"{len(self.moving_points)} moving.",
                    hint="Each fixed landmark needs a corresponding moving landmark, in the same order.",
                )

    def without_annotations(self) -> Pair:
        """Return this pair without segmentations and landmarks, as engines that use neither see it."""
        return self.replace(fixed_labels=None, moving_labels=None, fixed_points=None, moving_points=None)

    def scaled(self, factor: float) -> Pair:
        """Return this pair with all lengths multiplied, about the origin of the patient coordinates."""
        if factor == 1:
            return self
        changed: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            item = getattr(self, name)
            if isinstance(item, np.ndarray):
                changed[name] = item * factor
            elif hasattr(item, "scaled"):
                changed[name] = item.scaled(factor)
        return self.replace(**changed)

    def replace(self, **changes: Any) -> Pair:
        """Return a pair with these fields changed."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Pair(**{**fields, **changes})


def check_pair(pair: Pair, *, single_slices: bool = False) -> list[str]:
    """Check a pair and return its warnings: notes of the readers and remarks.

    Parameters
    ----------
    pair : Pair
        What is registered.
    single_slices : bool
        Whether volumes of one slice are allowed.

    Raises
    ------
    GeometryError
        When a volume is a single slice (`single_slices`: only one of both) or has fewer than 8 voxels along an axis, or
        the initial transform maps the fixed volume outside the moving volume.
    RegistrationError
        When a volume is constant, the initial transform is a reflection, or a mask, an excluded region or a
        segmentation of rigid bodies is empty or outside its volume.
    """
    for side, volume in (("fixed", pair.fixed), ("moving", pair.moving)):
        _check_volume(volume, side, single_slices=single_slices and is_single_slice(pair.fixed.grid.size))
    if is_single_slice(pair.fixed.grid.size) and not is_single_slice(pair.moving.grid.size):
        raise GeometryError(
            f"The fixed volume is a single slice {pair.fixed.grid.size}, the moving volume is not "
            f"{pair.moving.grid.size}.",
            hint="Single slices are registered to single slices only; extract the slice of the moving volume first.",
        )
    for side, volume in (("fixed", pair.fixed), ("moving", pair.moving)):
        for name, what in (
            ("mask", "mask"),
            ("excluded", "excluded region"),
            ("rigid", "segmentation of rigid bodies"),
        ):
            mask: LabelMap | None = getattr(pair, f"{side}_{name}")
            if mask is not None:
                _check_mask(mask, volume, f"{side} {what}", side)
    if pair.initial is not None:
        _check_initial(pair.initial, pair)
    return [*reader_notes(pair), *_remarks(pair)]


def _check_initial(initial: Transform, pair: Pair) -> None:
    linear = [part.matrix for part in initial.parts if isinstance(part, Affine)]
    if np.prod([np.linalg.det(matrix) for matrix in linear]) < 0:
        raise RegistrationError(
            "The initial transform mirrors the patient.", hint="Use one without a reflection, or leave it out."
        )
    places = [np.linspace(0, count - 1, min(count, MOST_SAMPLES)) for count in pair.fixed.grid.size]
    points = pair.fixed.grid.index_to_point(np.stack(np.meshgrid(*places), axis=-1).reshape(-1, 3))
    if not pair.moving.grid.contains(initial.apply(points)).any():
        raise GeometryError(
            "The initial transform maps the fixed volume completely outside the moving volume.",
            hint="It must map fixed to moving points in LPS mm: give its inverse if it maps moving to fixed points, or "
            "leave it out.",
        )


def reader_notes(pair: Pair) -> list[str]:
    """Return the notes of the readers on the parts of a pair, each with the name of the part."""
    parts = {
        "Fixed volume": pair.fixed,
        "Moving volume": pair.moving,
        "Fixed segmentation": pair.fixed_labels,
        "Moving segmentation": pair.moving_labels,
        "Fixed mask": pair.fixed_mask,
        "Moving mask": pair.moving_mask,
        "Fixed excluded region": pair.fixed_excluded,
        "Moving excluded region": pair.moving_excluded,
        "Fixed rigid bodies": pair.fixed_rigid,
        "Moving rigid bodies": pair.moving_rigid,
    }
    starts = [Note(note, unsound=is_unsound(note)).about("Initial transform") for note in _initial_notes(pair)]
    return [
        Note(note, unsound=is_unsound(note)).about(f"{what} '{part.name}'")
        for what, part in parts.items()
        if part is not None
        for note in part.notes
    ] + [*pair.notes, *starts]


def _initial_notes(pair: Pair) -> tuple[str, ...]:
    return pair.initial.notes if pair.initial is not None else ()


def _check_volume(volume: Volume, side: str, *, single_slices: bool) -> None:
    allowed = single_slices and is_single_slice(volume.grid.size)
    smallest = sorted(volume.grid.size)[1] if allowed else min(volume.grid.size)
    if smallest == 1:
        raise GeometryError(
            f"The {side} volume '{volume.name}' is a single slice {volume.grid.size}.",
            hint="Use 3D volumes with several slices, or two single slices.",
        )
    if smallest < FEWEST_VOXELS:
        raise GeometryError(
            f"The {side} volume '{volume.name}' has only {smallest} voxels along one axis {volume.grid.size}; "
            f"at least {FEWEST_VOXELS} are needed.",
            hint="Resample it to thinner slices first, if that is appropriate for the data.",
        )
    low, high = volume.value_range
    if low == high:
        raise RegistrationError(
            f"The {side} volume '{volume.name}' is constant (every voxel is {low:g}).",
            hint="Check that it is the right file.",
        )


def _check_mask(mask: LabelMap, volume: Volume, what: str, side: str) -> None:
    inside = np.argwhere(mask.mask())
    if len(inside) == 0:
        raise RegistrationError(f"The {what} '{mask.name}' is empty.", hint="Draw it, or leave it out.")
    if not _meets(mask, volume):
        raise GeometryError(
            f"The {what} '{mask.name}' is completely outside the {side} volume.",
            hint="Use one in the same patient coordinates as its volume.",
        )


def _meets(labels: LabelMap, volume: Volume) -> bool:
    """Return whether some of about 1000 labeled voxels are within the volume's grid."""
    if labels.grid.same_as(volume.grid):
        return True
    inside = np.argwhere(labels.mask())
    points = labels.grid.index_to_point(inside[:: max(1, len(inside) // 1000), ::-1])
    return bool(volume.grid.contains(points).any())


def _other_unit(pair: Pair) -> Note | None:
    """Return a note when the sizes of both volumes differ as much as units of length do."""
    fixed, moving = (float(max(volume.grid.extent_mm)) for volume in (pair.fixed, pair.moving))
    if max(fixed, moving) < OTHER_UNIT * min(fixed, moving):
        return None
    text = (
        f"The fixed volume is {length_text(fixed)} long, the moving volume {length_text(moving)}: if both show the "
        "same body part, one of the headers gives a wrong voxel size or unit of length. Correct it, and register again."
    )
    return Note(text, unsound=True)


def _remarks(pair: Pair) -> list[str]:
    unit = _other_unit(pair)
    remarks: list[str] = [] if unit is None else [unit]
    for side, volume, labels in (
        ("fixed", pair.fixed, pair.fixed_labels),
        ("moving", pair.moving, pair.moving_labels),
    ):
        thick = max(volume.grid.spacing_mm) / min(volume.grid.spacing_mm)
        if thick > 4:
            remarks.append(f"The {side} volume's slices are {thick:.1f} times thicker than its pixels.")
        if labels is not None and not labels.labels:
            remarks.append(f"The {side} segmentation '{labels.name}' is empty.")
        elif labels is not None and not _meets(labels, volume):
            remarks.append(
                Note(
                    f"The {side} segmentation '{labels.name}' is completely outside the {side} volume: their headers "
                    "do not belong together.",
                    unsound=True,
                )
            )
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        shared = set(pair.fixed_labels.labels) & set(pair.moving_labels.labels)
        if not shared:
            remarks.append("The two segmentations have no label number in common, so no overlap can be computed.")
    if pair.fixed_points is not None and not pair.fixed.grid.contains(pair.fixed_points).all():
        remarks.append("Some fixed landmarks are outside the fixed volume; check that they are in LPS millimeters.")
    return remarks


def marked_pair(pair: Pair) -> Pair:
    """Return the pair with the padding of both volumes marked; volumes with marked padding do not change."""
    sides = {side: getattr(pair, side) for side in ("fixed", "moving")}
    changes = {side: marked(volume) for side, volume in sides.items() if volume.valid is None}
    changed = {side: volume for side, volume in changes.items() if volume is not sides[side]}
    return pair.replace(**changed) if changed else pair


def without_excluded(pair: Pair) -> Pair:
    """Return the pair with the excluded regions marked as not measured, like padding."""
    changes: dict[str, Any] = {}
    for side in ("fixed", "moving"):
        volume: Volume = getattr(pair, side)
        excluded: LabelMap | None = getattr(pair, f"{side}_excluded")
        if excluded is not None:
            kept = ~on_grid(excluded, volume.grid)
            changes[side] = replace(volume, valid=kept if volume.valid is None else kept & volume.valid)
    return pair.replace(**changes) if changes else pair


def on_grid(mask: LabelMap, grid: Grid) -> npt.NDArray[np.bool_]:
    """Return the non-zero voxels of a label map on a grid, (Z, Y, X)."""
    return (mask if mask.grid.same_as(grid) else warp_labels(mask, grid)).mask()
