"""The page of registration models: models with their cards, the user's own to add and remove, and all methods."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.engines.base import needs, remedy
from ..core.engines.catalogue import get_engine
from ..core.errors import RegistrationError
from ..core.networks.card import Model
from ..core.networks.model_store import add_model, find_models, is_removable, remove_model
from .dependencies import EngineAvailability, ensure
from .models_list import MethodList, columns, methods_page, page, row
from .rich_text import line
from .runner import Runner
from .train_dialog import TrainDialog
from .training_section import TrainingSection

NETWORK, FIELD = "network", "field"


class ModelsPage:
    """A separate window, created when it is first shown.

    Parameters
    ----------
    file : Path
        The .ui file.
    changed : callable
        Called after a model is added or removed.
    runner : Runner
        Runs the trainings.
    compute : callable
        Returns device, threads and seed of a training.
    requirements : Path
        The module's requirements.txt, for installing PyTorch.
    """

    def __init__(
        self, file: Path, changed: Callable[[], None], runner: Runner, compute: Callable[[], Any], requirements: Path
    ) -> None:
        self._file, self._changed = file, changed
        self._runner, self._compute, self._requirements = runner, compute, requirements
        self._list = MethodList(runner)
        self._list.ended.connect(self._on_methods_read)
        self._methods_wanted = False
        self.train_dialog = TrainDialog(file.with_name("Train.ui"), runner, compute, self._list)
        self.trainings: TrainingSection | None = None
        self._models: tuple[Model, ...] = ()
        self.dialog: Any = None
        self.ui: Any = None

    def show(self) -> None:
        """Show the page with the current models."""
        if self.dialog is None:
            self._make()
        self.refresh()
        self._check_torch()
        if self.trainings is not None:
            self.trainings.refresh()
        self.dialog.show()
        self.dialog.raise_()

    def close(self) -> None:
        """Delete the window."""
        self.train_dialog.close()
        if self.trainings is not None:
            self.trainings.close()
            self.trainings = None
        if self.dialog is not None:
            self.dialog.close()
            self.dialog.deleteLater()  # owned by the main window, so only Qt deletes it
            self.dialog = self.ui = None

    def refresh(self, chosen: str = "") -> None:
        """Update the list of models; the named one, or the selected one, stays selected."""
        name = chosen or (self.model.card.name if self.model is not None else "")
        self._models = find_models()
        table = self.ui.modelsTable
        table.blockSignals(True)
        table.setRowCount(len(self._models))
        for index, model in enumerate(self._models):
            for column, text in enumerate(row(model)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(model.card.summary)
                table.setItem(index, column, item)
        table.resizeColumnsToContents()
        table.resizeRowsToContents()
        names = [model.card.name for model in self._models]
        table.clearSelection()
        if names:
            table.selectRow(names.index(name) if name in names else 0)
        table.blockSignals(False)
        self.ui.modelsNote.text = "" if names else line("missing", _("No model is installed."), _("Add one below."))
        self._on_chosen()

    @property
    def model(self) -> Model | None:
        """The selected model."""
        rows = self.ui.modelsTable.selectionModel().selectedRows()
        index = rows[0].row() if rows else -1
        return self._models[index] if 0 <= index < len(self._models) else None

    def _make(self) -> None:
        self.dialog = slicer.util.loadUI(str(self._file))
        self.dialog.setParent(slicer.util.mainWindow(), qt.Qt.Dialog)
        self.ui = slicer.util.childWidgetVariables(self.dialog)
        table = self.ui.modelsTable
        titles = columns()
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        header = table.horizontalHeader()
        header.setStretchLastSection(True)
        header.setHighlightSections(False)
        header.setDefaultAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)  # aligned with the values below
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", self._on_chosen)
        self.ui.addButton.connect("clicked()", self._on_add)
        self.ui.removeButton.connect("clicked()", self._on_remove)
        self.ui.folderButton.connect("clicked()", self._on_folder)
        self.ui.methodsButton.connect("clicked()", self._on_methods)
        self.ui.refreshButton.connect("clicked()", self._on_refresh)
        self.ui.closeButton.connect("clicked()", self._on_close)
        self.ui.trainButton.connect("clicked()", self._on_train)
        self.ui.adaptButton.connect("clicked()", self._on_adapt)
        self.ui.prepareButton.connect("clicked()", self._on_prepare)
        self.trainings = TrainingSection(self.ui, self._runner, self._compute, self._on_installed, self._show_note)

    def _on_chosen(self) -> None:
        model = self.model
        self._methods_wanted = False
        self.ui.cardBrowser.setHtml(page(model) if model is not None else "")
        self.ui.folderButton.enabled = model is not None
        self.ui.removeButton.enabled = model is not None and is_removable(model)
        self.ui.adaptButton.enabled = model is not None and model.card.kind == FIELD and self.ui.trainButton.enabled

    def _on_add(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.dialog, _("Choose a model folder"))
        if folder:
            self._try(lambda: add_model(Path(folder)).card.name)

    def _on_remove(self) -> None:
        model = self.model
        if model is None:
            return
        question = _("Delete the model '{name}' and its files in {folder}?")
        if slicer.util.confirmOkCancelDisplay(question.format(name=model.card.title, folder=model.folder)):
            self._try(lambda: str(remove_model(model.card.name)))

    def _try(self, action: Callable[[], str]) -> None:
        """Change the models and refresh the list; errors are shown on the page."""
        try:
            outcome = action()
        except RegistrationError as error:
            self.ui.modelsNote.text = line("error", error.message, error.hint)
            return
        self.refresh(outcome)
        self._changed()

    def _on_folder(self) -> None:
        if self.model is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.model.folder)))

    def _on_methods(self) -> None:
        if importlib.util.find_spec("torch") is None:
            note = line("missing", _("The list of methods needs PyTorch."), _("Prepare a deep engine first."))
            self.ui.modelsNote.text = note
            return
        self._methods_wanted = True
        if self._list.methods:
            self._on_methods_read()
            return
        self.ui.cardBrowser.setHtml(line("note", _("Reading the list of methods ...")))
        self._list.read()

    def _on_methods_read(self, message: str = "", hint: str = "") -> None:
        if not self._methods_wanted or self.ui is None:
            return
        self.ui.cardBrowser.setHtml(line("error", message, hint) if message else methods_page(self._list.methods))

    def _on_refresh(self) -> None:
        self.refresh()
        self._check_torch()
        if self.trainings is not None:
            self.trainings.refresh()
        self._changed()

    def _check_torch(self) -> None:
        """Disable what needs PyTorch where it is missing, and say how to get it."""
        missing = get_engine(NETWORK).info.missing()
        self.ui.trainButton.enabled = not missing
        self.ui.prepareButton.visible = bool(missing)
        tip = _("Trains a new network on your cases, in the background.")
        if missing:
            tip = _("Training needs {what}. {remedy}").format(what=needs(missing), remedy=remedy(missing))
            self._show_note(line("missing", tip))
        self.ui.trainButton.toolTip = tip
        self._on_chosen()

    def _on_prepare(self) -> None:
        info = get_engine(NETWORK).info
        try:
            ensure(EngineAvailability(info, info.missing()), self._requirements)
        except RegistrationError as error:
            self._show_note(line("error", error.message, error.hint))
            return
        self._show_note("")
        self._check_torch()
        self._changed()

    def _on_train(self) -> None:
        self.train_dialog.show()

    def _on_adapt(self) -> None:
        self.train_dialog.show(self.model)

    def _on_installed(self, name: str) -> None:
        self.refresh(name)
        self._show_note(line("note", _("The model '{name}' was added.").format(name=name)))
        self._changed()

    def _show_note(self, text: str) -> None:
        self.ui.modelsNote.text = text

    def _on_close(self) -> None:
        self.dialog.hide()
