"""Volume and LabelMap: arrays with their grid, checked at construction; notes on them; the mark of estimated ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import GeometryError, RegistrationError
from .grid import Grid

Labels = npt.NDArray[np.int32]
LABEL_RANGE = np.iinfo(np.int32)
TAG = "DeepVsClassicReg.Estimated"
"""Tag of an estimated segment; its value is the name of the model."""
REMARK = " (estimated)"


def percent_text(percent: float) -> str:
    """Return a percentage with two digits, without an exponent for those near 100.

    Examples
    --------
    >>> percent_text(0.0123), percent_text(27.4), percent_text(99.9)
    ('0.012 %', '27 %', '100 %')
    """
    return f"{percent:.2g} %" if percent < 99.5 else f"{percent:.0f} %"


class Note(str):
    """A sentence about an input for the user.

    It is a string; only the verdict uses `unsound`.

    Parameters
    ----------
    text : str
        One sentence.
    unsound : bool
        The input may be wrong: a gap closed by interpolation, an assumed orientation, voxels that were not measured.
        The verdict on its registration is at best to check.

    Examples
    --------
    >>> Note("The file says no orientation; axes are taken as right, anterior, superior.", unsound=True).unsound
    True
    >>> Note("Read as 3D: a 4D file with one frame.").about("Fixed volume 'a'")
    "Fixed volume 'a': Read as 3D: a 4D file with one frame."
    """

    unsound: bool

    def __new__(cls, text: str, *, unsound: bool = False) -> Note:
        """Make a note."""
        note = super().__new__(cls, text)
        note.unsound = unsound
        return note

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, bool]]:
        """Keep the severity when the note is copied or sent to another process."""
        return (str(self),), {"unsound": self.unsound}

    def about(self, what: str) -> Note:
        """Return the note with its subject as prefix and the same severity."""
        return Note(f"{what}: {self}", unsound=self.unsound)


def is_unsound(note: str) -> bool:
    """Return whether a note means that an input may be wrong; False for a plain string."""
    return isinstance(note, Note) and note.unsound


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar 3D image.

    Parameters
    ----------
    array : (Z, Y, X) array
        Finite intensities; stored as float32, not writable.
    grid : Grid
        Where the voxels lie, LPS mm.
    name : str
        Name in messages and reports.
    valid : (Z, Y, X) bool array, optional
        False in voxels that were not measured (NaN, padding), which have a fill value. None means measured everywhere.
    notes : tuple of str
        Notes for the user: what was odd in the file and how it was read.

    Raises
    ------
    GeometryError
        When the array's shape is not the grid's.
    RegistrationError
        When a value is not finite.
    """

    array: npt.NDArray[np.float32]
    grid: Grid
    name: str = "volume"
    valid: npt.NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        array = _checked_array(self.array, self.grid, self.name).astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise RegistrationError(
                f"'{self.name}' has values that are not finite (NaN or Inf).",
                hint="Make it with Volume.filled, which marks those voxels as not measured.",
            )
        object.__setattr__(self, "array", _frozen(array))
        object.__setattr__(self, "valid", _checked_valid(self.valid, self.grid, self.name))

    @classmethod
    def filled(
        cls,
        array: npt.NDArray[Any],
        grid: Grid,
        name: str = "volume",
        *,
        notes: tuple[str, ...] = (),
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> Volume:
        """Return a volume whose NaN, Inf and what is not `valid` are not measured and hold the lowest measured value.

        Raises
        ------
        RegistrationError
            When there is no finite value at all.
        """
        values = np.asarray(array).astype(np.float32, copy=False)
        finite = np.isfinite(values)
        measured = finite if valid is None else finite & valid
        if measured.all():
            return cls(values, grid, name, notes=notes)
        if not measured.any():
            raise RegistrationError(
                f"'{name}' contains no finite value at all.", hint="Check that the file is complete."
            )
        lowest = values[measured].min()
        count = int((~finite).sum())
        note = (
            f"{count} voxels ({percent_text(100 * count / finite.size)}) are NaN or Inf; they count as not measured "
            f"and hold the lowest value, {lowest:g}."
        )
        return cls(np.where(measured, values, lowest), grid, name, measured, (*notes, note) if count else notes)

    def scaled(self, factor: float) -> Volume:
        """Return this volume with all lengths of its grid multiplied, about the origin of the patient coordinates."""
        return self if factor == 1 else replace(self, grid=self.grid.scaled(factor))

    @property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest intensity."""
        return float(self.array.min()), float(self.array.max())


@dataclass(frozen=True)
class Segment:
    """The entries of a segmentation file about a segment, without its voxels.

    Parameters
    ----------
    name : str
        Such as 'Left kidney'.
    facts : mapping of str to str
        Entries of Slicer, unchanged: ID, Color, Tags (terminology) and others.
    """

    name: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A segmentation: one integer label per voxel, 0 is background.

    Parameters
    ----------
    array : (Z, Y, X) integer array
        Labels, integers of 32 bits with sign; stored as int32, not writable. Masks are label maps.
    grid : Grid
        Where the voxels lie, LPS mm.
    names : mapping of int to str
        Names of labels, when known; those of `segments` when not given.
    name : str
        Name in messages and reports.
    notes : tuple of str
        Notes for the user: what was odd in the file and how it was read.
    segments : mapping of int to Segment
        Entries of a Slicer segmentation about its labels; kept when it is warped and written.

    Raises
    ------
    GeometryError
        When the array's shape is not the grid's.
    RegistrationError
        When a value is not an integer of 32 bits.
    """

    array: Labels
    grid: Grid
    names: Mapping[int, str] = field(default_factory=dict)
    name: str = "segmentation"
    notes: tuple[str, ...] = ()
    segments: Mapping[int, Segment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = _checked_array(self.array, self.grid, self.name)
        _check_labels(array, self.name)
        object.__setattr__(self, "array", _frozen(array.astype(np.int32, copy=False)))
        if self.segments and not self.names:
            names = {number: segment.name for number, segment in self.segments.items()}
            object.__setattr__(self, "names", names)

    def scaled(self, factor: float) -> LabelMap:
        """Return this map with all lengths of its grid multiplied, about the origin of the patient coordinates."""
        return self if factor == 1 else replace(self, grid=self.grid.scaled(factor))

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels present, ascending, without the background 0."""
        return tuple(int(label) for label in np.unique(self.array) if label != 0)

    def mask(self) -> npt.NDArray[np.bool_]:
        """Return where any label is, negative ones included, (Z, Y, X)."""
        return self.array != 0


def _checked_array(array: Any, grid: Grid, name: str) -> npt.NDArray[Any]:
    checked = np.asarray(array)
    if checked.shape != grid.shape:
        raise GeometryError(f"'{name}' has an array of shape {checked.shape}, its grid needs {grid.shape}.")
    if checked.size == 0:
        raise RegistrationError(f"'{name}' is empty.")
    return checked


def _check_labels(array: npt.NDArray[Any], name: str) -> None:
    if array.dtype == bool:
        return
    if not np.issubdtype(array.dtype, np.integer):
        if not (np.isfinite(array).all() and np.array_equal(np.rint(array), array)):
            raise RegistrationError(
                f"'{name}' is not a label map: it has values that are not integers.",
                hint="Give a segmentation whose voxels hold label numbers; turn a probability map into one first.",
            )
        if array.dtype.itemsize <= 4 and np.abs(array).max() >= 1 << 24:
            raise RegistrationError(
                f"'{name}' contains labels as 32-bit floats above {1 << 24}, which cannot represent all integers.",
                hint="Save the segmentation as integers again, from where it was made.",
            )
    low, high = array.min(), array.max()
    if low < LABEL_RANGE.min or high > LABEL_RANGE.max:
        raise RegistrationError(
            f"'{name}' contains the label {high if high > LABEL_RANGE.max else low}; "
            f"labels from {LABEL_RANGE.min} to {LABEL_RANGE.max} can be kept apart.",
            hint="Renumber the labels, on both sides alike.",
        )


def _checked_valid(valid: Any, grid: Grid, name: str) -> npt.NDArray[np.bool_] | None:
    if valid is None:
        return None
    checked = _checked_array(valid, grid, f"{name} (valid)").astype(bool, copy=False)
    return None if checked.all() else _frozen(checked)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def tag_entry(model: str) -> str:
    """Return the entry 'Tags' of an estimated segment, in the format of Slicer's segmentation files."""
    return f"{TAG}:{model}|"


def is_estimated(labels: LabelMap) -> bool:
    """Return whether a network made a segmentation; the mark survives .seg.nrrd files, not plain label maps."""
    return any(TAG in segment.facts.get("Tags", "") for segment in labels.segments.values())


def marked_name(name: str) -> str:
    """Return the name of a structure with the remark that its segmentation is estimated."""
    return name if name.endswith(REMARK) else name + REMARK


def is_marked(labels: LabelMap) -> bool:
    """Return whether the names of a segmentation say that it, or the other one of its pair, is estimated."""
    return any(name.endswith(REMARK) for name in labels.names.values())


def with_marked_names(*sides: LabelMap | None) -> tuple[LabelMap | None, ...]:
    """Return segmentations whose structures are marked on both sides when one side is estimated."""
    if not any(side is not None and is_estimated(side) for side in sides):
        return sides
    return tuple(None if side is None else replace(side, names=_marked(side.names)) for side in sides)


def _marked(names: Mapping[int, str]) -> dict[int, str]:
    return {value: marked_name(name) for value, name in names.items()}
