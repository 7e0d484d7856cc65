"""Entries in the context menu of Slicer's data tree: use a volume in this module, correct the motion of a sequence.

Slicer executes this file by its path, as a module with the name of its class, and keeps it when the module is reloaded;
therefore it only passes the node on to the module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from AbstractScriptedSubjectHierarchyPlugin import AbstractScriptedSubjectHierarchyPlugin
from slicer.i18n import tr as _

MODULE = "DeepVsClassicReg"


class DeepVsClassicRegSubjectHierarchyPlugin(AbstractScriptedSubjectHierarchyPlugin):
    """The entries *Register this to...*, *Use as fixed volume*, *Use as moving volume* and *Correct motion...*.

    Parameters
    ----------
    scriptedPlugin : qSlicerSubjectHierarchyScriptedPlugin
        The C++ side, which calls the methods below by name.
    """

    filePath = __file__

    def __init__(self, scriptedPlugin: Any) -> None:
        scriptedPlugin.name = MODULE
        AbstractScriptedSubjectHierarchyPlugin.__init__(self, scriptedPlugin)
        self.registerAction = self._action(_("Register this to..."), self.onRegister)
        self.fixedAction = self._action(_("Use as fixed volume"), lambda: self._use("fixed"))
        self.movingAction = self._action(_("Use as moving volume"), lambda: self._use("moving"))
        self.motionAction = self._action(_("Correct motion..."), self.onMotion)

    def itemContextMenuActions(self) -> list[Any]:
        """Return all entries; Slicer hides them before it asks which to show."""
        return [self.registerAction, self.fixedAction, self.movingAction, self.motionAction]

    def showContextMenuActionsForItem(self, itemID: int) -> None:
        """Show the entries that make sense for an item of the tree."""
        from DeepVsClassicRegLib.mrml.inputs import is_volume
        from DeepVsClassicRegLib.mrml.sequences import can_be_corrected

        node = _node_of(itemID)
        for action in (self.registerAction, self.fixedAction, self.movingAction):
            action.visible = is_volume(node)
        self.motionAction.visible = can_be_corrected(node)

    def onRegister(self) -> None:
        """Open the module with the volume as the moving one."""
        node = _current_node()
        slicer.util.selectModule(MODULE)
        _module_widget().useVolume("moving", node)

    def onMotion(self) -> None:
        """Open the module's section *Motion over time* with the sequence."""
        node = _current_node()
        slicer.util.selectModule(MODULE)
        _module_widget().showMotion(node)

    def _use(self, role: str) -> None:
        """Select the volume in the module; the open module stays open."""
        node = _current_node()
        _module_widget().useVolume(role, node)
        said = {
            "fixed": _("'{name}' is the fixed volume of the registration."),
            "moving": _("'{name}' is the moving volume of the registration."),
        }
        slicer.util.showStatusMessage(said[role].format(name=node.GetName()), 5000)

    def _action(self, text: str, triggered: Callable[[], None]) -> Any:
        action = qt.QAction(text, self.scriptedPlugin)
        action.connect("triggered()", triggered)
        return action


def _current_node() -> Any:
    return _node_of(slicer.qSlicerSubjectHierarchyPluginHandler.instance().currentItem())


def _node_of(item: int) -> Any:
    """Return the node of an item; None for folders and the scene."""
    hierarchy = slicer.qSlicerSubjectHierarchyPluginHandler.instance().subjectHierarchyNode()
    return hierarchy.GetItemDataNode(item) if item and hierarchy is not None else None


def _module_widget() -> Any:
    return slicer.modules.deepvsclassicreg.widgetRepresentation().self()
