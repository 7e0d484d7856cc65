"""The slice views as the view modes use them: layers, hidden nodes, options and computed arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer

from . import colors
from .layers import Layers
from .memory import Memory
from .overlays import release_segments
from .prepared import Cache
from .runs import Run
from .slice_views import composite_nodes
from .volumes import remove_node


@dataclass
class DisplayOptions:
    """Options of the view modes.

    Attributes
    ----------
    opacity : float
        Opacity of the upper layer, 0 to 1.
    tile_mm : float
        Edge length of the checkerboard squares.
    spacing_mm : float
        Distance between grid lines or arrows.
    before : bool
        Whether the moving volume is shown before registration.
    """

    opacity: float = 0.5
    tile_mm: float = 20.0
    spacing_mm: float = 12.0
    before: bool = False


class SliceDisplay:
    """Layers, overlays and options of the slice views.

    Parameters
    ----------
    view_names : sequence of str
        Layout names of the slice views to use; all slice views when empty.
    """

    def __init__(self, view_names: Sequence[str] = ()) -> None:
        self.view_names = tuple(view_names)
        self.options = DisplayOptions()
        self.memory = Memory()
        self.layers = Layers()
        self.cache = Cache()
        self.extra: list[Any] = []  # nodes to remove when something else is shown
        self.view = ""  # name of what is shown

    @property
    def upper(self) -> str:
        """Role of the volume that is compared with the fixed one."""
        return "moving" if self.options.before else "warped"

    def upper_node(self, run: Run) -> Any:
        """Return the node of the volume that is compared with the fixed one."""
        return run.node(self.upper)

    def source(self, run: Run, key: str) -> Any:
        """Return one of `prepared.SOURCES`."""
        return self.cache.source(run, key)

    def prepared(self, run: Run) -> Any:
        """Return the value computed by the view's `prepare`."""
        return self.cache.value(run, self.view, self.upper)

    def set_layers(
        self, background: Any, foreground: Any = None, *, opacity: float = 1.0, add: bool = False, label: Any = None
    ) -> None:
        """Show volumes as the layers of all slice views."""
        compositing = slicer.vtkMRMLSliceCompositeNode.Add if add else slicer.vtkMRMLSliceCompositeNode.Alpha
        for composite in composite_nodes(self.view_names):
            change = composite.StartModify()
            for layer, node in (("Background", background), ("Foreground", foreground), ("Label", label)):
                self.memory.set(composite, f"{layer}VolumeID", node.GetID() if node is not None else None)
            self.memory.set(composite, "Compositing", compositing)
            self.memory.set(composite, "ForegroundOpacity", opacity)
            composite.EndModify(change)

    def clear(self) -> None:
        """Remove overlays and legends and hide all segmentations, which would cover the views."""
        self.remove_extra()
        scene = slicer.mrmlScene
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
            display = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode").GetDisplayNode()
            if display is not None and display.GetVisibility():
                self.memory.set(display, "Visibility", 0)

    def remove_extra(self) -> None:
        """Remove overlays and hide legends."""
        for node in self.extra:
            remove_node(node)
            if node.IsA("vtkMRMLSegmentationNode"):
                release_segments(node)
        self.extra.clear()
        for node in self.layers.existing():
            colors.hide_legend(node)
