"""Sequences of volumes: copied for the worker, and the corrected motion published for Slicer's sequence browser."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from ..core.files import read_json
from ..core.images.grid import Grid
from ..core.images.series import open_series
from ..core.motion.settings import CORRECTED, FACTS, TRANSFORMS
from ..core.transforms.files import read_transform
from .geometry import array_of, grid_of, image_of, place
from .nodes import file_safe, need_in_scene, show_like
from .snapshot import copied, write_array
from .tables import fill_table
from .transforms import attach, vtk_of

FEWEST = 2


@dataclass(frozen=True, eq=False)
class SeriesSnapshot:
    """A copy of the frames of a sequence, so any thread may write it.

    Attributes
    ----------
    frames : list of (array, Grid)
        The frames.
    label_names : mapping
        Empty: frames have no labels.
    """

    frames: list[tuple[npt.NDArray[Any], Grid]]
    label_names: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: str | os.PathLike[str]) -> dict[str, str]:
        """Write the frames to a folder and return their file names by number; thread-safe."""
        names = {str(number): f"input_{number:04d}.nrrd" for number in range(len(self.frames))}
        for (array, grid), name in zip(self.frames, names.values(), strict=True):
            write_array(array, grid, Path(folder) / name)
        return names


@dataclass(frozen=True, eq=False)
class CorrectedFrames:
    """What the worker has made of a sequence.

    Attributes
    ----------
    mappings : mapping of int to vtkAbstractTransform
        Map from the reference to each finished frame.
    volumes : tuple of (Z, Y, X) arrays
        The frames on the reference; empty when the run was canceled.
    grid : Grid or None
        Grid of the reference.
    facts : sequence of mapping
        The measures of each frame.
    """

    mappings: Mapping[int, Any]
    volumes: tuple[npt.NDArray[np.float32], ...] = ()
    grid: Grid | None = None
    facts: tuple[Mapping[str, Any], ...] = ()


def sequences() -> list[Any]:
    """Return the sequences of scalar volumes of the scene with two or more frames."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode") if not problem_of_sequence(node)]


def problem_of_sequence(sequence: Any) -> str:
    """Return why a sequence cannot be corrected; empty when it can."""
    count = sequence.GetNumberOfDataNodes()
    if count < FEWEST:
        return str(_("The sequence has {count} frames, at least 2 are needed.").format(count=count))
    for index in range(count):
        node = sequence.GetNthDataNode(index)
        if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLVectorVolumeNode"):
            return str(_("Frame {number} is not a scalar volume.").format(number=index))
        if node.GetImageData() is None:
            return str(_("Frame {number} contains no image.").format(number=index))
    return ""


def sequence_of(node: Any) -> Any:
    """Return the sequence of a node: itself, or that of which a browser shows a frame in it (a proxy node); or None."""
    if node is None or node.IsA("vtkMRMLSequenceNode"):
        return node
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)
    return None if browser is None else browser.GetSequenceNode(node)


def can_be_corrected(node: Any) -> bool:
    """Whether a node is a sequence of volumes, or shows a frame of one, whose motion can be corrected."""
    sequence = sequence_of(node)
    return sequence is not None and problem_of_sequence(sequence) == ""


def series_steps(sequence: Any) -> Generator[str, None, SeriesSnapshot]:
    """Copy the frames in small steps, as `snapshot_steps`.

    Raises
    ------
    RegistrationError
        When the sequence cannot be corrected.
    """
    problem = problem_of_sequence(sequence)
    if problem:
        raise RegistrationError(problem, hint=_("Select a sequence of scalar volumes."))
    frames = []
    for index in range(sequence.GetNumberOfDataNodes()):
        node = sequence.GetNthDataNode(index)
        grid = grid_of(node)
        frames.append(((yield from copied(array_of(node), str(index))), grid))
    return SeriesSnapshot(frames)


def load_corrected(out: Path) -> CorrectedFrames:
    """Read what the worker wrote; of a canceled run the transforms of the finished frames. Thread-safe."""
    found = {
        int(path.stem.removeprefix("frame_")): vtk_of(read_transform(path))
        for path in sorted((out / TRANSFORMS).glob("frame_*.h5"))
    }
    if not (out / FACTS).is_file():
        return CorrectedFrames(found)
    frames = list(open_series([out / CORRECTED]).frames())
    volumes = tuple(np.asarray(frame.array, dtype=np.float32) for frame in frames)
    return CorrectedFrames(found, volumes, frames[0].grid, tuple(read_json(out / FACTS)["frames"]))


def publish_motion(found: CorrectedFrames, sequence: Any) -> dict[str, Any]:
    """Add the results to the scene and to the browser of the sequence, which plays them together.

    Returns
    -------
    dict
        'transforms' and 'volumes' (sequences; no volumes of a canceled run), 'browser', and 'table'.

    Raises
    ------
    RegistrationError
        When the sequence is no longer in the scene.
    """
    need_in_scene(sequence)
    name = sequence.GetName()
    nodes: dict[str, Any] = {"transforms": _new_sequence(sequence, _("{name} motion").format(name=name))}
    for number, mapping in sorted(found.mappings.items()):
        transform = slicer.vtkMRMLTransformNode()
        transform.SetName(nodes["transforms"].GetName())
        attach(transform, mapping)
        nodes["transforms"].SetDataNodeAtValue(transform, sequence.GetNthIndexValue(number))
    if found.grid is not None:
        nodes["volumes"] = _new_sequence(sequence, _("{name} motion-compensated").format(name=name))
        for number, array in enumerate(found.volumes):
            volume = slicer.vtkMRMLScalarVolumeNode()
            volume.SetName(nodes["volumes"].GetName())
            place(volume, found.grid)
            volume.SetAndObserveImageData(image_of(array))
            nodes["volumes"].SetDataNodeAtValue(volume, sequence.GetNthIndexValue(number))
        nodes["table"] = _table(found, file_safe(_("{name} motion table").format(name=name)))
    browser = nodes["browser"] = _browse(sequence, [nodes[key] for key in ("transforms", "volumes") if key in nodes])
    if found.grid is not None:
        show_like(browser.GetProxyNode(nodes["volumes"]), browser.GetProxyNode(sequence), found.volumes[0])
    return nodes


def _new_sequence(like: Any, name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.SetIndexName(like.GetIndexName())
    node.SetIndexUnit(like.GetIndexUnit())
    node.SetIndexType(like.GetIndexType())
    return node


def _browse(sequence: Any, results: list[Any]) -> Any:
    """Return the browser of the sequence, or a new one, with the results synchronized to it."""
    logic = slicer.modules.sequences.logic()
    browser = logic.GetFirstBrowserNodeForSequenceNode(sequence)
    if browser is None:
        name = _("{name} browser").format(name=sequence.GetName())
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name)
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    for result in results:
        browser.AddSynchronizedSequenceNode(result)
        browser.SetSaveChanges(result, False)
    logic.UpdateProxyNodesFromSequences(browser)
    return browser


def _table(found: CorrectedFrames, name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    columns = {
        _("Frame"): "number",
        _("Mean motion, mm"): "mean_mm",
        _("95th percentile, mm"): "p95_mm",
        _("Largest, mm"): "largest_mm",
        _("Correlation before"): "correlation_before",
        _("Correlation after"): "correlation_after",
    }
    fill_table(node, {title: [_text(frame[key]) for frame in found.facts] for title, key in columns.items()})
    return node


def _text(value: Any) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
