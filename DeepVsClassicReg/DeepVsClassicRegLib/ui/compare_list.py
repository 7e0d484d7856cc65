"""The list of engines to compare: a check box and a preset for each available engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.settings import DEFAULT, presets
from .dependencies import EngineAvailability
from .settings_form import narrow_combo

AT_FIRST = 3


class CompareList:
    """Rows of check box and preset inside a frame with a grid layout.

    Parameters
    ----------
    frame : QWidget
        Gets the rows.
    changed : callable
        Called after every change by the user.

    Attributes
    ----------
    rows : mapping of str to (QCheckBox, QComboBox)
        Engine -> whether it is compared, and its preset.
    """

    def __init__(self, frame: Any, changed: Callable[[], None]) -> None:
        self._frame, self._changed = frame, changed
        self._made: dict[str, tuple[Any, Any]] = {}
        self.rows: dict[str, tuple[Any, Any]] = {}
        self._loading = False

    def fill(self, found: list[EngineAvailability]) -> None:
        """Show these engines; those that are not ready cannot be checked.

        Rows are created once and reused; none is deleted.
        """
        kept = self.choices()
        self._loading = True
        grid = self._frame.layout()
        for widget in (widget for row in self._made.values() for widget in row):
            grid.removeWidget(widget)
            widget.hide()
        grid.setColumnStretch(1, 1)
        self.rows = {entry.info.name: self._row(entry) for entry in found}
        for number, row in enumerate(self.rows.values()):
            for column, widget in enumerate(row):
                grid.addWidget(widget, number, column)
                widget.show()
        self._loading = False
        self.load(kept)

    def checked(self) -> list[tuple[str, str]]:
        """Return (engine, preset) of every checked row."""
        return [
            (name, str(combo.currentData or DEFAULT)) for name, (check, combo) in self.rows.items() if check.checked
        ]

    def choices(self) -> dict[str, str]:
        """Return engine -> preset of the checked rows, to be stored in the scene."""
        return dict(self.checked())

    def load(self, choices: Mapping[str, str]) -> None:
        """Show the stored choices; without any, check the first available engines."""
        self._loading = True
        if not choices:
            ready = [name for name, (check, _combo) in self.rows.items() if check.enabled]
            choices = dict.fromkeys([name for name in ready if name != "linear"][:AT_FIRST], DEFAULT)
        for name, (check, combo) in self.rows.items():
            check.checked = name in choices and check.enabled
            combo.currentIndex = max(0, combo.findData(choices.get(name, DEFAULT)))
        self._loading = False

    def _row(self, entry: EngineAvailability) -> tuple[Any, Any]:
        """Return check box and preset list of an engine, updated to its current availability."""
        name = entry.info.name
        check, combo = self._made[name] = self._made.get(name) or self._make_row(entry)
        missing = _("Needs {what}. {remedy}").format(what=entry.needs, remedy=entry.remedy)
        check.toolTip = entry.info.summary if entry.ready else missing
        check.enabled = combo.enabled = entry.ready
        _fill(combo, name)
        return check, combo

    def _make_row(self, entry: EngineAvailability) -> tuple[Any, Any]:
        check, combo = qt.QCheckBox(entry.info.title, self._frame), narrow_combo(self._frame)
        check.objectName, combo.objectName = f"compare_{entry.info.name}", f"comparePreset_{entry.info.name}"
        _fill(combo, entry.info.name)
        check.connect("toggled(bool)", self._on_changed)
        combo.connect("currentIndexChanged(int)", self._on_changed)
        return check, combo

    def _on_changed(self) -> None:
        if not self._loading:
            self._changed()


def _fill(combo: Any, engine: str) -> None:
    """List the presets of an engine; a choice is kept if it still exists."""
    wanted = [(preset.title, preset.name) for preset in presets(engine).values()]
    if [(combo.itemText(index), combo.itemData(index)) for index in range(combo.count)] == wanted:
        return
    chosen = combo.currentData
    combo.blockSignals(True)
    combo.clear()
    for title, name in wanted:
        combo.addItem(title, name)
    combo.currentIndex = max(0, combo.findData(chosen))
    combo.blockSignals(False)
