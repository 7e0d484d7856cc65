"""A form generated from an engine's settings dataclass: label, unit, range, tooltip and choices of each field."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from ..core.errors import SettingsError
from ..core.settings import from_json, to_json
from .models_list import LISTING, suggestions

HUGE = 1_000_000


class SettingsForm:
    """The widgets of one engine's settings in a frame.

    Parameters
    ----------
    frame : QWidget
        Receives the form; its layout is replaced.
    kind : type
        The engine's frozen settings dataclass.
    preset : mapping
        Values of the preset; `changes` returns the differences from them.
    changed : callable
        Called after every change by the user.

    Attributes
    ----------
    fields : mapping of str to field
        `widget` and `value()` of every setting.
    more : ctkCollapsibleButton or None
        Holds the advanced settings.
    """

    def __init__(
        self, frame: Any, kind: type, preset: Mapping[str, Any], changed: Callable[[], None] | None = None
    ) -> None:
        self._kind, self._changed = kind, changed
        self._preset = to_json(from_json(kind, preset))
        self.fields: dict[str, _Field] = {}
        self._loading = True
        self.more: Any = None
        self.content = qt.QWidget(frame)
        frame.layout().addWidget(self.content)
        column = qt.QVBoxLayout(self.content)
        column.setContentsMargins(0, 0, 0, 0)
        entries = dataclasses.fields(kind)
        self._add([entry for entry in entries if not entry.metadata.get("advanced")], column)
        advanced = [entry for entry in entries if entry.metadata.get("advanced")]
        if advanced:
            self.more = ctk.ctkCollapsibleButton(self.content)
            self.more.text = _("More settings")
            self.more.objectName = "moreSettingsButton"
            self._add(advanced, qt.QVBoxLayout(self.more))
            self.more.collapsed = True
            column.addWidget(self.more)
        self.load({})

    def _add(self, entries: list[Any], column: Any) -> None:
        form = qt.QFormLayout()
        form.setFieldGrowthPolicy(qt.QFormLayout.AllNonFixedFieldsGrow)
        form.setRowWrapPolicy(qt.QFormLayout.WrapLongRows)
        hints = typing.get_type_hints(self._kind)
        for entry in entries:
            field = _Field(entry, hints[entry.name], self._on_changed)
            label = qt.QLabel(_("{label}:").format(label=entry.metadata.get("label", entry.name)))
            label.toolTip = field.widget.toolTip
            form.addRow(label, field.widget)
            self.fields[entry.name] = field
        column.addLayout(form)

    def load(self, changes: Mapping[str, Any]) -> None:
        """Show the preset with these changes; unknown names and invalid values (from an older scene) are skipped."""
        self._loading = True
        for name, field in self.fields.items():
            field.show(self._preset[name])
            if name in changes:
                field.show(changes[name])
        self._loading = False

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from the preset, as plain values.

        Raises
        ------
        SettingsError
            When a value is out of range or of the wrong kind.
        """
        given = {name: field.value() for name, field in self.fields.items()}
        plain = to_json(from_json(self._kind, given))
        return {name: value for name, value in plain.items() if value != self._preset[name]}

    def problem(self) -> str:
        """Return what is wrong with the values, an empty text when all are valid."""
        try:
            self.changes()
        except SettingsError as error:
            return str(error)
        return ""

    def has_listing(self, listing: str) -> bool:
        """Return whether a setting uses this list of suggestions; trained models are also values with a prefix."""
        return any(
            field.listing.partition(":")[0] == listing or (listing == LISTING and field.has_prefixes)
            for field in self.fields.values()
        )

    def refresh_suggestions(self) -> None:
        """Update the suggestions; the chosen value stays."""
        self._loading = True
        for field in self.fields.values():
            if field.listing or field.has_prefixes:
                field.suggest()
        self._loading = False

    def remove(self) -> None:
        """Remove the widgets.

        They keep their parent until Qt deletes them: without a parent Python would own them too, and they would be
        deleted twice. Their slots are disconnected first, because they hold a reference to this form.
        """
        for field in self.fields.values():
            field.release()
        self.fields = {}
        self.content.hide()
        self.content.deleteLater()

    def _on_changed(self) -> None:
        if not self._loading and self._changed is not None:
            self._changed()


class _Field:
    """One setting: creates its widget, shows a value and reads it back."""

    def __init__(self, entry: Any, hint: Any, changed: Callable[[], None]) -> None:
        about = entry.metadata
        self._hint = hint
        self._changed = changed
        self._choices, self._prefixes = about.get("choices") or (), about.get("prefixes") or ()
        self.listing = about.get("listing") or ""
        unit = about.get("unit", "")
        if hint is bool:
            self.widget, self._signal = qt.QCheckBox(), "toggled(bool)"
        elif self._choices and hint is str:
            self.widget, self._signal = narrow_combo(), "currentIndexChanged(int)"
            for choice in self._choices:
                self.widget.addItem(choice or about.get("special") or "", choice)
            if self._prefixes:
                self.suggest()
                self.widget.setEditable(True)
                self.widget.lineEdit().connect("editingFinished()", changed)
        elif self.listing:
            self.widget, self._signal = narrow_combo(), "currentIndexChanged(int)"
            self.widget.setEditable(True)
            self.suggest()
            self.widget.lineEdit().connect("editingFinished()", changed)
        elif hint is int or hint is float:
            self.widget = self._number(about, unit)
            self._signal = "valueChanged(int)" if hint is int else "valueChanged(double)"
        else:
            self.widget, self._signal = qt.QLineEdit(), "editingFinished()"
        self.widget.connect(self._signal, changed)
        self.widget.objectName = f"setting_{entry.name}"
        self.widget.toolTip = self._tip(about, unit)

    def release(self) -> None:
        """Disconnect all slots before the widget is deleted."""
        self.widget.disconnect(self._signal, self._changed)
        if self.listing or self._prefixes:
            self.widget.lineEdit().disconnect("editingFinished()", self._changed)

    def _number(self, about: Mapping[str, Any], unit: str) -> Any:
        low, high = about.get("minimum"), about.get("maximum")
        widget = qt.QSpinBox() if self._hint is int else qt.QDoubleSpinBox()
        if self._hint is float:
            widget.setDecimals(6)
            widget.setSingleStep(0.1)
        kind = self._hint
        widget.setRange(kind(-HUGE if low is None else low), kind(HUGE if high is None else high))
        if unit:
            widget.setSuffix(f" {unit}")
        if about.get("special"):
            widget.setSpecialValueText(about["special"])
        return widget

    def _tip(self, about: Mapping[str, Any], unit: str) -> str:
        parts = [about.get("tooltip", "")]
        if typing.get_origin(self._hint) is tuple:
            parts.append(_("Several values, separated by commas."))
            if unit:
                parts.append(_("Unit: {unit}.").format(unit=unit))
        low, high = about.get("minimum"), about.get("maximum")
        if low is not None and high is not None:
            parts.append(_("Range: {low} to {high}.").format(low=low, high=high))
        return " ".join(part for part in parts if part)

    @property
    def has_prefixes(self) -> bool:
        """Whether values that begin with a prefix name models, beside the choices."""
        return bool(self._prefixes)

    def suggest(self) -> None:
        """Update the list of suggestions and keep the text."""
        if self._prefixes:
            self._suggest_models()
            return
        text = self.widget.currentText
        self.widget.blockSignals(True)
        self.widget.clear()
        for value, tip in suggestions(self.listing):
            self.widget.addItem(value)
            self.widget.setItemData(self.widget.count - 1, tip, qt.Qt.ToolTipRole)
        self.widget.setCurrentText(text)
        self.widget.blockSignals(False)

    def _suggest_models(self) -> None:
        """Update the installed models of every prefix, such as 'features:NAME', below the choices."""
        text = self.widget.currentText
        self.widget.blockSignals(True)
        while self.widget.count > len(self._choices):
            self.widget.removeItem(self.widget.count - 1)
        for prefix in self._prefixes:
            for value, tip in suggestions(prefix):
                self.widget.addItem(value, value)
                self.widget.setItemData(self.widget.count - 1, tip, qt.Qt.ToolTipRole)
        if self.widget.editable:
            self.widget.setCurrentText(text)
        self.widget.blockSignals(False)

    def show(self, value: Any) -> None:
        """Show a plain value in the widget."""
        if self._hint is bool:
            self.widget.checked = bool(value)
        elif self._choices and self._hint is str:
            index = self.widget.findData(str(value))
            if index >= 0:
                self.widget.currentIndex = index
            elif self._prefixes:
                self.widget.setCurrentText(str(value))
        elif self.listing:
            self.widget.setCurrentText(str(value))
        elif self._hint is int or self._hint is float:
            if isinstance(value, (int, float)):
                if self._hint is float:
                    self.widget.setDecimals(_decimals(float(value)))
                self.widget.value = self._hint(value)
        else:
            self.widget.text = _text(value)

    def value(self) -> Any:
        """Return the value of the widget, as `from_json` expects it."""
        if self._hint is bool:
            return self.widget.checked
        if self._prefixes:
            return self.widget.currentText.strip()
        if self._choices and self._hint is str:
            return self.widget.currentData
        if self.listing:
            return self.widget.currentText.strip()
        if self._hint is int or self._hint is float:
            return self.widget.value
        text = self.widget.text.strip()
        if typing.get_origin(self._hint) is tuple:
            return [part.strip() for part in text.split(",") if part.strip()]
        is_optional = type(None) in typing.get_args(self._hint)
        return None if is_optional and text.lower() in ("", "none") else text


def narrow_combo(parent: Any = None) -> Any:
    """Return a combo box whose width follows the layout, not its longest entry."""
    combo = qt.QComboBox(parent)
    combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    return combo


def _decimals(value: float) -> int:
    """Return the number of decimals that show a value without loss, at least two."""
    text = f"{value:.8f}".rstrip("0")
    return max(2, len(text.partition(".")[2]))


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(str(entry) for entry in value) if isinstance(value, (list, tuple)) else str(value)
