"""Hidden volumes that exist only while a run is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..core.images.grid import Grid
from .frames import place
from .hidden import hidden_node
from .volumes import remove_node, show_volume


class Layers:
    """Creates hidden volume and color nodes by key, reuses them and finally removes them."""

    def __init__(self) -> None:
        self._nodes: dict[str, Any] = {}
        self._colors: dict[str, Any] = {}

    def volume(self, key: str, *, kind: str = "vtkMRMLScalarVolumeNode") -> Any:
        """Return the hidden volume node of a key, created when missing."""
        node = self._nodes.get(key)
        if node is None or node.GetScene() is None:
            node = hidden_node(kind, _("Comparison {what}").format(what=key), saved=False)
            node = self._nodes[key] = slicer.mrmlScene.AddNode(node)
        return node

    def color(self, key: str, make: Callable[[str], Any]) -> str:
        """Return the id of the color table of a key, created by `make(name)` when missing."""
        node = self._colors.get(key)
        if node is None or node.GetScene() is None:
            node = self._colors[key] = make(_("Comparison {what} colors").format(what=key))
        return node.GetID()

    def fill(self, key: str, voxels: vtk.vtkImageData, grid: Grid, *, low: float, high: float, color: str) -> Any:
        """Return the volume of a key with these voxels, shown from `low` to `high`."""
        node = self.volume(key)
        self._show(node, high - low, (low + high) / 2, color)
        place(node, grid)
        node.SetAndObserveImageData(voxels)
        return node

    def tinted(self, key: str, source: Any, color: str) -> Any:
        """Return a volume that shares the voxels of another one and shows them with another color table."""
        node = self.volume(key)
        shown = source.GetDisplayNode()
        window, level = (shown.GetWindow(), shown.GetLevel()) if shown is not None else (1.0, 0.5)
        self._show(node, window, level, color)
        matrix = vtk.vtkMatrix4x4()
        source.GetIJKToRASMatrix(matrix)
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
        if node.GetImageData() is not source.GetImageData():
            node.SetAndObserveImageData(source.GetImageData())
        return node

    def labels(self, key: str, voxels: vtk.vtkImageData, grid: Grid, color: str) -> Any:
        """Return a label map volume of a key with these voxels."""
        node = self.volume(key, kind="vtkMRMLLabelMapVolumeNode")
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().SetAndObserveColorNodeID(color)
        place(node, grid)
        node.SetAndObserveImageData(voxels)
        return node

    def existing(self) -> list[Any]:
        """Return the hidden volumes that are in the scene."""
        return [node for node in self._nodes.values() if node.GetScene() is not None]

    def remove(self) -> None:
        """Remove all nodes created here."""
        for node in (*self._nodes.values(), *self._colors.values()):
            remove_node(node)
        self._nodes.clear()
        self._colors.clear()

    def _show(self, node: Any, window: float, level: float, color: str) -> None:
        show_volume(node, window=window, level=level, color=color)
        node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().SetInterpolate(True)
