"""Watches for what works in this process and ends the real application later."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vtk

from slicer_standin import errors
from slicer_standin.hierarchy import observe_with

FORBIDDEN = re.compile(r'[<>:"|?*\\]')  # in file names on Windows


def watch_display_nodes(scene: Any) -> None:
    """Record display nodes that come to or go from a node that stays in the scene.

    Slicer's displayable managers keep pointers to the display nodes of a segmentation and use them after they were
    removed. So a node that the user sees keeps the display nodes it has; a module that wants to show something
    differently makes a hidden node of its own and removes it as a whole, the node before its display nodes.
    """
    observe_with(vtk.VTK_OBJECT, scene, scene.NodeAddedEvent, _on_added)
    observe_with(vtk.VTK_OBJECT, scene, scene.NodeAboutToBeRemovedEvent, _on_removed)


def _on_added(scene: Any, _event: str, node: Any) -> None:
    if node is not None and node.IsA("vtkMRMLDisplayableNode"):
        node.AddObserver(node.ReferenceAddedEvent, _on_reference_added)


def _on_reference_added(node: Any, _event: str) -> None:
    scene = node.GetScene()
    if scene is None or scene.IsImporting() or node.GetHideFromEditors():
        return
    kinds = [display.GetClassName() for display in _displays(node)]
    if kinds and kinds[-1] in kinds[:-1]:
        errors.record(
            f"a second {kinds[-1]} was added to '{node.GetName()}', which the user sees; make a hidden node instead"
        )


def _on_removed(scene: Any, _event: str, display: Any) -> None:
    if scene.IsClosing() or display is None or not display.IsA("vtkMRMLDisplayNode"):
        return
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLDisplayableNode")
        is_watched = not node.GetHideFromEditors() or node.IsA("vtkMRMLSegmentationNode")
        if is_watched and any(shown is display for shown in _displays(node)):
            errors.record(
                f"{display.GetID()} was removed while '{node.GetName()}' stays in the scene; Slicer's displayable "
                "managers go on using it. Remove the node first, or hide the display node"
            )


def _displays(node: Any) -> Iterator[Any]:
    displays = (node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes()))
    return (display for display in displays if display is not None)


def check_bundle(path: str | Path) -> None:
    """Record file names in a scene bundle that Windows cannot unpack."""
    with zipfile.ZipFile(path) as bundle:
        bad = sorted(name for name in bundle.namelist() if FORBIDDEN.search(name))
    if bad:
        errors.record(f"{Path(path).name} holds file names that are forbidden on Windows: {', '.join(bad)}")
