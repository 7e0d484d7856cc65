"""Volumes dropped on the panel: files from the desktop, and items of Slicer's data tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..mrml.inputs import is_volume
from .inputs_section import InputsSection

ITEM = "mrml://scene/subjecthierarchy/item?id="  # qMRMLSubjectHierarchyModel names the items of a drag so
OTHER = {"fixed": "moving", "moving": "fixed"}


class VolumeDrops:
    """Selects what is dropped on the section of inputs: on a selector there, otherwise where nothing is selected.

    A second volume goes to the other side. What is no volume is left to Slicer, which offers to load it.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    inputs : InputsSection
        Selects the volumes.
    """

    def __init__(self, ui: Any, inputs: InputsSection) -> None:
        self._inputs = inputs
        self._targets = [
            DropTarget(ui.fixedSelector, lambda: ("fixed", "moving"), self._take),
            DropTarget(ui.movingSelector, lambda: ("moving", "fixed"), self._take),
            DropTarget(ui.inputsButton, self._empty_sides, self._take),
        ]

    def close(self) -> None:
        """Accept nothing any more."""
        for target in self._targets:
            target.close()
        self._targets = []

    def _empty_sides(self) -> tuple[str, ...]:
        inputs = self._inputs.inputs()
        return tuple(side for side in OTHER if getattr(inputs, side) is None)

    def _take(self, sides: Sequence[str], dropped: Sequence[str]) -> None:
        with slicer.util.tryWithErrorDisplay(_("The volume could not be loaded."), waitCursor=True):
            for side, address in zip(sides, dropped, strict=False):
                self._inputs.use(side, _node_of(address) or slicer.util.loadVolume(address))


class DropTarget(qt.QObject):
    """Accepts volumes dropped on a widget.

    Parameters
    ----------
    widget : QWidget
        Where they are dropped; children that accept drops themselves come first.
    sides : callable
        Returns 'fixed' and 'moving' in the order in which they are filled; nothing is accepted when it is shorter than
        the list of what is dropped.
    take : callable
        Called with these sides and what was dropped, after the drop: loading a file takes a while.
    """

    def __init__(
        self,
        widget: Any,
        sides: Callable[[], Sequence[str]],
        take: Callable[[Sequence[str], Sequence[str]], None],
    ) -> None:
        qt.QObject.__init__(self)
        self._widget, self._sides, self._take = widget, sides, take
        widget.acceptDrops = True
        widget.installEventFilter(self)

    def close(self) -> None:
        """Accept nothing any more."""
        self._widget.removeEventFilter(self)
        self._widget.acceptDrops = False

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Accept volumes; Qt calls this for every event of the widget."""
        kind = event.type()
        if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
            return False
        dropped, sides = volumes_of(event.mimeData()), self._sides()
        if not dropped or len(dropped) > len(sides):
            return False
        event.acceptProposedAction()
        if kind == qt.QEvent.Drop:
            _take_nothing_away(event)
            qt.QTimer.singleShot(0, lambda: self._take(sides, dropped))
        return True


def _take_nothing_away(event: Any) -> None:
    """Report a drop as a copy, or as none where a copy is not offered: the data tree removes items that were moved."""
    event.setDropAction(qt.Qt.CopyAction)
    if event.dropAction() != qt.Qt.CopyAction:
        event.setDropAction(qt.Qt.IgnoreAction)


def volumes_of(data: Any) -> list[str]:
    """Return the paths of files and the addresses of items in the data of a drag; none if one of them is no volume."""
    found = [_address(url) for url in data.urls()] if data.hasUrls() else []
    return found if all(found) else []


def _address(url: Any) -> str:
    """Return the address of a volume, empty for anything else."""
    text = str(url.toString())
    if text.startswith(ITEM):
        return text if _node_of(text) is not None else ""
    path = str(url.toLocalFile())
    is_file = bool(path) and Path(path).is_file()
    return path if is_file and slicer.app.coreIOManager().fileType(path) == "VolumeFile" else ""


def _node_of(address: str) -> Any:
    """Return the volume of an item's address; None for files and items of other kinds."""
    number = address.removeprefix(ITEM)
    if number == address or not number.isdigit():
        return None
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = hierarchy.GetItemDataNode(int(number))
    return node if is_volume(node) else None
