"""The trainings on the page of models: state, curves and remaining time; pause, resume, stop and delete."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.errors import RegistrationError
from ..core.training.folders import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PAUSED,
    RUNNING,
    TrainingFolder,
    find_trainings,
    install,
    remove_training,
)
from ..worker.session import CANCELLED
from .metric_plot import MetricPlot
from .rich_text import line
from .runner import Runner
from .scheduling import BackgroundCall
from .training_task import Curves, TrainingRequest, TrainingTask, read_curves

REDRAW_MS, AGAIN_MS = 500, 2000
FULL = 1000
STOP_TIP = _("Ends the training; the best weights so far become a model in the list above.")
NOTHING_BETTER = _("The weights are no better yet than those at the start, so there is no model to add.")


class TrainingSection:
    """Shows the trainings of the user's folder, the running one live.

    Parameters
    ----------
    ui : object
        The widgets of the page of models.
    runner : Runner
        Runs the trainings.
    compute : callable
        Returns device, threads and seed.
    installed : callable
        Called with the name of a model after it was added.
    report : callable
        Called with rich text to show on the page.
    """

    def __init__(
        self,
        ui: Any,
        runner: Runner,
        compute: Callable[[], Compute],
        installed: Callable[[str], None],
        report: Callable[[str], None],
    ) -> None:
        self._ui, self._runner, self._compute = ui, runner, compute
        self._installed, self._report = installed, report
        self._found: tuple[TrainingFolder, ...] = ()
        self._listing: BackgroundCall | None = None
        self._installing: BackgroundCall | None = None
        self._curves = Curves()
        self._wanted: Path | None = None
        self.objective, self.dice = MetricPlot(ui.objectivePlot), MetricPlot(ui.dicePlot)
        ui.trainingsBox.visible = False
        ui.trainingCombo.connect("currentIndexChanged(int)", lambda _index: self._on_chosen())
        ui.holdButton.connect("clicked()", self._on_hold)
        ui.resumeButton.connect("clicked()", self._on_resume)
        ui.stopButton.connect("clicked()", self._on_stop)
        ui.deleteButton.connect("clicked()", self._on_delete)
        runner.trained.connect(self._on_trained)
        self._redraw = qt.QTimer()
        self._redraw.interval = REDRAW_MS
        self._redraw.connect("timeout()", self.show)
        self._again = qt.QTimer()  # a killed process holds its folder a moment longer; another one ends unseen
        self._again.setSingleShot(True)
        self._again.interval = AGAIN_MS
        self._again.connect("timeout()", self.refresh)
        if runner.training is not None:
            self._on_trained(runner.training)

    @property
    def busy(self) -> bool:
        """Whether the list is being read or a model is being added."""
        return self._listing is not None or self._installing is not None

    @property
    def chosen(self) -> TrainingFolder | None:
        """The selected training as last read from the disk."""
        folder = self._ui.trainingCombo.currentData
        return next((entry for entry in self._found if str(entry.folder) == folder), None)

    @property
    def live(self) -> TrainingTask | None:
        """The running training, when it is the selected one."""
        task = self._runner.training
        return task if task is not None and str(task.request.folder) == self._ui.trainingCombo.currentData else None

    def refresh(self) -> None:
        """Read the list of trainings in a thread."""
        if self._listing is None:
            self._listing = BackgroundCall(find_trainings, self._on_listed).start()

    def show(self) -> None:
        """Show the selected training; called again and again while one is running."""
        ui, task, entry = self._ui, self.live, self.chosen
        curves = task.curves if task is not None else self._curves
        ui.trainingLabel.text = _words_of_task(task) if task is not None else _words(entry)
        share = task.share if task is not None else entry.fraction if entry is not None else 0.0
        ui.trainingBar.value = round(FULL * share)
        elsewhere = task is None and entry is not None and entry.state == RUNNING
        ui.holdButton.enabled = task is not None
        ui.resumeButton.enabled = entry is not None and entry.resumable and self._runner.training is None
        has_weights = entry is not None and entry.resumable and entry.best_step > 0
        ui.stopButton.enabled = task is not None or (has_weights and not self.busy)
        ui.stopButton.toolTip = STOP_TIP if task is not None or has_weights else NOTHING_BETTER
        ui.deleteButton.enabled = task is None and entry is not None and not elsewhere
        self.objective.show_values(_("Objective"), [value for _step, value in curves.objective])
        self.dice.show_values(_("Validation Dice"), [value for _step, value in curves.dice])

    def close(self) -> None:
        """Release the runner and all threads."""
        self._redraw.stop()
        self._again.stop()
        self._runner.trained.disconnect(self._on_trained)
        for call in (self._listing, self._installing):
            if call is not None:
                call.abandon(lambda: None)
        self._listing = self._installing = None

    def _on_listed(self, found: Any, error: BaseException | None) -> None:
        self._listing = None
        if error is not None:
            self._report(line("error", str(error)))
            return
        self._found = found
        combo, task = self._ui.trainingCombo, self._runner.training
        kept = str(self._wanted) if self._wanted is not None else combo.currentData
        self._wanted = None
        combo.blockSignals(True)
        combo.clear()
        folders = [entry.folder for entry in found]
        if task is not None and task.request.folder not in folders:
            combo.addItem(task.request.name, str(task.request.folder))
        for entry in found:
            combo.addItem(f"{entry.name} ({entry.config.method})", str(entry.folder))
        combo.currentIndex = max(0, combo.findData(kept)) if combo.count else -1
        combo.blockSignals(False)
        self._ui.trainingsBox.visible = combo.count > 0
        own = task.request.folder if task is not None else None
        if any(entry.state == RUNNING and entry.folder != own for entry in found):
            self._again.start()
        self._on_chosen()

    def _on_chosen(self) -> None:
        entry = self.chosen
        self._curves = read_curves(entry.folder) if entry is not None and self.live is None else Curves()
        self.show()

    def _on_trained(self, task: TrainingTask) -> None:
        """Follow a training that has started, or show how it ended."""
        self._wanted = task.request.folder
        if not task.is_over:
            self._redraw.start()
            self._report("")
        else:
            self._redraw.stop()
            if task.model:
                self._installed(task.model)
            elif task.message and task.state != CANCELLED:
                self._report(line("error", task.message, task.hint))
        self.refresh()

    def _on_hold(self) -> None:
        if self.live is not None:
            self.live.cancel(_("Paused."))

    def _on_resume(self) -> None:
        entry = self.chosen
        if entry is None:
            return
        request = TrainingRequest(name=entry.name, folder=entry.folder, compute=self._compute())
        try:
            self._runner.train(request)
        except RegistrationError as error:
            self._report(line("error", error.message, error.hint))

    def _on_stop(self) -> None:
        task, entry = self.live, self.chosen
        if task is not None:
            task.finish_now()
        elif entry is not None:
            folder = entry.folder
            self._installing = BackgroundCall(lambda: install(folder).card.name, self._on_added).start()

    def _on_added(self, name: Any, error: BaseException | None) -> None:
        self._installing = None
        if isinstance(error, RegistrationError):
            self._report(line("error", error.message, error.hint))
        elif error is not None:
            raise error
        else:
            self._installed(name)
        self.refresh()

    def _on_delete(self) -> None:
        entry = self.chosen
        if entry is None:
            return
        question = _("Delete the training '{name}' with its checkpoint and copies of its cases in {folder}?")
        if not slicer.util.confirmOkCancelDisplay(question.format(name=entry.name, folder=entry.folder)):
            return
        try:
            remove_training(entry.folder)
        except RegistrationError as error:
            self._report(line("error", error.message, error.hint))
        self.refresh()


def _words_of_task(task: TrainingTask) -> str:
    """Return the state of a running training in words."""
    left = task.hours_left()
    rest = "" if left is None else _("; about {time} left").format(time=_duration(left))
    return line("note", f"{task.stage}{rest}")


def _words(entry: TrainingFolder | None) -> str:
    """Return the state of a training on the disk in words."""
    if entry is None:
        return ""
    limit = _(" of {hours:g}").format(hours=entry.config.train.hours) if entry.config.train.hours else ""
    far = _("step {step}, {hours:.2g}{limit} hours").format(step=entry.step, hours=entry.hours, limit=limit)
    quality = ""
    if entry.dice is not None:
        quality = _(", best validation Dice {dice:.3f}").format(dice=entry.dice)
    if entry.dice is not None and entry.dice_before is not None:
        quality += _(" ({before:.3f} before)").format(before=entry.dice_before)
    where = f"{far}{quality}."
    resume = _("Resume continues from the last checkpoint.")
    if entry.state == RUNNING:
        return line("note", _("Running in another process, {where}").format(where=where))
    if entry.state == PAUSED:
        return line("note", _("Paused at {where}").format(where=where), resume)
    if entry.state == INTERRUPTED:
        interrupted = _("Its process was killed, or the computer was shut down, at {where}")
        return line("warning", interrupted.format(where=where), resume)
    if entry.state == FAILED:
        return (
            line("error", entry.message, entry.hint) + "<br>" + html.escape(_("It is at {where}").format(where=where))
        )
    if entry.state == FINISHED and entry.installed:
        return line("note", _("Finished as the model '{name}', {where}").format(name=entry.installed, where=where))
    return line("note", _("Finished, {where}").format(where=where))


def _duration(hours: float) -> str:
    """Return a time such as '3 min' or '2 h 05 min'."""
    minutes = max(1, round(60 * hours))
    if minutes < 60:
        return _("{minutes} min").format(minutes=minutes)
    return _("{hours} h {minutes:02d} min").format(hours=minutes // 60, minutes=minutes % 60)
