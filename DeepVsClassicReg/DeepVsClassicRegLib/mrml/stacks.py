"""Serial sections: the slices of a volume copied for the worker, and the aligned volume published."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from ..core.files import read_json
from ..core.images.channels import MARK, Channels
from ..core.images.grid import Grid
from ..core.images.io import read_channels, read_volume
from ..core.images.volume import Volume
from ..core.job import OUTPUT_FOLDER, RESULT_FILE, SECTIONS
from ..core.transforms.files import read_transform
from .channels import needs_channel
from .geometry import array_of, grid_of, image_of, place
from .nodes import file_safe, need_in_scene, show_like
from .snapshot import copied, write_array
from .tables import fill_table
from .transforms import attach, vtk_of

FEWEST = 2
FILE = "sections.nrrd"


@dataclass(frozen=True, eq=False)
class StackSnapshot:
    """A copy of the sections, so any thread may write it.

    Attributes
    ----------
    array : (Z, Y, X) or (Z, Y, X, C) array
        The voxels.
    grid : Grid
        Their geometry.
    channel : str
        Number of the channel that is registered; empty for gray values and the luminance.
    label_names : mapping
        Empty: sections have no labels.
    """

    array: npt.NDArray[Any]
    grid: Grid
    channel: str = ""
    label_names: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: str | os.PathLike[str]) -> dict[str, str]:
        """Write the sections to a folder and return their file name; thread-safe."""
        write_array(self.array, self.grid, Path(folder) / FILE)
        return {SECTIONS: f"{FILE}#{MARK}{self.channel}" if self.channel else FILE}


@dataclass(frozen=True, eq=False)
class LoadedStack:
    """What the worker has made of the sections.

    Attributes
    ----------
    content : Volume or Channels
        The aligned sections.
    mapping : vtkAbstractTransform
        Map from aligned to original points.
    report : mapping
        The measures, see `core.stacks.report.stack_report`.
    """

    content: Volume | Channels
    mapping: vtk.vtkAbstractTransform
    report: Mapping[str, Any]


def problem_of_stack(volume: Any, axis: str, channel: str = "") -> str:
    """Return why the slices of a volume along 'i', 'j' or 'k' cannot be aligned; empty when they can."""
    if volume is None:
        return str(_("Select a volume whose slices are the sections."))
    image = volume.GetImageData()
    if image is None:
        return str(_("'{name}' contains no image.").format(name=volume.GetName()))
    size = list(image.GetDimensions())
    count = size.pop("ijk".index(axis))
    if count < FEWEST or min(size) < FEWEST:
        return str(
            _("There are {count} sections of {x} x {y} pixels; at least 2 of 2 x 2 are needed.").format(
                count=count, x=size[0], y=size[1]
            )
        )
    return str(_("Choose the channel to register.")) if needs_channel(volume, channel) else ""


def stack_steps(volume: Any, axis: str, channel: str = "") -> Generator[str, None, StackSnapshot]:
    """Copy the sections in small steps, as `snapshot_steps`.

    Raises
    ------
    RegistrationError
        When they cannot be aligned.
    """
    problem = problem_of_stack(volume, axis, channel)
    if problem:
        raise RegistrationError(problem, hint=_("Select another volume or axis."))
    grid = grid_of(volume)
    return StackSnapshot((yield from copied(array_of(volume), SECTIONS)), grid, channel)


def load_stack(folder: Path) -> LoadedStack:
    """Read the job folder of a successful worker; thread-safe.

    Raises
    ------
    FileError
        When a file is missing or invalid.
    """
    files = read_json(folder / RESULT_FILE)["files"]
    aligned, transform, report = (folder / OUTPUT_FOLDER / files[key] for key in ("aligned", "transform", "report"))
    content = read_channels(aligned) or read_volume(aligned)
    return LoadedStack(content, vtk_of(read_transform(transform)), read_json(report))


def publish_stack(found: LoadedStack, volume: Any) -> dict[str, Any]:
    """Add the results to the scene.

    Parameters
    ----------
    found : LoadedStack
        The results.
    volume : vtkMRMLScalarVolumeNode or vtkMRMLVectorVolumeNode
        The sections.

    Returns
    -------
    dict
        'volume'; 'transform', which aligns what is drawn on the given sections; and 'table'.

    Raises
    ------
    RegistrationError
        When the sections are no longer in the scene.
    """
    need_in_scene(volume)
    scene = slicer.mrmlScene
    name = volume.GetName()
    aligned = scene.AddNewNodeByClass(volume.GetClassName(), _named(_("{name} aligned"), name))
    show_like(aligned, volume, found.content.array)
    place(aligned, found.content.grid)
    aligned.SetAndObserveImageData(image_of(found.content.array))
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", _named(_("{name} alignment"), name))
    attach(transform, found.mapping)
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", _named(_("{name} sections"), name))
    fill_table(table, _columns(found.report))
    return {"volume": aligned, "transform": transform, "table": table}


def _named(text: str, name: str) -> str:
    return str(slicer.mrmlScene.GenerateUniqueName(file_safe(text.format(name=name))))


def _columns(report: Mapping[str, Any]) -> dict[str, list[str]]:
    sections, poor = report["per_section"], set(report["poor_sections"])
    return {
        _("Section"): [str(number) for number in range(len(sections))],
        _("Mean motion, pixels"): [f"{entry['mean_motion_px']:.2f}" for entry in sections],
        _("Correlation with the next, before"): [_number(entry["similarity_to_next_before"]) for entry in sections],
        _("Correlation with the next, after"): [_number(entry["similarity_to_next_after"]) for entry in sections],
        _("Note"): [_("Does not match its neighbors") if n in poor else "" for n in range(len(sections))],
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
