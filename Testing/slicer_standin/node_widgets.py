"""Stand-ins for Slicer's widgets that select nodes, driven by the real MRML scene."""

from __future__ import annotations

import re
from typing import Any

import slicer
import vtk

from slicer_standin.pythonqt import QtWidgets, Signal
from slicer_standin.qtmodule import register_widget
from slicer_standin.stored import forwarded, observe, stored


@register_widget
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that is handed the scene and passes it on."""

    _signals_ = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@register_widget
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A combo box of the nodes of some types; disabled until it is given a scene."""

    _signals_ = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged", "currentNodeChanged(bool)": "_validity",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged", "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded", "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
        "currentNodeRenamed(QString)": "currentNodeRenamed", "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited",
    }  # fmt: skip
    currentNodeChanged, _validity, currentNodeIDChanged = Signal(object), Signal(bool), Signal(str)
    nodeActivated, nodeAdded, nodeAddedByUser, nodeAddedByUserAction = (Signal(object) for _ in range(4))
    nodeAboutToBeRemoved, nodeAboutToBeEdited, currentNodeRenamed = Signal(object), Signal(object), Signal(str)
    nodeTypes, hideChildNodeTypes = stored("nodeTypes", list, []), stored("hideChildNodeTypes", list, [])
    showHidden, showChildNodeTypes = stored("showHidden", bool, False), stored("showChildNodeTypes", bool, True)
    baseName, noneDisplay = stored("baseName", str, ""), stored("noneDisplay", str, "None")
    noneEnabled, addEnabled = stored("noneEnabled", bool, False), stored("addEnabled", bool, True)
    removeEnabled, editEnabled = stored("removeEnabled", bool, True), stored("editEnabled", bool, False)
    renameEnabled = stored("renameEnabled", bool, False)
    interactionNodeSingletonTag = stored("interactionNodeSingletonTag", str, "Singleton")
    selectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    sizeAdjustPolicy = stored("sizeAdjustPolicy", object, 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._shown: list[Any] = []
        self._current = ""
        self._tags: list[tuple[Any, int]] = []
        self._watched: set[str] = set()
        self._kinds: dict[str, bool] = {}
        self._filters: dict[str, dict[str, Any]] = {}
        self._labels: dict[str, str] = {}
        self._actions: list[Any] = []
        self._combo = QtWidgets.QComboBox(self)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._on_activated)
        self.setEnabled(False)

    # Public API of the C++ class: invokables and slots.
    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        for subject, tag in self._tags:
            subject.RemoveObserver(tag)
        self._tags.clear()
        self._scene = scene
        if scene is not None:
            self._tags = [
                (scene, observe(scene, scene.EndBatchProcessEvent, self._on_batch_ended)),
                # The C++ class follows an import node by node: it is up to date when others hear of its end.
                (scene, observe(scene, scene.EndImportEvent, self._on_batch_ended)),
                (scene, observe(scene, scene.NodeAddedEvent, self._on_listed, with_node=True)),
                (scene, observe(scene, scene.NodeRemovedEvent, self._on_listed, with_node=True)),
                (scene, observe(scene, scene.NodeAboutToBeRemovedEvent, self._on_about_to_be_removed, with_node=True)),
            ]
        self.setEnabled(scene is not None)
        self._refresh()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        wanted = node_id or ""
        self._select(wanted if any(node.GetID() == wanted for node in self._shown) else "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def nodeCount(self) -> int:
        return len(self._shown)

    def nodeFromIndex(self, index: int) -> Any:
        return self._shown[index] if 0 <= index < len(self._shown) else None

    def addAttribute(self, nodeType: str, name: str, value: Any = None) -> None:
        self._filters.setdefault(nodeType, {})[name] = value
        self._refresh()

    def removeAttribute(self, nodeType: str, name: str) -> None:
        self._filters.get(nodeType, {}).pop(name, None)
        self._refresh()

    def setNodeTypeLabel(self, label: str, nodeType: str) -> None:
        self._labels[nodeType] = label
        self._rebuild_items()

    def nodeTypeLabel(self, nodeType: str) -> str:
        return self._labels.get(nodeType) or slicer.mrmlScene.GetTypeDisplayNameByClassName(nodeType)

    def addMenuAction(self, action: Any) -> None:
        self._actions.append(action)
        self._rebuild_items()

    def addNode(self, nodeType: str | None = None) -> Any:
        return self._create(nodeType or self.nodeTypes[0])

    def removeCurrentNode(self) -> None:
        if self.currentNode():
            self._scene.RemoveNode(self.currentNode())

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        answer = QtWidgets.QInputDialog.getText(self, "Rename", "New name:", QtWidgets.QLineEdit.Normal, node.GetName())
        name = answer[0] if isinstance(answer, tuple) else answer
        if name:
            node.SetName(name)
            self.currentNodeRenamed.emit(name)

    # Behavior behind it.
    def _changed(self, _name: str) -> None:
        self._kinds.clear()
        self._refresh()

    def _is_kind(self, node: Any) -> bool:
        """Tell, quickly, whether a node may be one of those to show; most nodes of a scene are not."""
        name = node.GetClassName()
        if name not in self._kinds:
            self._kinds[name] = any(node.IsA(kind) for kind in self.nodeTypes)
        return self._kinds[name]

    def _accepts(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        for node_type in self.nodeTypes:
            same = node.GetClassName() == node_type
            if not (same or (self.showChildNodeTypes and node.IsA(node_type))):
                continue
            if not same and any(node.IsA(hidden) for hidden in self.hideChildNodeTypes):
                continue
            wanted = self._filters.get(node_type, {})
            if all((node.GetAttribute(name) is not None) if value is None else node.GetAttribute(name) == str(value)
                   for name, value in wanted.items()):  # fmt: skip
                return True
        return False

    def _on_batch_ended(self, _scene: Any, _event: str) -> None:
        if not self._scene.IsBatchProcessing():
            self._refresh()

    def _on_listed(self, _scene: Any, _event: str, node: Any) -> None:
        if not self._scene.IsBatchProcessing() and self._is_kind(node):
            self._refresh()

    def _on_about_to_be_removed(self, _scene: Any, _event: str, node: Any) -> None:
        if node in self._shown:
            self.nodeAboutToBeRemoved.emit(node)

    def _on_node_modified(self, _node: Any, _event: str) -> None:
        if self._scene and not self._scene.IsBatchProcessing():
            self._refresh()

    def _refresh(self) -> None:
        before = {node.GetID() for node in self._shown}
        scene = self._scene
        every = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())] if scene else []
        every = [node for node in every if self._is_kind(node)]
        self._shown = [node for node in every if self._accepts(node)]
        present = {node.GetID() for node in self._shown}
        for node in every:
            # A hidden node may become visible or get the wanted attribute, so every node of the types is watched.
            if node.__this__ not in self._watched:
                self._watched.add(node.__this__)
                observe(node, vtk.vtkCommand.ModifiedEvent, self._on_node_modified)
        self._watched &= {node.__this__ for node in every}
        if self._current in present:
            self._rebuild_items()
        else:
            self._select("" if self.noneEnabled or not self._shown else self._shown[0].GetID())
        for node in self._shown:
            if node.GetID() not in before:
                self.nodeAdded.emit(node)
                self.nodeAddedByUser.emit(node)

    def _extra_items(self) -> list[tuple[str, Any]]:
        items: list[tuple[str, Any]] = []
        if self._current and self.renameEnabled:
            items.append(("Rename current " + self.nodeTypeLabel(self.currentNode().GetClassName()),
                          self.renameCurrentNode))  # fmt: skip
        if self.addEnabled and self._scene is not None:
            items += [("Create new " + self.nodeTypeLabel(name), lambda name=name: self._create(name, by_user=True))
                      for name in self.nodeTypes]  # fmt: skip
        if self._current and self.removeEnabled:
            items.append(("Delete current " + self.nodeTypeLabel(self.currentNode().GetClassName()),
                          self.removeCurrentNode))  # fmt: skip
        return items + [(action.text, action.trigger) for action in self._actions]

    def _rebuild_items(self) -> None:
        combo = self._combo
        combo.blockSignals(True)
        combo.clear()
        if self.noneEnabled:
            combo.addItem(self.noneDisplay, "")
        for node in self._shown:
            combo.addItem(node.GetName() or "", node.GetID())
        extra = self._extra_items()
        if extra:
            combo.insertSeparator(combo.count)
        for text, run in extra:
            combo.addItem(text, run)
        combo.setCurrentIndex(combo.findData(self._current) if self._current or self.noneEnabled else -1)
        combo.blockSignals(False)

    def _select(self, node_id: str) -> None:
        changed = node_id != self._current
        self._current = node_id
        self._rebuild_items()
        if not changed:
            return
        self.currentNodeChanged.emit(self.currentNode())
        self._validity.emit(bool(node_id))
        self.currentNodeIDChanged.emit(node_id)

    def _on_activated(self, index: int) -> None:
        data = self._combo.itemData(index)
        if callable(data):
            self._rebuild_items()
            data()
        else:
            self._select(data or "")
            self.nodeActivated.emit(self.currentNode())

    def _create(self, node_type: str, *, by_user: bool = False) -> Any:
        if node_type not in self.nodeTypes or self._scene is None:
            return None
        base = self.baseName or re.sub("^vtkMRML(.*)Node$", r"\1", node_type)
        node = self._scene.CreateNodeByClass(node_type)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(base))
        for name, value in self._filters.get(node_type, {}).items():
            node.SetAttribute(name, str(value))
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self._select(node.GetID())
        if by_user:
            self.nodeAddedByUserAction.emit(node)
        return node

    currentNodeID = forwarded(str, lambda self: self._current, lambda self, value: self.setCurrentNodeID(value))
