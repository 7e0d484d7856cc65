"""The slice views as the view modes use them: layers, hidden nodes, options and computed arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..core.images.grid import Grid
from . import colors
from .geometry import place
from .memory import Memory
from .nodes import hidden_node, remove_node, show_volume
from .overlays import release_segments
from .prepared import Cache
from .runs import Run


def slice_nodes(names: Sequence[str] = ()) -> list[Any]:
    """Return the nodes of the slice views with these layout names, or of all when no name is given."""
    return _named("vtkMRMLSliceNode", names)


def composite_nodes(names: Sequence[str] = ()) -> list[Any]:
    """Return the nodes that hold the layers of the slice views."""
    return _named("vtkMRMLSliceCompositeNode", names)


def _named(kind: str, names: Sequence[str]) -> list[Any]:
    return [node for node in slicer.util.getNodesByClass(kind) if not names or node.GetLayoutName() in names]


def layout_node() -> Any:
    """Return the layout node; None when there is no main window."""
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def fit(names: Sequence[str] = (), *, keep_slice: bool = False) -> None:
    """Zoom the slice views so that their background volume fills them; they may keep their slice."""
    logics = slicer.app.applicationLogic().GetSliceLogics()
    wanted = {node.GetID(): node for node in slice_nodes(names)}
    centers = {identity: _center(node) for identity, node in wanted.items()}
    for index in range(logics.GetNumberOfItems()):
        logic = logics.GetItemAsObject(index)
        node = logic.GetSliceNode()
        if node is not None and node.GetID() in wanted:
            logic.FitSliceToBackground()  # moves linked views too
    for identity, node in wanted.items() if keep_slice else ():
        node.JumpSliceByOffsetting(*centers[identity])


def _center(node: Any) -> tuple[float, ...]:
    """Return the center of a slice view, RAS mm."""
    return tuple(node.GetSliceToRAS().GetElement(axis, 3) for axis in range(3))


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
        self._layouts: tuple[int, int] | None = None  # that of a view mode, and the user's before

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
        self,
        background: Any,
        foreground: Any = None,
        *,
        opacity: float = 1.0,
        add: bool = False,
        label: Any = None,
        names: Sequence[str] = (),
    ) -> None:
        """Show volumes as the layers of all slice views, or of those with these names."""
        compositing = slicer.vtkMRMLSliceCompositeNode.Add if add else slicer.vtkMRMLSliceCompositeNode.Alpha
        for composite in composite_nodes(names or self.view_names):
            change = composite.StartModify()
            for layer, node in (("Background", background), ("Foreground", foreground), ("Label", label)):
                self.memory.set(composite, f"{layer}VolumeID", node.GetID() if node is not None else None)
            self.memory.set(composite, "Compositing", compositing)
            self.memory.set(composite, "ForegroundOpacity", opacity)
            composite.EndModify(change)

    def arrange(self, layout: int, description: str, names: Sequence[str]) -> bool:
        """Show a layout, whose slice views with these names show the location of the present ones.

        Returns
        -------
        bool
            Whether the layout has changed; not when it is shown already, or when there is no main window.
        """
        node = layout_node()
        if node is None or node.GetViewArrangement() == layout:
            return False
        if not node.IsLayoutDescription(layout):
            node.AddLayoutDescription(layout, description)
        shown = [view for view in slice_nodes() if view.IsMappedInLayout()]
        self._layouts = layout, node.GetViewArrangement()
        node.SetViewArrangement(layout)
        for view in slice_nodes(names) if shown else ():
            view.JumpSliceByCentering(*_center(shown[0]))
        return True

    @property
    def has_own_layout(self) -> bool:
        """Whether the layout is that of a view mode."""
        node = layout_node()
        return self._layouts is not None and node is not None and node.GetViewArrangement() == self._layouts[0]

    def restore_layout(self) -> None:
        """Show the layout before `arrange`, unless the user has chosen another one meanwhile."""
        if self._layouts is not None and self.has_own_layout:
            layout_node().SetViewArrangement(self._layouts[1])
        self._layouts = None

    def link(self, names: Sequence[str], *, linked: bool = True) -> None:
        """Let the slice views with these names, or all of `view_names`, zoom and pan together."""
        for composite in composite_nodes(names or self.view_names):
            self.memory.set(composite, "LinkedControl", int(linked))
            self.memory.set(composite, "HotLinkedControl", int(linked))

    def clear(self) -> None:
        """Remove overlays and legends and hide all segmentations, which would cover the views."""
        self.remove_extra()
        for segmentation in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            display = segmentation.GetDisplayNode()
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
