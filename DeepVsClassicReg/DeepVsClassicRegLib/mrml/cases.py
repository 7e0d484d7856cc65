"""Volumes of the scene as training cases: their segmentations, copies, and the data set that the worker reads."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import slicer
from slicer.i18n import tr as _

from ..core.errors import FileError, RegistrationError
from ..core.files import NO_SPACE, write_json
from ..core.images.grid import Grid
from .channels import channel_count
from .geometry import array_of, grid_of
from .segmentations import Entry, Layer, entries, layers
from .snapshot import copied, merged, write_array

DATASET = "dataset.json"
# Of fewer cases none is left for training once two are held back for the validation.
FEWEST_CASES = 4
ENDING = re.compile(r"[\s_-]*(seg|segmentation|label|labels|mask)$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class SceneCase:
    """A training case of the scene.

    Attributes
    ----------
    volume : vtkMRMLScalarVolumeNode
        The image.
    labels : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode or None
        Its segmentation.
    """

    volume: Any
    labels: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class CasesSnapshot:
    """Copies of training cases without nodes, so any thread may write them.

    Attributes
    ----------
    folder : Path or None
        Where `write` puts the data set; None when there is nothing to write.
    volumes : list of (array, Grid)
        The images.
    drawings : list of (list of Layer)
        The segmentation of each image; an empty list without one.
    names : list of str
        Name of each case, also of its files.
    label_names : mapping of str to str
        Label number -> name of the structure.
    """

    folder: Path | None = None
    volumes: list[tuple[npt.NDArray[Any], Grid]] = field(default_factory=list)
    drawings: list[list[Layer]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    label_names: Mapping[str, str] = field(default_factory=dict)

    def write(self, _job_folder: Path) -> dict[str, str]:
        """Write the data set; return no inputs for the job, because its options name the data set.

        Raises
        ------
        FileError
            When a file cannot be written.
        """
        if self.folder is None:
            return {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                _("Could not create {path}: {reason}.").format(path=self.folder, reason=error.strerror or error),
                hint=NO_SPACE,
            ) from error
        listed = []
        for name, (array, grid), parts in zip(self.names, self.volumes, self.drawings, strict=True):
            write_array(array, grid, self.folder / f"{name}.nrrd")
            entry = {"image": f"{name}.nrrd"}
            if parts:
                entry["label"] = f"{name}_seg.nrrd"
                write_array(merged(parts, grid, mask=False), grid, self.folder / entry["label"])
            listed.append(entry)
        content = {"name": _("Cases of a Slicer scene"), "labels": dict(self.label_names), "training": listed}
        write_json(self.folder / DATASET, content)
        return {}


def scene_drawings() -> list[Any]:
    """Return the segmentations and label maps of the scene."""
    kinds = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")
    return [node for kind in kinds for node in slicer.util.getNodesByClass(kind)]


def scene_cases() -> list[SceneCase]:
    """Return the volumes of the scene with the segmentations that belong to them.

    A segmentation belongs to the volume from which it was made, or to that of the same name (`Case 1` and
    `Case 1 seg`, `Case 1_label`).
    """
    drawings, found = scene_drawings(), []
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if volume.IsA("vtkMRMLLabelMapVolumeNode") or volume.GetImageData() is None or volume.GetHideFromEditors():
            continue
        if channel_count(volume) > 1:
            continue
        found.append(SceneCase(volume, next((node for node in drawings if _belongs(node, volume)), None)))
    return found


def problem_of_cases(cases: Sequence[SceneCase], *, with_labels: bool) -> tuple[str, str]:
    """Return what prevents a training with these cases, and what to do about it; empty texts when nothing does."""
    if len(cases) < FEWEST_CASES:
        return (
            _("{count} cases are chosen; a training needs at least {fewest}, two of them for the validation.").format(
                count=len(cases), fewest=FEWEST_CASES
            ),
            _("Load more cases, or choose a folder."),
        )
    missing = [case.volume.GetName() for case in cases if case.labels is None]
    if with_labels and missing:
        return (
            _("{count} of {all} cases have no segmentation: {name} ...").format(
                count=len(missing), all=len(cases), name=missing[0]
            ),
            _("Choose their segmentations, leave these cases out, or learn from images only."),
        )
    return "", ""


def case_steps(cases: Sequence[SceneCase], folder: Path, *, with_labels: bool) -> Generator[str, None, CasesSnapshot]:
    """Copy the cases in small steps; run in the main thread, one `next()` per timer tick.

    Structures with the same name have the same number in all cases.

    Parameters
    ----------
    cases : sequence of SceneCase
        The cases.
    folder : Path
        Where the data set will be written.
    with_labels : bool
        Whether the segmentations are needed.

    Yields
    ------
    str
        Name of the case being copied.

    Returns
    -------
    CasesSnapshot
        The value of `StopIteration` after the last step.

    Raises
    ------
    RegistrationError
        When there are too few cases, or a case cannot be used.
    """
    message, hint = problem_of_cases(cases, with_labels=with_labels)
    if message:
        raise RegistrationError(message, hint=hint)
    listed = [entries(case.labels) if with_labels else [] for case in cases]
    numbers = _common_numbers(listed)
    volumes, drawings, names = [], [], []
    for number, (case, drawn) in enumerate(zip(cases, listed, strict=True), start=1):
        volumes.append(((yield from copied(array_of(case.volume), case.volume.GetName())), grid_of(case.volume)))
        own = {entry: numbers[_key(entry)] for entry in drawn}
        parts = [] if not drawn else _numbered(case.labels, own)
        copies = []
        for part in parts:
            array = yield from copied(part.array, case.volume.GetName())
            copies.append(Layer(array, part.grid, part.numbers))
        drawings.append(copies)
        names.append(f"case{number:03d}")
    return CasesSnapshot(
        folder=folder,
        volumes=volumes,
        drawings=drawings,
        names=names,
        label_names={str(number): name for name, number in _names(listed, numbers).items()},
    )


def nothing_to_copy() -> Generator[str, None, CasesSnapshot]:
    """Return, without a step, the copy for a job that reads its data from the disk."""
    return CasesSnapshot()
    yield  # makes it a generator


def _belongs(drawing: Any, volume: Any) -> bool:
    if drawing.IsA("vtkMRMLSegmentationNode"):
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        reference = drawing.GetNodeReference(role)
        if reference is not None:
            return bool(reference.GetID() == volume.GetID())
    return ENDING.sub("", drawing.GetName()).casefold() == volume.GetName().casefold()


def _key(entry: Entry) -> str | int:
    """Return what is the same for a structure in all cases: its name, or its value where it has no own name."""
    return entry.style.name.casefold() if entry.segment_id or not entry.from_palette else entry.value


def _common_numbers(listed: Sequence[Sequence[Entry]]) -> dict[str | int, int]:
    """Return key -> number: the values of label maps, otherwise 1, 2, ... in the order of the first case."""
    every = [entry for drawn in listed for entry in drawn]
    values: dict[str | int, int] = {}
    for entry in every:
        values.setdefault(_key(entry), entry.value)
    own = all(not entry.segment_id and values[_key(entry)] == entry.value for entry in every)
    if own and len(set(values.values())) == len(values):
        return values
    return {key: place for place, key in enumerate(values, start=1)}


def _names(listed: Sequence[Sequence[Entry]], numbers: Mapping[str | int, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for drawn in listed:
        for entry in drawn:
            if numbers[_key(entry)] not in found.values():
                found[entry.style.name] = numbers[_key(entry)]
    return found


def _numbered(node: Any, numbers: Mapping[Entry, int]) -> list[Layer]:
    """Return the voxels of a segmentation with the common numbers."""
    if node.IsA("vtkMRMLSegmentationNode"):
        return layers(node, numbers)
    values = {entry.value: number for entry, number in numbers.items()}
    return [Layer(layer.array, layer.grid, values) for layer in layers(node, None)]
