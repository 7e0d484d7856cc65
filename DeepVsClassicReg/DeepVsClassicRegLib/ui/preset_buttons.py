"""Buttons that save, share and delete presets of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.settings import delete_preset, export_preset, preset_name, presets, read_preset, save_preset

FILES = "JSON (*.json)"


class PresetButtons:
    """Save, import, export and delete presets.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    chosen : callable
        Returns (engine, preset, settings changed from it).
    settings_class : callable
        Returns the settings dataclass of an engine by its name, None for unknown engines.
    changed : callable
        Called with (engine, preset) to choose after presets were added or removed.
    """

    def __init__(
        self,
        ui: Any,
        chosen: Callable[[], tuple[str, str, Mapping[str, Any]]],
        settings_class: Callable[[str], type | None],
        changed: Callable[[str, str], None],
    ) -> None:
        self._ui, self._chosen, self._settings_class, self._changed = ui, chosen, settings_class, changed
        ui.savePresetButton.connect("clicked()", self._on_save)
        ui.importPresetButton.connect("clicked()", self._on_import)
        ui.exportPresetButton.connect("clicked()", self._on_export)
        ui.deletePresetButton.connect("clicked()", self._on_delete)

    def refresh(self, engine: str, preset: str, *, valid: bool) -> None:
        """Enable the buttons for a chosen preset; `valid` tells whether the settings can be used."""
        known = presets(engine) if engine else {}
        self._ui.savePresetButton.enabled = bool(engine) and valid
        self._ui.exportPresetButton.enabled = preset in known
        self._ui.deletePresetButton.enabled = preset in known and known[preset].own

    def _on_save(self) -> None:
        engine, preset, changes = self._chosen()
        title = qt.QInputDialog.getText(self._ui.savePresetButton, _("Save as preset"), _("Name:"))
        if not title:
            return
        known = presets(engine).get(preset_name(title))
        own = known if known is not None and known.own else None
        if own is not None and not slicer.util.confirmOkCancelDisplay(
            _("Replace the preset '{name}'?").format(name=own.title)
        ):
            return
        values = {**presets(engine)[preset].values, **changes}
        self._save(engine, title, values, summary="", replace=own is not None)

    def _on_import(self) -> None:
        path = qt.QFileDialog.getOpenFileName(self._ui.importPresetButton, _("Import a preset"), "", FILES)
        if not path:
            return
        with slicer.util.tryWithErrorDisplay(_("The preset could not be imported.")):
            content = read_preset(Path(path))
            self._save(
                str(content["engine"]),
                str(content["title"]),
                content["settings"],
                summary=str(content.get("summary", "")),
                replace=False,
            )

    def _on_export(self) -> None:
        engine, preset, _changes = self._chosen()
        path = qt.QFileDialog.getSaveFileName(
            self._ui.exportPresetButton, _("Export the preset"), f"{engine}-{preset}.json", FILES
        )
        if path:
            with slicer.util.tryWithErrorDisplay(_("The preset could not be exported.")):
                export_preset(engine, preset, Path(path))

    def _on_delete(self) -> None:
        engine, preset, _changes = self._chosen()
        title = presets(engine)[preset].title
        if slicer.util.confirmOkCancelDisplay(_("Delete the preset '{name}'?").format(name=title)):
            delete_preset(engine, preset)
            self._changed(engine, "")

    def _save(self, engine: str, title: str, values: Mapping[str, Any], *, summary: str, replace: bool) -> None:
        with slicer.util.tryWithErrorDisplay(_("The preset could not be saved.")):
            kind = self._settings_class(engine)
            if kind is None:
                raise ValueError(_("There is no engine '{engine}'.").format(engine=engine))
            saved = save_preset(engine, kind, title, values, summary=summary, replace=replace)
            self._changed(engine, saved.name)
