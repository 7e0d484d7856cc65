"""Access to slice views and the layout through their MRML nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer


def slice_nodes(names: Sequence[str] = ()) -> list[Any]:
    """Return the nodes of the slice views with these layout names, or of all when no name is given."""
    return [node for node in _by_class("vtkMRMLSliceNode") if not names or node.GetLayoutName() in names]


def composite_nodes(names: Sequence[str] = ()) -> list[Any]:
    """Return the nodes that hold the layers of the slice views."""
    return [node for node in _by_class("vtkMRMLSliceCompositeNode") if not names or node.GetLayoutName() in names]


def layout_node() -> Any:
    """Return the layout node; None when there is no main window."""
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


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
