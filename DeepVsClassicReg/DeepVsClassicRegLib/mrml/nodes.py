"""Adds, names, hides and removes nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import slicer
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from .geometry import Image, flipped, image_of, place
from .segmentations import LabelStyle, default_style, fill_segmentation

if TYPE_CHECKING:
    from ..core.images.volume import LabelMap, Volume


# Characters that Windows forbids in file names; Slicer names the files of a scene after its nodes.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')
# Slicer shortens 'F: NAME (50%)' beyond 35 characters; two are reserved for the number of a repeated name.
CORNER_LENGTH = 24
GRAY = "vtkMRMLColorTableNodeGrey"


def file_safe(text: str) -> str:
    """Return a name without characters that file systems forbid and without a trailing dot or blank.

    Examples
    --------
    >>> file_safe('T1: "MPRAGE" <axial> 3/4.')
    'T1 MPRAGE axial 3 4'
    """
    return " ".join(FORBIDDEN.sub(" ", text).split()).rstrip(". ")


def shortened(text: str, length: int) -> str:
    """Return as many leading words as fit into a length; an empty text when the first one does not fit.

    Examples
    --------
    >>> shortened("Phantom head moving", 12)
    'Phantom head'
    """
    kept = ""
    for word in text.split():
        longer = f"{kept} {word}".strip()
        if len(longer) > length:
            break
        kept = longer
    return kept


def output_name(moving: str, what: str, engine: str) -> str:
    """Return the name of an output: the moving volume if there is room, the kind of output, and the engine.

    Examples
    --------
    >>> output_name("Phantom head moving", "warped", "sitk-demons")
    'warped sitk-demons'
    >>> output_name("MR 2", "warped", "elastix")
    'MR 2 warped elastix'
    """
    what, engine = file_safe(what), file_safe(engine)
    room = CORNER_LENGTH - len(f" {what} {engine}")
    return f"{shortened(file_safe(moving), room)} {what} {engine}".strip()


def in_scene(node: Any) -> bool:
    """Whether a node is in a scene that is not being closed."""
    return node.GetScene() is not None and not slicer.mrmlScene.IsClosing()


def need_in_scene(node: Any) -> None:
    """Raise `RegistrationError` when a node was removed, or its scene closed, while something was made of it."""
    if not in_scene(node):
        raise RegistrationError(
            _("'{name}' is no longer in the scene.").format(name=node.GetName()), hint=_("Nothing was added.")
        )


def save_for_undo() -> None:
    """Let Slicer's Undo take back what follows; this does nothing unless undo is on."""
    slicer.mrmlScene.SaveStateForUndo()


def hidden_node(kind: str, name: str = "", *, saved: bool) -> Any:
    """Return a hidden node that is not in the scene yet.

    The Data module lists nodes that are visible when they are added, and keeps listing them when they are hidden later.

    Parameters
    ----------
    kind : str
        Class of the node.
    name : str
        Name of the node; the scene assigns one when empty.
    saved : bool
        Whether it is saved with the scene.
    """
    node = slicer.mrmlScene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(name or None)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(saved)
    return node


def add_volume(volume: Volume, name: str = "") -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume to the scene, shown with its robust intensity range."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", _unique(name or volume.name))
    show_like(node, None, volume.array)
    place(node, volume.grid)
    node.SetAndObserveImageData(image_of(volume.array))
    return node


def add_labels(labels: LabelMap, name: str = "", *, reference: Any = None) -> slicer.vtkMRMLSegmentationNode:
    """Add a label map to the scene as a segmentation with the names and colors that it has."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _unique(name or labels.name))
    styles = {number: _style(labels, number) for number in labels.labels}
    fill_segmentation(node, label_image(labels), labels.labels, styles)
    if reference is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    return node


def label_image(labels: LabelMap) -> Image:
    """Return the voxels of a label map for a node, in 16 bits where they suffice."""
    small = labels.array.astype(np.int16) if labels.array.max() < 1 << 15 else labels.array
    return Image(image_of(small), labels.grid)


def _style(labels: LabelMap, number: int) -> LabelStyle:
    style, segment = default_style(number), labels.segments.get(number)
    color = segment.facts.get("Color", "").split() if segment is not None else []
    red, green, blue = map(float, color) if len(color) == 3 else style.color
    return LabelStyle(labels.names.get(number, style.name), (red, green, blue))


def add_points(points_mm: npt.ArrayLike, name: str) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Add LPS mm points, shape (N, 3), to the scene as a list of landmarks."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", _unique(name))
    node.CreateDefaultDisplayNodes()
    for point in flipped(np.asarray(points_mm, dtype=float)):
        node.AddControlPointWorld(*point.tolist())
    display = node.GetDisplayNode()
    if display is not None:
        display.SetPointLabelsVisibility(False)
        display.SetGlyphScale(1.5)
    return node


def show_volume(node: Any, *, window: float, level: float, color: str) -> None:
    """Give a volume node a display node with this window before it gets its voxels.

    Slicer's automatic window reads all voxels, which is slow for large volumes.
    """
    display = node.GetDisplayNode()
    if display is None:
        display = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.UnRegister(None)
        display.SetAutoWindowLevel(False)
        slicer.mrmlScene.AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())
    display.SetAutoWindowLevel(False)
    display.SetAndObserveColorNodeID(color)
    display.SetWindowLevel(window, level)


def show_channels(node: Any, model: Any) -> None:
    """Give a color or vector volume a display node, with type and window of another volume unless that is None."""
    if model is not None:
        node.SetVoxelVectorType(model.GetVoxelVectorType())
    node.CreateDefaultDisplayNodes()
    shown, display = model.GetDisplayNode() if model is not None else None, node.GetDisplayNode()
    if shown is not None and display is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())


def show_like(node: Any, model: Any, array: npt.NDArray[Any]) -> None:
    """Give a volume a display node like that of another volume, or else with the robust range of its intensities."""
    shown = model.GetDisplayNode() if model is not None else None
    if node.IsA("vtkMRMLVectorVolumeNode"):
        show_channels(node, model)
    elif shown is not None:
        show_volume(node, window=shown.GetWindow(), level=shown.GetLevel(), color=shown.GetColorNodeID() or GRAY)
    else:
        low, high = np.percentile(array[..., ::2, ::2], [0.5, 99.5])
        show_volume(node, window=float(high - low) or 1.0, level=float(low + high) / 2, color=GRAY)


def remove_node(node: Any) -> None:
    """Remove a node created by this library and its display nodes from the scene, if they still exist.

    The node is removed first: only then do Slicer's displayable managers release its display nodes.
    """
    if node is None or node.GetScene() is None:
        return
    shown = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    displays = [node.GetNthDisplayNode(index) for index in range(shown)]
    slicer.mrmlScene.RemoveNode(node)
    for display in displays:
        if display is not None and display.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(display)


def _unique(name: str) -> str:
    return slicer.mrmlScene.GenerateUniqueName(name)
