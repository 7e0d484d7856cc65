"""Stores the user's views in the scene before a comparison changes them.

Slicer sends no event before it saves, so a scene saved during a comparison contains the views of the comparison.
The user's views are therefore saved with it in a hidden node and restored when the scene is loaded.
"""

from __future__ import annotations

import json
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .nodes import hidden_node

MARK = "DeepVsClassicReg.FormerViews"
# Position of the views, as opposed to their content: it stays when the user leaves the module.
PLACES = ("SliceToRAS", "FieldOfView", "XYZOrigin", "ViewArrangement")


class Memory:
    """Stores properties of nodes before they are changed, and restores them.

    Nodes, also as values (the layers of a view), are stored as node references: they may be deleted meanwhile, and
    their ids change when a scene is imported into another one.

    Parameters
    ----------
    node : vtkMRMLScriptedModuleNode, optional
        A node found in a loaded scene; by default a new one is added when there is something to store.
    """

    def __init__(self, node: Any = None) -> None:
        self._node = node
        self._kept: set[tuple[str, str]] = set()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is stored."""
        return self._node is None

    def set(self, node: Any, name: str, value: Any) -> None:
        """Set a property (`SetName(value)`); its value before the first change is stored."""
        self.keep(node, name)
        if _read(node, name) != value:
            _write(node, name, value)

    def keep(self, node: Any, *names: str) -> None:
        """Store the current values of properties, unless they are stored already."""
        for name in names:
            if (node.GetID(), name) not in self._kept:
                self._kept.add((node.GetID(), name))
                self._remember(node, name)

    def restore(self, *, places: bool = True) -> None:
        """Restore everything that still exists and clear the store; nodes of a scene that is closing are not changed.

        Slicer prints a critical message when a segmentation is shown again without its subject hierarchy item.

        Parameters
        ----------
        places : bool
            Whether the position of the views (offset, field of view, layout) is restored as well.
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
    """Restore the user's views in a loaded scene that was saved during a comparison."""
    for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
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
