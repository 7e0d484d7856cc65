"""The section where the user chooses the engine: engine, preset, settings, or several engines to compare."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.settings import DEFAULT, Choice, preset_content, presets
from ..mrml.advice import entry_of, entry_title
from .compare_list import CompareList
from .dependencies import EngineAvailability, engine_availability
from .models_list import LISTING
from .preferences import SceneParameters
from .preset_buttons import PresetButtons
from .rich_text import line
from .settings_form import SettingsForm

ENGINE, PRESET, SETTINGS, COMPARED = "Engine", "Preset", "Settings", "Compared"
# Content of an own preset, so that the scene can be used on another computer.
OWN_PRESET = "OwnPreset"
COMPARE, RECOMMENDED = "compare", "recommended"


class EngineSection:
    """Engine, preset and settings.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    changed : callable
        Called after every change by the user.

    Attributes
    ----------
    form : SettingsForm or None
        The settings of the chosen engine; None while several are compared.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._parameters: SceneParameters | None = None
        self._loading = True
        self.form: SettingsForm | None = None
        self._availability: dict[str, EngineAvailability] = {}
        self._advice: Mapping[str, Any] | None = None
        self._unknown = self._absent = ""
        self._preset_buttons: PresetButtons | None = None
        self.compare_list = CompareList(ui.compareFrame, self._on_compared)
        self.refresh()
        ui.engineCombo.connect("currentIndexChanged(int)", self._on_engine)
        ui.presetCombo.connect("currentIndexChanged(int)", self._on_preset)
        ui.restoreButton.connect("clicked()", self._on_restore)
        self._preset_buttons = PresetButtons(ui, self._chosen_preset, self._settings_class, self._on_presets)
        self._loading = False

    @property
    def engine(self) -> str:
        """Name of the chosen engine; empty while several are compared or the recommendation is not known yet."""
        name = str(self._ui.engineCombo.currentData or "")
        if name == RECOMMENDED:
            return self._advice["engine"] if self._advice is not None else ""
        return "" if name == COMPARE else name

    @property
    def preset(self) -> str:
        """Name of the chosen preset."""
        if self.recommended:
            return self._advice["preset"] if self._advice is not None else DEFAULT
        return str(self._ui.presetCombo.currentData or DEFAULT)

    @property
    def comparing(self) -> bool:
        """Whether several engines are compared."""
        return self._ui.engineCombo.currentData == COMPARE

    @property
    def recommended(self) -> bool:
        """Whether the recommended engine is to be used."""
        return self._ui.engineCombo.currentData == RECOMMENDED

    @property
    def waits_for_advice(self) -> bool:
        """Whether the recommended engine is to be used and not known yet."""
        return self.recommended and self._advice is None

    @property
    def titles(self) -> dict[str, str]:
        """Engine name -> title shown to users."""
        return {name: availability.info.title for name, availability in self._availability.items()}

    @property
    def availability(self) -> EngineAvailability | None:
        """The chosen engine as it is offered."""
        return self._availability.get(self.engine)

    def chosen(self) -> list[tuple[EngineAvailability, str, dict[str, Any]]]:
        """Return (engine, preset, changed settings) of every requested run."""
        if self.comparing:
            return [(self._availability[name], preset, {}) for name, preset in self.compare_list.checked()]
        availability = self.availability
        if availability is None:
            return []
        return [(availability, self.preset, self.form.changes() if self.form is not None else {})]

    def problem(self) -> str:
        """Return why the run cannot start, an empty text when it can."""
        if self.comparing:
            return "" if self.compare_list.checked() else _("Check the engines to compare.")
        if self.waits_for_advice:
            return ""
        availability = self.availability
        if availability is None:
            return _("Choose an engine.")
        if not availability.ready and not availability.installable:
            return _("{engine} needs {what}.").format(engine=availability.info.title, what=availability.needs)
        return self.form.problem() if self.form is not None else ""

    def refresh(self) -> None:
        """Update which engines are installed."""
        chosen = self._ui.engineCombo.currentData
        found = engine_availability()
        self._availability = {availability.info.name: availability for availability in found}
        combo = self._ui.engineCombo
        combo.blockSignals(True)
        combo.clear()
        combo.addItem(_("Recommended"), RECOMMENDED)
        combo.setItemData(0, _("The engine that the advice above recommends; the pair is analyzed first."), _TIP)
        combo.insertSeparator(combo.count)
        for availability in found:
            self._add_engine(availability)
        combo.insertSeparator(combo.count)
        combo.addItem(_("Compare several..."), COMPARE)
        combo.setItemData(combo.count - 1, _("Runs the checked engines one after another on the same pair."), _TIP)
        combo.currentIndex = max(0, combo.findData(chosen or RECOMMENDED))
        combo.blockSignals(False)
        self._name_recommended()
        self.compare_list.fill(found)
        self._show_engine({})

    def refresh_models(self) -> None:
        """Update the list of models."""
        if self.form is not None:
            self.form.refresh_suggestions()

    def set_advice(self, advice: Mapping[str, Any] | None) -> None:
        """Receive the recommendation for the selected pair; None while it is not known."""
        self._advice = advice
        self._name_recommended()
        if self.recommended:
            self._loading = True
            self._show_engine({})
            self._loading = False
        self._changed()

    def choose(self, entry: str) -> None:
        """Select an engine, or 'engine:preset', as if the user had, and show it."""
        self._ui.methodButton.collapsed = False
        wanted = Choice.parse(entry)
        combo = self._ui.engineCombo
        combo.currentIndex = max(0, combo.findData(wanted.engine))
        self._ui.presetCombo.currentIndex = max(0, self._ui.presetCombo.findData(wanted.preset))

    def load(self, parameters: SceneParameters | None) -> None:
        """Show the choices stored in a scene."""
        self._parameters, self._loading = parameters, True
        combo = self._ui.engineCombo
        wanted = (parameters.text(ENGINE) if parameters is not None else "") or RECOMMENDED
        self._unknown = wanted if combo.findData(wanted) < 0 else ""
        combo.currentIndex = max(0, combo.findData(wanted))
        self._fill_presets()
        name, changes = self._stored_preset(parameters) if parameters is not None else (DEFAULT, {})
        self._ui.presetCombo.currentIndex = max(0, self._ui.presetCombo.findData(name))
        self.compare_list.load(parameters.value(COMPARED, {}) if parameters is not None else {})
        self._show_engine(changes, fill_presets=False)
        self._loading = False

    def _stored_preset(self, parameters: SceneParameters) -> tuple[str, dict[str, Any]]:
        """Return preset and changes of a scene; an own preset that this computer lacks becomes changes."""
        name, changes = parameters.text(PRESET, DEFAULT), parameters.value(SETTINGS, {})
        stored = parameters.value(OWN_PRESET, {})
        self._absent = ""
        if stored.get("name") != name or stored.get("engine") != self.engine:
            return name, changes
        here = presets(self.engine).get(name)
        if here is not None and dict(here.values) == stored["settings"]:
            return name, changes
        self._absent = str(stored["title"])
        return DEFAULT, {**stored["settings"], **changes}

    def _chosen_preset(self) -> tuple[str, str, Mapping[str, Any]]:
        return self.engine, self.preset, self.form.changes() if self.form is not None else {}

    def _settings_class(self, engine: str) -> type | None:
        availability = self._availability.get(engine)
        return None if availability is None else availability.info.settings

    def _on_presets(self, engine: str, preset: str) -> None:
        """Show the presets again after one was added or removed, and choose one."""
        self._loading, self._absent = True, ""
        self._ui.engineCombo.currentIndex = max(0, self._ui.engineCombo.findData(engine))
        self._fill_presets()
        self._ui.presetCombo.currentIndex = max(0, self._ui.presetCombo.findData(preset))
        self.compare_list.fill(list(self._availability.values()))
        self._show_engine({}, fill_presets=False)
        self._loading = False
        self._save()

    def _add_engine(self, availability: EngineAvailability) -> None:
        combo, info = self._ui.engineCombo, availability.info
        text = info.title
        if not availability.ready:
            text = _("{engine} (needs {what})").format(engine=info.title, what=availability.needs)
        combo.addItem(text, info.name)
        index = combo.count - 1
        tip = info.summary if availability.ready else f"{info.summary} {availability.remedy}"
        combo.setItemData(index, tip, _TIP)
        if not availability.ready:
            gray = combo.palette.color(qt.QPalette.Disabled, qt.QPalette.Text)
            combo.setItemData(index, qt.QBrush(gray), qt.Qt.ForegroundRole)
            if not availability.installable:
                combo.model().item(index).setEnabled(False)

    def _name_recommended(self) -> None:
        text = _("Recommended")
        if self._advice is not None:
            name = entry_title(entry_of(self._advice), self.titles)
            text = _("Recommended: {engine}").format(engine=name)
        self._ui.engineCombo.setItemText(0, text)

    def _fill_presets(self) -> None:
        combo = self._ui.presetCombo
        combo.blockSignals(True)
        combo.clear()
        for preset in presets(self.engine).values() if self.engine and not self.recommended else ():
            combo.addItem(preset.title, preset.name)
            combo.setItemData(combo.count - 1, preset.summary, _TIP)
        combo.blockSignals(False)

    def _show_engine(self, changes: dict[str, Any], *, fill_presets: bool = True) -> None:
        if fill_presets:
            self._fill_presets()
        single = not self.comparing and not self.recommended
        for widget in (self._ui.presetLabel, self._ui.presetCombo, self._ui.settingsButton):
            widget.visible = single
        self._ui.compareFrame.visible = self.comparing
        self._show_form(changes)
        self._ui.modelsButton.visible = self.form is not None and self.form.has_listing(LISTING)
        self._show_note()

    def _show_form(self, changes: dict[str, Any]) -> None:
        if self.form is not None:
            self.form.remove()
            self.form = None
        availability = self.availability
        if availability is not None and not self.recommended:
            values = presets(self.engine)[self.preset].values
            self.form = SettingsForm(self._ui.settingsFrame, availability.info.settings, values, self._on_settings)
            self.form.load(changes)
        self._show_changes()

    def _show_note(self) -> None:
        availability = self.availability
        self._ui.installButton.visible = availability is not None and availability.installable
        if self._unknown:
            missing = _('This scene uses the engine "{engine}", which this version does not have.')
            remedy = _("The recommended engine is selected instead.")
            self._ui.engineNote.text = line("warning", missing.format(engine=self._unknown), remedy)
        elif self._absent:
            what = _('The preset "{name}" of this scene is not on this computer, or differs.').format(name=self._absent)
            remedy = _("Its settings are used as changes; save them as a preset to keep them.")
            self._ui.engineNote.text = line("warning", what, remedy)
        elif self.waits_for_advice:
            self._ui.engineNote.text = _("The pair is analyzed first; then the recommended engine runs.")
        elif availability is None:
            self._ui.engineNote.text = _("Every engine gets the same pair and is evaluated by the same measures.")
        elif not availability.ready:
            missing = _("Not installed: {what}.").format(what=availability.needs)
            self._ui.engineNote.text = line("warning", missing, availability.remedy)
        else:
            summary = presets(self.engine)[self.preset].summary if self.preset != DEFAULT else availability.info.summary
            self._ui.engineNote.text = f"<span>{html.escape(summary)}</span>"

    def _show_changes(self) -> None:
        problem = self.form.problem() if self.form is not None else ""
        count = len(self.form.changes()) if self.form is not None and not problem else 0
        self._ui.settingsButton.text = _("Settings ({count} changed)").format(count=count) if count else _("Settings")
        self._ui.settingsNote.text = line("error", problem) if problem else ""
        self._ui.settingsNote.visible = bool(problem)
        self._ui.restoreButton.enabled = bool(count or problem)
        if self._preset_buttons is not None:
            self._preset_buttons.refresh(self.engine, self.preset, valid=self.form is not None and not problem)

    def _on_engine(self, _index: int) -> None:
        if not self._loading:
            self._loading, self._unknown, self._absent = True, "", ""
            self._show_engine({})
            self._loading = False
            self._save()

    def _on_preset(self, _index: int) -> None:
        if not self._loading:
            self._absent = ""
            self._show_form({})
            self._show_note()
            self._save()

    def _on_settings(self) -> None:
        self._show_changes()
        self._save()

    def _on_restore(self) -> None:
        if self.form is not None:
            self.form.load({})
            self._on_settings()

    def _own_preset(self) -> dict[str, Any]:
        known = presets(self.engine).get(self.preset) if self.engine else None
        return preset_content(self.engine, self.preset) if known is not None and known.own else {}

    def _on_compared(self) -> None:
        if not self._loading:
            self._save()

    def _save(self) -> None:
        if self._parameters is not None:
            with self._parameters.together():
                self._parameters.set_text(ENGINE, self._ui.engineCombo.currentData or "")
                self._parameters.set_text(PRESET, self.preset)
                self._parameters.set_value(OWN_PRESET, self._own_preset())
                self._parameters.set_value(COMPARED, self.compare_list.choices())
                if self.form is not None and not self.form.problem():
                    self._parameters.set_value(SETTINGS, self.form.changes())
        self._changed()


_TIP = qt.Qt.ToolTipRole
