"""The window in which a training is set up: cases, method, supervision and hours; or the adaptation of a model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.errors import RegistrationError
from ..core.networks.card import Model
from ..core.train import TUNING, usual_options
from ..core.training.config import FIRST
from ..core.training.folders import check_name, free_name, user_trainings_folder
from ..core.training.manifest import Manifest, read_manifest
from ..core.training.options import USUAL_AUGMENTATION
from ..mrml.cases import SceneCase, problem_of_cases, scene_cases, scene_drawings
from .models_list import MethodList
from .rich_text import cannot_start, line
from .runner import Runner
from .scheduling import BackgroundCall
from .training_task import TrainingRequest

SCENE, FOLDER, LIST = "scene", "folder", "list"
LABELS, IMAGES = "labels", "none"
CHECK_MS = 300
ROW_HEIGHT = 26
NO_LABELS = "-"


class TrainDialog:
    """A separate window, created when it is first shown.

    Parameters
    ----------
    file : Path
        The .ui file.
    runner : Runner
        Runs the training.
    compute : callable
        Returns device, threads and seed.
    methods : MethodList
        The methods to choose from.
    """

    def __init__(self, file: Path, runner: Runner, compute: Callable[[], Compute], methods: MethodList) -> None:
        self._file, self._runner, self._compute, self._list = file, runner, compute, methods
        methods.ended.connect(self._on_methods)
        self._model: Model | None = None
        self._check: BackgroundCall | None = None
        self._found: Manifest | None = None
        self._complaint: tuple[str, str] = ("", "")
        self._cases: list[SceneCase] = []
        self._filling = False
        self.dialog: Any = None
        self.ui: Any = None
        self._checker = qt.QTimer()
        self._checker.setSingleShot(True)
        self._checker.interval = CHECK_MS
        self._checker.connect("timeout()", self._read_data)

    def show(self, model: Model | None = None) -> None:
        """Show the window for a new network, or to adapt a model."""
        if self.dialog is None:
            self._make()
        self._model = model
        self._load()
        self.dialog.show()
        self.dialog.raise_()

    def close(self) -> None:
        """Delete the window."""
        self._checker.stop()
        self._list.forget()
        if self._check is not None:
            self._check.abandon(lambda: None)
            self._check = None
        if self.dialog is not None:
            self.dialog.close()
            self.dialog.deleteLater()
            self.dialog = self.ui = None

    @property
    def waiting(self) -> bool:
        """Whether the list of methods or the data are being read."""
        return self._list.waiting or self._check is not None or bool(self._checker.active)

    def request(self) -> TrainingRequest:
        """Return what the widgets say."""
        ui = self.ui
        name = ui.nameEdit.text.strip()
        supervision = ui.supervisionCombo.currentData
        options = usual_options(supervision)
        if self._model is not None:
            for key in ("method", "settings", "size"):
                del options[key]
        elif ui.methodCombo.currentData != options["method"]:
            options |= {"method": ui.methodCombo.currentData, "settings": {}}
        if ui.sizeEdit.text.strip():
            options |= {"size": ui.sizeEdit.text.strip(), "spacing_mm": ui.spacingSpin.value}
        options["linear"] = FIRST if ui.linearCheck.checked else ""
        options["augmentation"] = {USUAL_AUGMENTATION: True} if ui.augmentCheck.checked else {}
        options["validation"] = int(ui.validationSpin.value)
        options["train"] |= {"hours": ui.hoursSpin.value, "learning_rate": ui.rateSpin.value}
        texts = {"anatomy": ui.anatomyEdit.text.strip(), "contrasts": ui.contrastsEdit.text.strip()}
        options["texts"] = {"name": name, "title": name, **{key: text for key, text in texts.items() if text}}
        from_scene = ui.dataCombo.currentData == SCENE
        if not from_scene:
            options["data"] = ui.pathEdit.text.strip()
        return TrainingRequest(
            name=name,
            folder=user_trainings_folder() / name,
            options=options,
            cases=tuple(self.chosen_cases()) if from_scene else (),
            model=str(self._model.folder) if self._model is not None else "",
            compute=self._compute(),
        )

    def chosen_cases(self) -> list[SceneCase]:
        """Return the checked cases of the scene with the segmentations chosen for them."""
        table, found = self.ui.casesTable, []
        for row, case in enumerate(self._cases):
            if table.item(row, 0).checkState() == qt.Qt.Checked and case.volume.GetScene() is not None:
                node_id = table.cellWidget(row, 1).currentData
                found.append(SceneCase(case.volume, slicer.mrmlScene.GetNodeByID(node_id) if node_id else None))
        return found

    def _make(self) -> None:
        self.dialog = slicer.util.loadUI(str(self._file))
        self.dialog.setParent(slicer.util.mainWindow(), qt.Qt.Dialog)
        self.ui = ui = slicer.util.childWidgetVariables(self.dialog)
        for title, data in ((_("Volumes of the scene"), SCENE), (_("A folder"), FOLDER), (_("A list"), LIST)):
            ui.dataCombo.addItem(title, data)
        ui.supervisionCombo.addItem(_("Images and segmentations"), LABELS)
        ui.supervisionCombo.addItem(_("Images only"), IMAGES)
        table = ui.casesTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Volume"), _("Segmentation")])
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.horizontalHeader().setDefaultAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.connect("itemChanged(QTableWidgetItem*)", lambda _item: self.check())
        ui.dataCombo.connect("currentIndexChanged(int)", lambda _index: self._on_data())
        ui.supervisionCombo.connect("currentIndexChanged(int)", lambda _index: self._on_supervision())
        ui.methodCombo.connect("currentIndexChanged(int)", lambda _index: self._on_method())
        ui.pathEdit.connect("textChanged(QString)", lambda _text: self._on_path())
        ui.nameEdit.connect("textChanged(QString)", lambda _text: self.check())
        ui.browseButton.connect("clicked()", self._on_browse)
        ui.startButton.connect("clicked()", self._on_start)
        ui.leaveButton.connect("clicked()", self._on_leave)
        ui.closingLabel.text = line(
            "note",
            _("It runs beside your work. Closing Slicer pauses it with a checkpoint; Resume in the list of models "
              "continues it."),
        )  # fmt: skip

    def _load(self) -> None:
        """Fill the window for the model, or for a new network."""
        ui, model = self.ui, self._model
        self._filling = True
        adapts = model is not None
        self.dialog.windowTitle = _("Adapt a model") if adapts else _("Train a network")
        ui.trainIntro.text = (
            _("Continues the training of <b>{name}</b> on your cases. The result is a new model.").format(
                name=model.card.title
            )
            if model is not None
            else _("Trains a network on your cases, for registering others like them.")
        )
        for widget in (ui.methodCombo, ui.methodComboTitle, ui.methodLabel, ui.sizeEdit, ui.sizeEditTitle):
            widget.visible = not adapts
        for widget in (ui.spacingSpin, ui.spacingSpinTitle):
            widget.visible = not adapts
        self._fill_cases()
        labels = any(case.labels is not None for case in self._cases) or not self._cases
        ui.supervisionCombo.currentIndex = ui.supervisionCombo.findData(LABELS if labels else IMAGES)
        ui.dataCombo.currentIndex = ui.dataCombo.findData(SCENE if len(self._cases) > 1 else FOLDER)
        ui.rateSpin.value = TUNING["learning_rate"] if adapts else usual_options(LABELS)["train"]["learning_rate"]
        ui.nameEdit.text = free_name(f"my-{model.card.name}" if model is not None else "my-model")
        ui.trainNote.text = ""
        self._filling = False
        if not self._list.methods and not adapts:
            self._list.read()
        self._on_supervision()
        self._on_data()

    def _fill_cases(self) -> None:
        table = self.ui.casesTable
        self._cases = scene_cases()
        drawings = scene_drawings()
        table.blockSignals(True)
        table.setRowCount(len(self._cases))
        for row, case in enumerate(self._cases):
            item = qt.QTableWidgetItem(case.volume.GetName())
            item.setToolTip(case.volume.GetName())
            item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
            item.setCheckState(qt.Qt.Checked)
            table.setItem(row, 0, item)
            combo = qt.QComboBox()
            combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
            combo.addItem(NO_LABELS, "")
            for node in drawings:
                combo.addItem(node.GetName(), node.GetID())
            combo.currentIndex = combo.findData(case.labels.GetID()) if case.labels is not None else 0
            combo.connect("currentIndexChanged(int)", lambda _index: self.check())
            table.setCellWidget(row, 1, combo)
        table.blockSignals(False)

    def _on_methods(self, message: str, hint: str) -> None:
        if self.ui is None:
            return
        if message:
            self.ui.trainNote.text = line("error", message, hint)
        else:
            self._fill_methods()
        self.check()

    def _fill_methods(self) -> None:
        combo, supervision = self.ui.methodCombo, self.ui.supervisionCombo.currentData
        former, best = combo.currentData, usual_options(supervision)["method"]
        fitting = [
            method
            for method in self._list.methods
            if method["kind"] == "field" and supervision in method["supervision"] and 3 in method["dimensions"]
        ]
        combo.blockSignals(True)
        combo.clear()
        for method in sorted(fitting, key=lambda method: (method["name"] != best, method["title"].casefold())):
            combo.addItem(f"{method['title']} ({method['name']})", method["name"])
        combo.currentIndex = max(0, combo.findData(former))
        combo.blockSignals(False)
        self._on_method()

    def _on_supervision(self) -> None:
        if self._filling:
            return
        if self._list.methods:
            self._fill_methods()
        with_labels = self.ui.supervisionCombo.currentData == LABELS
        for row in range(len(self._cases)):
            self.ui.casesTable.cellWidget(row, 1).enabled = with_labels
        self.check()

    def _on_method(self) -> None:
        chosen = self.ui.methodCombo.currentData
        method = next((method for method in self._list.methods if method["name"] == chosen), None)
        waits = _("Reading the list of methods ...")
        self.ui.methodLabel.text = waits if method is None else f"{method['summary']}<br><i>{method['citation']}</i>"
        self.check()

    def _on_data(self) -> None:
        if self._filling:
            return
        kind = self.ui.dataCombo.currentData
        self.ui.casesTable.visible = kind == SCENE
        self.ui.pathRow.visible = kind != SCENE
        self._on_path()

    def _on_path(self) -> None:
        self._found, self._complaint = None, ("", "")
        if self.ui.dataCombo.currentData != SCENE and self.ui.pathEdit.text.strip():
            self._checker.start()
        self.check()

    def _on_browse(self) -> None:
        if self.ui.dataCombo.currentData == FOLDER:
            path = qt.QFileDialog.getExistingDirectory(self.dialog, _("Choose the folder of the cases"))
        else:
            kinds = _("Lists (*.csv *.json)")
            path = qt.QFileDialog.getOpenFileName(self.dialog, _("Choose the list of the cases"), "", kinds)
        if path:
            self.ui.pathEdit.text = path

    def _read_data(self) -> None:
        """Read the list of cases in a thread: file systems may be slow."""
        if self._check is not None:
            self._checker.start()
            return
        path, validation = Path(self.ui.pathEdit.text.strip()).expanduser(), int(self.ui.validationSpin.value)
        self._check = BackgroundCall(lambda: read_manifest(path, validation=validation), self._on_read).start()

    def _on_read(self, found: Any, error: BaseException | None) -> None:
        self._check = None
        self._found = found
        if isinstance(error, RegistrationError):
            self._complaint = (error.message, error.hint)
        elif error is not None:
            self._complaint = (str(error), "")
        self.check()

    def check(self) -> None:
        """Show what is chosen and what is missing; the button starts only what is possible."""
        if self.ui is None or self._filling:
            return
        message, hint, about = self._problem_of_data()
        self.ui.casesLabel.text = line("error", message, hint) if message else about
        reasons = [message, self._problem_of_choices()]
        reason = next((text for text in reasons if text), "" if about else _("No cases are chosen."))
        self.ui.startButton.enabled = not reason
        self.ui.startButton.toolTip = cannot_start(reason) if reason else _("Starts the training in the background.")

    def _problem_of_choices(self) -> str:
        """Return why the choices other than the data cannot be trained; shown below the fields when it is the name."""
        self.ui.trainNote.text = ""
        if self._runner.training is not None:
            return _("Another training is running.")
        try:
            check_name(self.ui.nameEdit.text.strip())
        except RegistrationError as error:
            self.ui.trainNote.text = line("error", error.message, error.hint)
            return error.message
        if self._model is None and not self.ui.methodCombo.currentData:
            return _("The list of methods is being read.")
        return ""

    def _problem_of_data(self) -> tuple[str, str, str]:
        """Return what is wrong with the cases, what to do, and a description when nothing is."""
        with_labels = self.ui.supervisionCombo.currentData == LABELS
        if self.ui.dataCombo.currentData == SCENE:
            chosen = self.chosen_cases()
            message, hint = problem_of_cases(chosen, with_labels=with_labels)
            return message, hint, _("{count} cases").format(count=len(chosen))
        if any(self._complaint):
            return (*self._complaint, "")
        if self._found is None:
            return "", "", ""
        cases = self._found.cases
        labeled = sum(case.labels is not None for case in cases)
        if with_labels and labeled < len(cases):
            message = _("{count} of {all} cases have no segmentation.").format(
                count=len(cases) - labeled, all=len(cases)
            )
            return message, _("Add them, remove these cases, or learn from images only."), ""
        about = _("{count} cases, {pairs} pairs for training, {checks} for validation").format(
            count=len(cases), pairs=len(self._found.training), checks=len(self._found.validation)
        )
        return "", "", about

    def _on_start(self) -> None:
        request = self.request()
        try:
            _require_space(request)
            self._runner.train(request)
        except RegistrationError as error:
            self.ui.trainNote.text = line("error", error.message, error.hint)
            return
        self.dialog.hide()

    def _on_leave(self) -> None:
        self.dialog.hide()


def _require_space(request: TrainingRequest) -> None:
    """Raise when the disk has no room for the copies of the cases and their versions on the training grid."""
    place = next(folder for folder in (request.folder, *request.folder.parents) if folder.is_dir())
    kib = sum(case.volume.GetImageData().GetActualMemorySize() for case in request.cases)
    needed_mb, free_mb = 3 * kib / 1024 + 100, shutil.disk_usage(place).free / 1e6
    if free_mb < needed_mb:
        raise RegistrationError(
            _("The disk of {folder} has {free:.0f} MB left; this training needs about {needed:.0f} MB.").format(
                folder=place, free=free_mb, needed=needed_mb
            ),
            hint=_("Free some space, or use fewer cases."),
        )
