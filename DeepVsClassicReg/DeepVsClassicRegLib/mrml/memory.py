"""What the user had before a comparison changed it, kept in the scene.

Slicer sends no event before it saves, so a scene saved in the middle of a comparison holds the views of the
comparison. What the user had is therefore saved with it, in a hidden node, and put back when the scene is loaded.
"""

from __future__ import annotations

import json
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .hidden import hidden_node

MARK = "DeepVsClassicReg.FormerViews"
# Where the views are, as opposed to what they show: leaving the module does not move them.
PLACES = ("SliceToRAS", "FieldOfView", "XYZOrigin", "ViewArrangement")


class Memory:
    """Remembers properties of nodes before they are changed, and puts them back.

    Nodes, and nodes that are values (the layers of a view), are remembered as node references: they may be deleted
    meanwhile, and get other ids when a scene is imported into another one.

    Parameters
    ----------
    node : vtkMRMLScriptedModuleNode, optional
        A memory found in a scene that was loaded; a new one is added when there is something to remember.
    """

    def __init__(self, node: Any = None) -> None:
        self._node = node
        self._kept: set[tuple[str, str]] = set()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return self._node is None

    def set(self, node: Any, name: str, value: Any) -> None:
        """Set a property (`SetName(value)`), remembering what it was the first time."""
        self.keep(node, name)
        if _read(node, name) != value:
            _write(node, name, value)

    def keep(self, node: Any, *names: str) -> None:
        """Remember properties as they are, unless they are remembered already."""
        for name in names:
            if (node.GetID(), name) not in self._kept:
                self._kept.add((node.GetID(), name))
                self._remember(node, name)

    def restore(self, *, places: bool = True) -> None:
        """Put everything back that still exists, and forget it; what goes with a scene that is closed is left alone.

        Slicer prints a critical message about a segmentation that is shown again when its item in the subject
        hierarchy is gone.

        Parameters
        ----------
        places : bool
            Whether the views also go back to where they were (offset, field of view, layout).
        """
        node, self._node = self._node, None
        self._kept.clear()
        if node is None or node.GetScene() is None:
            return
        for index in range(int(node.GetParameter("count") or 0)):
            owner = node.GetNodeReference(f"owner{index}")
            name, value = json.loads(node.GetParameter(str(index)))
            if owner is None or (name in PLACES and not places):
                continue
            if owner.IsA("vtkMRMLDisplayNode") and slicer.mrmlScene.IsClosing():
                continue
            if name.endswith("VolumeID"):
                layer = node.GetNodeReference(f"value{index}")
                value = layer.GetID() if layer is not None else None
            _write(owner, name, value)
        slicer.mrmlScene.RemoveNode(node)

    def _remember(self, owner: Any, name: str) -> None:
        if self._node is None or self._node.GetScene() is None:
            self._node = _new_node()
        index, value = int(self._node.GetParameter("count") or 0), _read(owner, name)
        change = self._node.StartModify()
        self._node.SetNodeReferenceID(f"owner{index}", owner.GetID())
        if name.endswith("VolumeID"):
            self._node.SetNodeReferenceID(f"value{index}", value)
            value = None
        self._node.SetParameter(str(index), json.dumps([name, value]))
        self._node.SetParameter("count", str(index + 1))
        self._node.EndModify(change)


def restore_loaded() -> None:
    """Put the views back as the user had them when a scene was loaded that was saved in the middle of a comparison."""
    scene = slicer.mrmlScene
    count = scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLScriptedModuleNode") for index in range(count)]
    for node in nodes:
        if node.GetAttribute(MARK):
            Memory(node).restore()


def _new_node() -> Any:
    node = hidden_node("vtkMRMLScriptedModuleNode", _("Views before the comparison"), saved=True)
    node.SetAttribute(MARK, "1")
    return slicer.mrmlScene.AddNode(node)


def _read(node: Any, name: str) -> Any:
    value = getattr(node, f"Get{name}")()
    if isinstance(value, vtk.vtkMatrix4x4):
        return [value.GetElement(row, column) for row in range(4) for column in range(4)]
    return list(value) if isinstance(value, tuple) else value


def _write(node: Any, name: str, value: Any) -> None:
    if name == "SliceToRAS":
        node.GetSliceToRAS().DeepCopy(value)
        node.UpdateMatrices()
    elif isinstance(value, list):
        getattr(node, f"Set{name}")(*value)
    else:
        getattr(node, f"Set{name}")(value)
