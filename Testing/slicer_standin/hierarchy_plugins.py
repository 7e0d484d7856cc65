"""Stand-ins for the plugins of the data tree that scripted modules write, and for the context menu they fill."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import slicer

from slicer_standin.pythonqt import QtCore
from slicer_standin.qtmodule import code_only
from slicer_standin.stored import stored


@code_only
class qSlicerSubjectHierarchyPluginHandler(QtCore.QObject):
    """Knows the plugins and the item whose context menu is open."""

    _only: Any = None

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._plugins: list[Any] = []
        self._current = 0

    @classmethod
    def instance(cls) -> Any:
        if cls._only is None:
            cls._only = cls(slicer.app)
        return cls._only

    def subjectHierarchyNode(self) -> Any:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)

    def registerPlugin(self, plugin: Any) -> bool:
        if self.pluginByName(plugin.name) is not None:
            return False  # as in Slicer: the first one of a name stays
        plugin.setParent(self)
        self._plugins.append(plugin)
        return True

    def pluginByName(self, name: str) -> Any:
        return next((plugin for plugin in self._plugins if plugin.name == name), None)

    def currentItem(self) -> int:
        return self._current

    def setCurrentItem(self, item: int) -> None:
        self._current = item

    def _menu(self, item: int) -> dict[str, Any]:
        """Return what a click with the right button on an item shows: text and action."""
        self.setCurrentItem(item)
        for plugin in self._plugins:
            plugin._show_for(item)
        actions = [action for plugin in self._plugins for action in plugin.itemContextMenuActions()]
        return {action.text: action for action in actions if action.isVisible()}


@code_only
class qSlicerSubjectHierarchyScriptedPlugin(QtCore.QObject):
    """Loads a plugin written in Python from its file and calls its methods by name; those left out do nothing."""

    name = stored("name", str, "UnnamedScriptedPlugin")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._python: Any = None

    def setPythonSource(self, path: str) -> bool:
        name = Path(path).stem
        class_name = name if name.endswith("SubjectHierarchyPlugin") else name + "SubjectHierarchyPlugin"
        if not hasattr(sys.modules.get(name), class_name):
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None:
                return False
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        self._python = getattr(sys.modules[name], class_name)(self)
        return True

    def self(self) -> Any:
        return self._python

    def itemContextMenuActions(self) -> list[Any]:
        method = getattr(self._python, "itemContextMenuActions", None)
        return method() if method is not None else []

    def _show_for(self, item: int) -> None:
        for action in self.itemContextMenuActions():
            action.setVisible(False)
        method = getattr(self._python, "showContextMenuActionsForItem", None)
        if method is not None:
            method(item)


class AbstractScriptedSubjectHierarchyPlugin:
    """The Python base class: registers the plugin."""

    def __init__(self, scriptedPlugin: Any) -> None:
        self.scriptedPlugin = scriptedPlugin
        self.register()

    def register(self) -> None:
        slicer.qSlicerSubjectHierarchyPluginHandler.instance().registerPlugin(self.scriptedPlugin)


def menu_of(node: Any) -> dict[str, Any]:
    """Return the entries of a node's context menu in the data tree that scripted plugins add: text and action."""
    handler = qSlicerSubjectHierarchyPluginHandler.instance()
    return handler._menu(handler.subjectHierarchyNode().GetItemByDataNode(node))


def install() -> None:
    """Make the base class importable as in Slicer."""
    module = types.ModuleType("AbstractScriptedSubjectHierarchyPlugin")
    module.AbstractScriptedSubjectHierarchyPlugin = (  # type: ignore[attr-defined]
        AbstractScriptedSubjectHierarchyPlugin
    )
    sys.modules[module.__name__] = module
