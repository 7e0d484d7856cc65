"""Applies the transform of the shown run to other objects of the scene."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from ..mrml.apply import Application, Applied, nodes_in
from ..mrml.movable import is_movable
from ..mrml.nodes import save_for_undo
from ..mrml.runs import RARE_ROLES, Run, runs
from .rich_text import faint
from .scheduling import BackgroundCall

SIDES = {"fixed": _("Moving side to fixed"), "moving": _("Fixed side to moving")}
INTERPOLATIONS = {"nearest": _("Labels: nearest neighbor"), "smooth": _("Labels: smooth")}
RESULTS = ("warped", "warped_labels", "jacobian", *RARE_ROLES)
WARNING = "#d98c00"


class ApplySection:
    """A list of the scene's objects with check boxes, and the button that applies the transform to them.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._run: Run | None = None
        self._parameter_node: Any = None
        self._call: BackgroundCall | None = None
        self._listed: list[tuple[int, str, int]] = []
        self._filling = False
        self.tree = qt.QTreeWidget(ui.applyButton)
        self.tree.objectName = "applyTree"
        self.tree.headerHidden = True
        self.tree.minimumHeight = 120
        self.tree.toolTip = _("Objects to which the transform is applied; a folder stands for everything in it.")
        ui.applyButton.layout().insertWidget(0, self.tree)
        for combo, entries in ((ui.applySideCombo, SIDES), (ui.applyLabelsCombo, INTERPOLATIONS)):
            for name, title in entries.items():
                combo.addItem(title, name)
        self.tree.connect("itemChanged(QTreeWidgetItem*,int)", self._on_item)
        ui.applyButton.connect("contentsCollapsed(bool)", lambda _collapsed: self.refresh())
        ui.applyHardenCheck.connect("toggled(bool)", lambda _on: self._enable())
        ui.applyNowButton.connect("clicked()", self.apply)
        self.refresh()

    @property
    def busy(self) -> bool:
        """Whether objects are being computed."""
        return self._call is not None

    def show(self, run: Run | None, parameter_node: Any) -> None:
        """Offer the transform of a run; None hides the section."""
        self._run, self._parameter_node = run, parameter_node
        self._ui.applyMessageLabel.visible = False
        self.refresh()

    def refresh(self) -> None:
        """List the objects of the scene again if they changed; checked ones stay checked."""
        self._ui.applyButton.visible = self._run is not None
        if self._run is None or self._ui.applyButton.collapsed:
            return
        listed = self._entries()
        if listed != self._listed:
            self._fill(listed)
        self._enable()

    def selected(self) -> list[Any]:
        """Return the checked nodes and those in checked folders."""
        results = {node.GetID() for node in self._results()}
        nodes = nodes_in(self._checked())
        return [node for node in nodes if is_movable(node) and node.GetID() not in results]

    def check(self, name: str, on: bool = True) -> None:
        """Check the first object or folder of a name."""
        for item in self._items():
            if item.text(0) == name:
                item.setCheckState(0, qt.Qt.Checked if on else qt.Qt.Unchecked)
                return
        raise ValueError(name)

    def apply(self) -> None:
        """Apply the transform; the computation runs in a thread."""
        ui = self._ui
        try:
            if self._run is None or not self._run.exists:
                raise RegistrationError(_("The run was deleted."))
            side = ui.applySideCombo.currentData
            work = Application(
                self._run.need("transform"),
                self.selected(),
                to=side,
                reference=self._run.need(side),
                harden=ui.applyHardenCheck.checked,
                interpolation=ui.applyLabelsCombo.currentData,
            )
        except RegistrationError as error:
            self._say(html.escape(str(error)), WARNING)
            return
        self._say(html.escape(_("Applying the transform...")))
        self._call = BackgroundCall(work.compute, lambda _value, error: self._on_computed(work, error)).start()
        self._enable()

    def close(self) -> None:
        """Forget what is being computed."""
        if self._call is not None:
            self._call.abandon(lambda: None)
            self._call = None

    def _on_computed(self, work: Application, error: BaseException | None) -> None:
        self._call = None
        if error is None:
            try:
                save_for_undo()
                self._report(work.publish())
            except RegistrationError as problem:
                error = problem
        if error is not None:
            if not isinstance(error, RegistrationError):
                logging.error("DeepVsClassicReg: %s", error, exc_info=error)
            self._say(html.escape(str(error) or type(error).__name__), WARNING)
        self.refresh()

    def _report(self, applied: list[Applied]) -> None:
        done = [item for item in applied if item.node is not None]
        lines = [html.escape(_("Applied to {count} of {all} objects.").format(count=len(done), all=len(applied)))]
        for item in applied:
            for text in (item.refusal, *item.notes):
                if text:
                    lines.append(f"⚠ {html.escape(item.source.GetName() or '')}: {faint(text)}")
        self._say("<br>".join(lines), "" if len(done) == len(applied) else WARNING)

    def _say(self, rich: str, color: str = "") -> None:
        self._ui.applyMessageLabel.text = f'<span style="color:{color}">{rich}</span>' if color else rich
        self._ui.applyMessageLabel.visible = True

    def _enable(self) -> None:
        hardened = self._ui.applyHardenCheck.checked
        self._ui.applyLabelsCombo.enabled = hardened
        ready = bool(self._checked()) and not self.busy
        self._ui.applyNowButton.enabled = ready
        self._ui.applyNowButton.toolTip = (
            _("Applies the transform of the shown run to the checked objects.")
            if ready
            else _("Check an object first.")
        )

    def _on_item(self, item: Any, _column: int) -> None:
        """Check or uncheck everything in a folder with it."""
        if self._filling:
            return
        self._filling = True
        for child in _below(item):
            child.setCheckState(0, item.checkState(0))
        self._filling = False
        self._enable()

    def _results(self) -> list[Any]:
        """Return the results of all runs, which are on the fixed side already."""
        if self._parameter_node is None:
            return []
        found = [run.node(role) for run in runs(self._parameter_node) for role in RESULTS]
        return [node for node in found if node is not None]

    def _entries(self) -> list[tuple[int, str, int]]:
        """Return (subject hierarchy item, name, depth) of the objects and of the folders that contain some."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        results = {node.GetID() for node in self._results()}
        return _usable_items(hierarchy, hierarchy.GetSceneItemID(), 0, results)

    def _fill(self, listed: list[tuple[int, str, int]]) -> None:
        checked = set(self._checked())
        self._filling = True
        self.tree.clear()
        parents: list[Any] = []
        for identity, name, depth in listed:
            del parents[depth:]
            item = qt.QTreeWidgetItem(parents[-1]) if parents else qt.QTreeWidgetItem(self.tree)
            item.setText(0, name)
            item.setData(0, qt.Qt.UserRole, identity)
            item.setCheckState(0, qt.Qt.Checked if identity in checked else qt.Qt.Unchecked)
            parents.append(item)
        self.tree.expandAll()
        self._listed, self._filling = listed, False

    def _items(self) -> Iterator[Any]:
        for index in range(self.tree.topLevelItemCount):
            item = self.tree.topLevelItem(index)
            yield item
            yield from _below(item)

    def _checked(self) -> list[int]:
        return [int(item.data(0, qt.Qt.UserRole)) for item in self._items() if item.checkState(0) == qt.Qt.Checked]


def _below(item: Any) -> Iterator[Any]:
    for index in range(item.childCount()):
        child = item.child(index)
        yield child
        yield from _below(child)


def _usable_items(hierarchy: Any, parent: int, depth: int, without: set[str]) -> list[tuple[int, str, int]]:
    children, found = vtk.vtkIdList(), []
    hierarchy.GetItemChildren(parent, children)
    for item in [children.GetId(index) for index in range(children.GetNumberOfIds())]:
        node = hierarchy.GetItemDataNode(item)
        below = _usable_items(hierarchy, item, depth + 1, without)
        if below or (node is not None and is_movable(node) and node.GetID() not in without):
            found += [(item, hierarchy.GetItemName(item), depth), *below]
    return found
