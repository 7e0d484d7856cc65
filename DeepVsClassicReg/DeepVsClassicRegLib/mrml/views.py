"""Slice views reached through their MRML nodes, and a memory of what was changed on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer


class Memory:
    """Remembers properties of nodes before they are changed, and puts them back.

    Nodes are remembered by id, because they may be deleted meanwhile.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Any] = {}

    def set(self, node: Any, name: str, value: Any) -> None:
        """Set a property (`SetName(value)`), remembering what it was the first time."""
        key = node.GetID(), name
        former = getattr(node, f"Get{name}")()
        if key not in self._kept:
            self._kept[key] = former
        if former != value:
            getattr(node, f"Set{name}")(value)

    @property
    def had_background(self) -> bool:
        """Whether a view that was changed showed a volume before."""
        return any(name == "BackgroundVolumeID" and value for (_, name), value in self._kept.items())

    def restore(self) -> None:
        """Put everything back that still exists; what goes with a scene that is closed is left alone.

        Slicer prints a critical message about a segmentation that is shown again when its item in the subject
        hierarchy is gone.
        """
        for (node_id, name), value in self._kept.items():
            node = slicer.mrmlScene.GetNodeByID(node_id)
            if node is not None and node.IsA("vtkMRMLDisplayNode") and slicer.mrmlScene.IsClosing():
                continue
            gone = name.endswith("VolumeID") and value and slicer.mrmlScene.GetNodeByID(value) is None
            if node is not None:
                getattr(node, f"Set{name}")(None if gone else value)
        self._kept.clear()


def slice_nodes(names: Sequence[str] = ()) -> list[Any]:
    """Return the nodes of the slice views with these layout names, of all when there is no name."""
    return [node for node in _by_class("vtkMRMLSliceNode") if not names or node.GetLayoutName() in names]


def composite_nodes(names: Sequence[str] = ()) -> list[Any]:
    """Return the nodes that hold the layers of the slice views."""
    return [node for node in _by_class("vtkMRMLSliceCompositeNode") if not names or node.GetLayoutName() in names]


def fit(names: Sequence[str] = ()) -> None:
    """Zoom the slice views so that their background volume fills them."""
    logics = slicer.app.applicationLogic().GetSliceLogics()
    wanted = {node.GetID() for node in slice_nodes(names)}
    for index in range(logics.GetNumberOfItems()):
        logic = logics.GetItemAsObject(index)
        node = logic.GetSliceNode()
        if node is not None and node.GetID() in wanted:
            logic.FitSliceToBackground()


def _by_class(name: str) -> list[Any]:
    scene = slicer.mrmlScene
    return [scene.GetNthNodeByClass(index, name) for index in range(scene.GetNumberOfNodesByClass(name))]
