"""What Slicer's subject hierarchy plugins do: items come and go with nodes and segments; they complain as in Slicer.

Module code finds the items and must not create them. The rules are those of the application:

* A node gets an item when it is added, unless it is hidden or a scene is being imported; imported nodes get theirs at
  the end of the import.
* While a scene is closed the items go with the hierarchy node, before the segmentations.
* The plugin of segmentations follows every segmentation node, hidden ones too. When one of them changes and has no
  item (any more), it prints a critical message, which fails a test here.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from slicer_standin.pythonqt import QtCore

CLASSES = ("vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLModelNode", "vtkMRMLTransformNode",
           "vtkMRMLTableNode", "vtkMRMLPlotChartNode", "vtkMRMLTextNode", "vtkMRMLMarkupsNode")  # fmt: skip
PLUGIN = "qSlicerSubjectHierarchySegmentationsPlugin"


def follow(scene: Any) -> None:
    """Keep the subject hierarchy of a scene as the application's plugins do."""
    plugins = _Plugins(scene)
    for event, handler in (
        (slicer.vtkMRMLScene.NodeAddedEvent, plugins.on_node_added),
        (slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, plugins.on_node_about_to_be_removed),
    ):
        observe_with(vtk.VTK_OBJECT, scene, event, handler)
    scene.AddObserver(slicer.vtkMRMLScene.EndImportEvent, plugins.on_import_ended)
    scene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, lambda _scene, _event: plugins.hierarchy)


def observe_with(data_type: Any, subject: Any, event: Any, handler: Any) -> None:
    """Observe an event whose call data is wanted as a third argument."""

    def relay(caller: Any, name: str, data: Any) -> None:
        handler(caller, name, data)

    relay.CallDataType = data_type  # type: ignore[attr-defined]
    subject.AddObserver(event, relay)


class _Plugins:
    def __init__(self, scene: Any) -> None:
        self._scene = scene

    @property
    def hierarchy(self) -> Any:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def on_node_added(self, _scene: Any, _event: str, node: Any) -> None:
        if node is None:
            return
        if not self._scene.IsImporting():
            self._adopt(node)
        if node.IsA("vtkMRMLSegmentationNode"):
            segmentation = slicer.vtkSegmentation
            for event in (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified):
                node.AddObserver(event, self._on_segmentation)
            node.AddObserver(slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, self._on_segmentation)

    def on_node_about_to_be_removed(self, _scene: Any, _event: str, node: Any) -> None:
        if self._scene.IsClosing() or node is None or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        item = self.hierarchy.GetItemByDataNode(node)
        if item:
            self.hierarchy.RemoveItem(item, False, False)

    def on_import_ended(self, _scene: Any, _event: str) -> None:
        _merged = self.hierarchy  # asking for it merges the imported one into that of the scene
        for node in [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]:
            self._adopt(node)

    def _adopt(self, node: Any) -> None:
        excluded = slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyExcludeFromTreeAttributeName()
        if node.GetHideFromEditors() or node.GetAttribute(excluded) or not any(node.IsA(name) for name in CLASSES):
            return
        hierarchy = self.hierarchy
        if hierarchy and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        if node.IsA("vtkMRMLSegmentationNode"):
            self._list_segments(node, hierarchy)

    def _on_segmentation(self, node: Any, _event: str) -> None:
        if node.GetScene() is not None and node.GetScene().IsImporting():
            return
        hierarchy = None if self._scene.IsClosing() else self.hierarchy
        if hierarchy is None or not hierarchy.GetItemByDataNode(node):
            QtCore.qCritical(
                f"{PLUGIN}: Unable to find subject hierarchy item for segmentation node {node.GetName()} "
                "so per-segment subject hierarchy node cannot be created"
            )
            return
        self._list_segments(node, hierarchy)

    def _list_segments(self, node: Any, hierarchy: Any) -> None:
        """Give each segment an item below that of its segmentation, and remove the items of those that are gone."""
        branch = slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyVirtualBranchAttributeName()
        attribute = slicer.vtkMRMLSegmentationNode.GetSegmentIDAttributeName()
        parent, segmentation, children = hierarchy.GetItemByDataNode(node), node.GetSegmentation(), vtk.vtkIdList()
        hierarchy.SetItemAttribute(parent, branch, "1")  # the items of segments go with it
        hierarchy.GetItemChildren(parent, children)
        known = {}
        for item in [children.GetId(index) for index in range(children.GetNumberOfIds())]:
            known[hierarchy.GetItemAttribute(item, attribute)] = item
        for index in range(segmentation.GetNumberOfSegments()):
            name = segmentation.GetNthSegmentID(index)
            title = segmentation.GetSegment(name).GetName() or ""
            item = known.pop(name, None)
            if item is None:
                item = hierarchy.CreateHierarchyItem(parent, title, branch)
                hierarchy.SetItemAttribute(item, attribute, name)
            elif hierarchy.GetItemName(item) != title:
                hierarchy.SetItemName(item, title)
        for name, item in known.items():
            if name:
                hierarchy.RemoveItem(item)
