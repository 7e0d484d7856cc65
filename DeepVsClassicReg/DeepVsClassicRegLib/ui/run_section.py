"""The buttons that start, queue and cancel runs, and the progress of the current run."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .metric_plot import MetricPlot
from .rich_text import cannot_start, line
from .runner import Runner
from .tasks import RegistrationTask

PROGRESS = "progress"
REFRESH_MS = 100
LOG_LINES_PER_TICK = 200


class QueueList:
    """The runs of the queue, the running one first.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    runner : Runner
        The runner whose queue is shown.
    """

    def __init__(self, ui: Any, runner: Runner) -> None:
        self._ui, self._runner = ui, runner
        self._shown: tuple[RegistrationTask, ...] = ()
        ui.removeRunButton.connect("clicked()", self._on_remove)
        ui.queueList.connect("currentRowChanged(int)", lambda _row: self._enable())
        runner.queued.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Update the list; the selected run stays selected."""
        widget, chosen = self._ui.queueList, self._chosen()
        current = (self._runner.current,) if self._runner.current is not None else ()
        self._shown = (*current, *self._runner.waiting)
        widget.blockSignals(True)
        widget.clear()
        for number, task in enumerate(self._shown):
            text = _("Running: {run}") if number < len(current) else _("Waiting: {run}")
            widget.addItem(text.format(run=title(task)))
        widget.setCurrentRow(self._shown.index(chosen) if chosen in self._shown else -1)
        widget.blockSignals(False)
        rows = min(len(self._shown), 5)
        widget.setFixedHeight(rows * (widget.sizeHintForRow(0) if rows else 0) + 2 * widget.frameWidth + 2)
        self._ui.queueFrame.visible = len(self._shown) > 1
        self._enable()

    def _chosen(self) -> RegistrationTask | None:
        row = self._ui.queueList.currentRow
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def _enable(self) -> None:
        self._ui.removeRunButton.enabled = self._chosen() is not None

    def _on_remove(self) -> None:
        task = self._chosen()
        if task is not None:
            self._runner.remove(task)


def title(task: RegistrationTask) -> str:
    """Return engine and volumes, as shown in the queue and the log."""
    fixed, moving = task.inputs.fixed, task.inputs.moving
    if fixed is None or moving is None:
        return task.request.name
    return _("{engine}, {moving} to {fixed}").format(
        engine=task.request.name, moving=moving.GetName(), fixed=fixed.GetName()
    )


class RunSection:
    """Register and Cancel, queue, progress bar, live plot and log.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    runner : Runner
        The runner whose progress is shown.
    start : callable
        Called when the user starts a run.
    """

    def __init__(self, ui: Any, runner: Runner, start: Callable[[], None]) -> None:
        self._ui, self._runner, self._start = ui, runner, start
        self._reason, self._queueable = "", False
        self._release: Callable[[], None] | None = None
        self._lines: list[str] = []
        self._stage, self._began = "", 0.0
        self.plot = MetricPlot(ui.metricPlot)
        self._queue = QueueList(ui, runner)
        self._timer = qt.QTimer()
        self._timer.interval = REFRESH_MS
        self._timer.connect("timeout()", self._refresh)
        self.redraw_timer = qt.QTimer()  # after the opened section has its final size
        self.redraw_timer.setSingleShot(True)
        self.redraw_timer.interval = 0
        self.redraw_timer.connect("timeout()", self.plot.draw)
        ui.progressButton.connect("contentsCollapsed(bool)", lambda _collapsed: self.redraw_timer.start())
        ui.registerButton.connect("clicked()", self._on_clicked)
        ui.queueButton.connect("clicked()", self._on_queue)
        ui.copyLogButton.connect("clicked()", self._on_copy_log)
        ui.clearLogButton.connect("clicked()", ui.logText.clear)
        runner.started.connect(self._on_started)
        runner.changed.connect(self._on_changed)
        runner.logged.connect(self._lines.append)
        runner.published.connect(self._on_published)
        runner.finished.connect(self._on_finished)
        runner.idle.connect(self._on_idle)
        self._show_idle()

    def allow(self, reason: str, *, queueable: bool) -> None:
        """Enable the start, or show in the tooltip why it is disabled; not `queueable` while it needs advice first."""
        self._reason, self._queueable = reason, queueable
        self._ui.queueButton.enabled = queueable and not reason
        if not self._runner.busy and not self.held:
            self._show_button()

    def show_message(self, kind: str, message: str, hint: str = "") -> None:
        """Show a message below the button; kind is 'error', 'warning' or 'progress'."""
        self._ui.stageLabel.text = html.escape(message) if kind == PROGRESS else line(kind, message, hint)
        self._ui.stageLabel.visible = bool(message)

    @property
    def held(self) -> bool:
        """Whether the start is waiting for the advice."""
        return self._release is not None

    def hold(self, message: str, give_up: Callable[[], None]) -> None:
        """Delay the start; until `let_go`, the button calls `give_up`."""
        self._release = give_up
        self._ui.registerButton.text = _("Cancel")
        self._ui.registerButton.enabled = True
        self._ui.registerButton.toolTip = _("The scene does not change.")
        self._ui.progressBar.visible = True
        self._ui.progressBar.value = 0
        self.show_message(PROGRESS, message)

    def held_progress(self, fraction: float, stage: str) -> None:
        """Show the progress of the query that the start is waiting for."""
        if self.held:
            self._ui.progressBar.value = int(1000 * fraction)
            self.show_message(PROGRESS, stage)

    def let_go(self) -> None:
        """End the delay."""
        if self.held:
            self._release = None
            self._show_idle()

    def close(self) -> None:
        """Disconnect from the runner: the panel is closing."""
        self._timer.stop()
        self.redraw_timer.stop()

    def _on_clicked(self) -> None:
        if self._release is not None:
            self._release()
        elif self._runner.busy:
            self._ui.registerButton.enabled = False
            self._runner.cancel()
        elif not self._reason:
            self._start()

    def _on_queue(self) -> None:
        if self._runner.busy and self._queueable and not self._reason:
            self._start()

    def _on_copy_log(self) -> None:
        slicer.app.clipboard().setText(self._ui.logText.toPlainText())

    def _on_started(self, task: RegistrationTask) -> None:
        self.plot.clear()
        self._lines.append(f"--- {title(task)} ---")
        self._stage, self._began = "", time.monotonic()
        self._ui.registerButton.text = _("Cancel")
        self._ui.registerButton.toolTip = _("Cancels all running and queued registrations; the scene does not change.")
        self._ui.registerButton.enabled = True
        self._ui.queueButton.visible = True
        self._ui.progressBar.visible = True
        self._ui.progressBar.value = 0
        self._timer.start()
        self._on_changed(task)

    def _on_changed(self, task: RegistrationTask) -> None:
        self.plot.add(task.stage, task.metric)
        self._log_stage(task)
        self._ui.progressBar.value = int(1000 * task.fraction)
        count = self._runner.total
        text = task.stage
        if count > 1:
            text = _("{number} of {count}, {engine}: {stage}").format(
                number=self._runner.done + 1, count=count, engine=task.request.name, stage=task.stage
            )
        self.show_message(PROGRESS, text)

    def _log_stage(self, task: RegistrationTask) -> None:
        """Log the start of each stage: many engines log little themselves."""
        if task.stage and task.stage != self._stage:
            self._stage = task.stage
            seconds = time.monotonic() - self._began
            self._lines.append(f"{seconds:6.1f} s  {task.stage}")

    def _on_published(self, _task: RegistrationTask) -> None:
        self._ui.registerButton.toolTip = _("Cancels the missing measures and queued registrations; the result stays.")
        self._lines.append(_("Result after {seconds} s").format(seconds=f"{time.monotonic() - self._began:.1f}"))

    def _on_finished(self, task: RegistrationTask) -> None:
        if task.folder is not None and task.request.keep_files:
            self._lines.append(_("The files are in {folder}").format(folder=task.folder))
        if task.run is not None:
            self._lines.append(_("Done after {seconds} s").format(seconds=f"{time.monotonic() - self._began:.1f}"))
        if task.message:
            self._lines.append(f"{task.message} {task.hint}".strip())

    def _on_idle(self) -> None:
        self._refresh()
        self._timer.stop()
        self._show_idle()

    def _show_idle(self) -> None:
        self._ui.progressBar.visible = self._ui.queueButton.visible = False
        self._ui.registerButton.text = _("Register")
        self.show_message(PROGRESS, "")
        self._show_button()

    def _show_button(self) -> None:
        self._ui.registerButton.enabled = not self._reason
        self._ui.registerButton.toolTip = (
            cannot_start(self._reason) if self._reason else _("Registers the moving volume to the fixed volume.")
        )

    def _refresh(self) -> None:
        """Show what arrived since the last timer tick; an engine with a long log must not block the panel."""
        if self._lines:
            self._ui.logText.appendPlainText("\n".join(self._lines[-LOG_LINES_PER_TICK:]))
            self._lines.clear()
        self.plot.draw()
